// What waits for a person, over all sessions, the oldest first; then what failed and wants a look.
import { computed, signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import { announce } from "../announce";
import { readAsk } from "../api";
import { since } from "../clock";
import { asks, isFull, onAskGone, sessions } from "../live";
import { actor, AskCard, type AskHandle, headline, type Way } from "../parts/ask";
import { Icon } from "../parts/icons";
import { visible } from "../text/visible";
import type { Ask } from "../types";
import { groupOf, nowOf, titleOf } from "./rows";

/** How many ended asks are shown, and for how long. */
const SHOWN = 5;
const SHOWN_FOR = 60_000;

/** Asks that ended while the page was open. */
const ended = signal<Ask[]>([]);

onAskGone.add((ask) => {
  readAsk(ask.askId).then(
    (found) => {
      ended.value = [found, ...ended.value.filter((one) => one.askId !== found.askId)].slice(0, SHOWN);
      announce(outcome(found));
      setTimeout(() => (ended.value = ended.value.filter((one) => one !== found)), SHOWN_FOR);
    },
    () => {},
  );
});

/** How an ask ended, in words. */
function outcome(ask: Ask): string {
  const what = ask.answer?.what?.decision ?? ask.answer?.decision;
  const words: { [decision: string]: string } = { allow: "allowed", allow_session: "allowed for the session", allow_pattern: "allowed by a pattern", allow_always: "always allowed", deny: "denied" };
  if (ask.state !== "answered") return `${ask.state}: ${headline(ask)}`;
  const reason = ask.answer?.what?.reason ?? ask.answer?.reason;
  return `${words[what ?? ""] ?? "answered"} by ${actor(ask.answer)}${reason ? ` (${reason})` : ""}: ${headline(ask)}`;
}

export const waiting = computed(() => {
  const open = [...asks.value.values()].filter((ask) => ask.state !== "deferred");
  return open.sort((one, other) => one.created.localeCompare(other.created));
});
const deferred = computed(() => [...asks.value.values()].filter((ask) => ask.state === "deferred"));
const failures = computed(() => [...sessions.value.values()].filter((session) => groupOf(session) === "failed"));

const WAY_OF_KEY: { [key: string]: Way } = { s: "pattern", d: "deny", e: "edit", f: "defer" };

/** After the selected ask has gone the keys rest for so long: a press that was meant for it hits no other one. */
const REST = 400;

/** The keys of the inbox act on the ask that is selected. */
function useKeys(list: Ask[]) {
  const [selected, select] = useState<string>();
  const latest = useRef<{ list: Ask[]; selected: string | undefined }>({ list, selected });
  const handles = useRef(new Map<string, AskHandle>());
  // What a key means is decided by what is there now, not by what was there when it was drawn last.
  latest.current.list = list;
  const choose = (id: string | undefined) => {
    latest.current.selected = id;
    select(id);
  };
  const isThere = list.some((ask) => ask.askId === selected);
  const first = list[0]?.askId;
  useEffect(() => {
    if (isThere || first === undefined) return;
    const timer = setTimeout(() => choose(latest.current.list[0]?.askId), selected === undefined ? 0 : REST);
    return () => clearTimeout(timer);
  }, [isThere, first === undefined, selected]);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const place = event.target as HTMLElement;
      if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(place.tagName)) return;
      const { list: asked, selected: id } = latest.current;
      const at = asked.findIndex((ask) => ask.askId === id);
      if (at < 0) return;
      const next = event.key === "j" ? asked[at + 1] : event.key === "k" ? asked[at - 1] : undefined;
      const handle = handles.current.get(id!);
      const way = WAY_OF_KEY[event.key];
      if (next) {
        choose(next.askId);
        document.querySelector(`[data-ask="${next.askId}"]`)?.scrollIntoView({ block: "nearest" });
      } else if (event.key === "a" && !event.repeat) handle?.once();
      else if (way && handle) {
        event.preventDefault();
        handle.open(way);
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return { selected, choose, handles: handles.current };
}

export function Inbox() {
  const list = waiting.value;
  const { selected, choose, handles } = useKeys(list);
  return (
    <>
      <header class="top">
        <h1 tabIndex={-1}>Inbox</h1>
        <p class="quiet keys"><kbd>j</kbd> <kbd>k</kbd> move <kbd>a</kbd> once <kbd>s</kbd> more <kbd>e</kbd> edit <kbd>d</kbd> deny <kbd>f</kbd> defer</p>
      </header>
      {list.length === 0 && <p class="empty">{isFull.value ? "Nobody waits for you." : "Reading\u2026"}</p>}
      <div class="asks">
        {list.map((ask) => (
          <AskCard key={ask.askId} ask={ask} isSelected={ask.askId === selected} onSelect={() => choose(ask.askId)} handle={(handle) => handles.set(ask.askId, handle)} />
        ))}
      </div>
      <Ended />
      {failures.value.length > 0 && (
        <section class="more">
          <h2>Failed</h2>
          <ul class="lines">
            {failures.value.slice(0, 20).map((session) => (
              <li key={session.id}>
                <a href={`#/session/${session.contextId}`}><Icon name="failed" /> <span dir="auto">{titleOf(session)}</span></a>
                <span class="quiet" dir="auto">{nowOf(session)}</span> <span class="quiet">{since(session.used)}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      {deferred.value.length > 0 && (
        <section class="more">
          <h2>Deferred</h2>
          <div class="asks">{deferred.value.map((ask) => <AskCard key={ask.askId} ask={ask} />)}</div>
        </section>
      )}
    </>
  );
}

function Ended() {
  if (ended.value.length === 0) return null;
  return (
    <section class="more">
      <h2>Just ended</h2>
      <ul class="lines">{ended.value.map((ask) => <li key={ask.askId} class="ended" dir="auto"><Icon name={ask.state === "answered" ? "done" : "failed"} /> {visible(outcome(ask))}</li>)}</ul>
    </section>
  );
}
