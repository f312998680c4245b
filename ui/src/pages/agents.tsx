// The agents of this server: what each says of itself, what holds it in, and a form to try one.
import { useEffect, useState } from "preact/hooks";
import { may, readCard, readReady } from "../api";
import { NewMessage } from "../parts/composer";
import { go } from "../router";
import { visible } from "../text/visible";
import type { Json } from "../types";
import { Facts } from "./facts";

type Fields = { [name: string]: Json };

export function Agents() {
  const [ready, setReady] = useState<Fields>();
  const [error, setError] = useState("");
  useEffect(() => void readReady().then(setReady, (failure) => setError(String(failure.message))), []);
  const names = (ready?.agents as string[] | undefined) ?? [];
  return (
    <>
      <header class="top"><h1 tabIndex={-1}>Agents</h1></header>
      {error && <p class="error" role="alert">{error}</p>}
      {ready?.isolation && <section class="card"><h2>In force</h2><Facts fields={ready.isolation as Fields} /></section>}
      {names.map((name) => <Agent key={name} name={name} skills={(ready?.skills as Fields | undefined)?.[name]} />)}
    </>
  );
}

function Agent({ name, skills }: { name: string; skills: Json | undefined }) {
  const [card, setCard] = useState<Fields>();
  const [error, setError] = useState("");
  const [isTried, setTried] = useState(false);
  useEffect(() => void readCard(name).then(setCard, (failure) => setError(String(failure.message))), [name]);
  const offered = (card?.skills as { id: string; name: string; description?: string }[] | undefined) ?? [];
  return (
    <section class="card" aria-label={name}>
      <h2>{name} <span class="quiet">{visible(String(card?.version ?? ""))}</span></h2>
      <p dir="auto">{visible(String(card?.description ?? ""))}</p>
      {error && <p class="error" role="alert">{error}</p>}
      <ul class="skills">{offered.map((skill) => <li key={skill.id} dir="auto"><b>{visible(skill.name)}</b> <span class="quiet">{visible(skill.description ?? "")}</span></li>)}</ul>
      {skills !== undefined && <Facts fields={{ setUp: skills }} />}
      {may("send") && <button type="button" aria-expanded={isTried} onClick={() => setTried(!isTried)}>Try it</button>}
      {isTried && <NewMessage only={name} onSent={(contextId) => go("session", contextId)} />}
    </section>
  );
}
