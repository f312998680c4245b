// How the server is: health, queue, processes, limits, errors, audit.
import { useEffect, useState } from "preact/hooks";
import { readReady, readSystem, readTokens } from "../api";
import { now } from "../clock";
import { Settings } from "../parts/settings";
import type { Json } from "../types";
import { Sections } from "./facts";

/** How often it is read again while it is looked at. */
const EVERY = 10_000;

export function SystemPage() {
  const [fields, setFields] = useState<{ [name: string]: Json }>();
  const [error, setError] = useState("");
  const [tokens, setTokens] = useState<{ [name: string]: Json }>();
  // Only an admin may list them.
  useEffect(() => void readTokens().then(setTokens, () => {}), []);
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
      <div class="settings answers"><Settings /></div>
      <div class="cards">
        {fields && <Sections fields={fields} />}
        {tokens && <Sections fields={{ tokens: tokens.tokens ?? [] }} />}
      </div>
    </>
  );
}
