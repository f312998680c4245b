// How the server is: health, queue, processes, limits, errors, audit.
import { useEffect, useState } from "preact/hooks";
import { readReady, readSystem } from "../api";
import { now } from "../clock";
import type { Json } from "../types";
import { Sections } from "./facts";

/** How often it is read again while it is looked at. */
const EVERY = 10_000;

export function SystemPage() {
  const [fields, setFields] = useState<{ [name: string]: Json }>();
  const [error, setError] = useState("");
  const turn = Math.floor(now.value / EVERY);
  useEffect(() => {
    readSystem()
      .catch(() => readReady())
      .then((found) => { setFields(found); setError(""); }, (failure) => setError(String(failure.message)));
  }, [turn]);
  return (
    <>
      <header class="top"><h1 tabIndex={-1}>System</h1></header>
      {error && <p class="error" role="alert">{error}</p>}
      {fields && <Sections fields={fields} />}
    </>
  );
}
