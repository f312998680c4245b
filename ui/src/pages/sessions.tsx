// All sessions in groups: who needs a person first.
import { computed } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { announce } from "../announce";
import { cancelTask, may, Refused, removeSession } from "../api";
import { since } from "../clock";
import { isFull, sessions, total } from "../live";
import { AskCard } from "../parts/ask";
import { Icon } from "../parts/icons";
import { NewMessage } from "../parts/composer";
import { pins, togglePin } from "../pins";
import { go } from "../router";
import type { Session } from "../types";
import { waiting } from "./inbox";
import { type Group, groupOf, GROUPS, nowOf, titleOf } from "./rows";

/** Rows of one group that are shown before somebody asks for more. */
const SHOWN = 60;

/** All sessions by group, last used first. */
const grouped = computed(() => {
  const groups = new Map<Group, Session[]>(GROUPS.map(([group]) => [group, []]));
  const all = [...sessions.value.values()].sort((one, other) => other.used.localeCompare(one.used));
  for (const session of all) groups.get(pins.value.includes(session.id) ? "pinned" : groupOf(session))!.push(session);
  return groups;
});

const fits = (session: Session, words: string) =>
  words === "" || [titleOf(session), session.now, session.agent, session.caller, session.contextId, session.workspace].join(" ").toLowerCase().includes(words.toLowerCase());

export function Sessions() {
  const [filter, setFilter] = useState("");
  const [peeked, peek] = useState<string>();
  const [isNew, setNew] = useState(false);
  const shown = GROUPS.map(([group, title]) => ({ group, title, rows: grouped.value.get(group)!.filter((one) => fits(one, filter)) }));
  return (
    <>
      <header class="top">
        <h1 tabIndex={-1}>Sessions</h1>
        <input type="search" class="filter" placeholder="Filter" aria-label="Filter sessions" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        {may("send") && <button type="button" class="primary" aria-expanded={isNew} onClick={() => setNew(!isNew)}>New session</button>}
      </header>
      {isNew && <NewMessage onSent={(contextId) => go("session", contextId)} />}
      {sessions.value.size === 0 && <p class="empty">{isFull.value ? "No sessions yet." : "Reading\u2026"}</p>}
      {shown.filter(({ rows }) => rows.length > 0).map(({ group, title, rows }) => (
        <GroupList key={group} group={group} title={title} rows={rows} peeked={peeked} peek={peek} />
      ))}
      {isFull.value && total.value > sessions.value.size && <p class="quiet">These are the {sessions.value.size} that were used last, of {total.value}. <code>pilothouse sessions list</code> has the others.</p>}
      <p class="quiet keys"><kbd>j</kbd> <kbd>k</kbd> move <kbd>Space</kbd> peek <kbd>Enter</kbd> open</p>
      <Keys />
    </>
  );
}

/** `j` and `k` move from row to row. */
function Keys() {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const place = event.target as HTMLElement;
      if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(place.tagName)) return;
      if (event.key !== "j" && event.key !== "k") return;
      const rows = [...document.querySelectorAll<HTMLElement>(".entry > a")];
      const at = rows.indexOf(document.activeElement as HTMLElement);
      rows[event.key === "j" ? at + 1 : Math.max(0, at - 1)]?.focus();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  return null;
}

interface ListProps {
  group: Group;
  title: string;
  rows: Session[];
  peeked: string | undefined;
  peek: (id: string | undefined) => void;
}

function GroupList({ group, title, rows, peeked, peek }: ListProps) {
  const [most, setMost] = useState(SHOWN);
  return (
    <section class={`group ${group}`} aria-label={title}>
      <h2><Icon name={group} /> {title} <span class="quiet">{rows.length}</span></h2>
      <ul>
        {rows.slice(0, most).map((session) => (
          <Row key={session.id} session={session} group={groupOf(session)} isPeeked={peeked === session.id} peek={() => peek(peeked === session.id ? undefined : session.id)} />
        ))}
      </ul>
      {rows.length > most && <button type="button" class="plain" onClick={() => setMost(most + SHOWN)}>{rows.length - most} more</button>}
    </section>
  );
}

interface RowProps {
  session: Session;
  group: Group;
  isPeeked: boolean;
  peek: () => void;
}

function Row({ session, group, isPeeked, peek }: RowProps) {
  const press = (event: KeyboardEvent) => {
    if (event.key === " ") {
      event.preventDefault();
      peek();
    }
  };
  const sign = session.lastSign ?? session.activity.since ?? session.used;
  return (
    <li class={`entry ${group}`}>
      <a href={`#/session/${session.contextId}`} onKeyDown={press}>
        <Icon name={group} />
        <span class="title" dir="auto">{titleOf(session)}</span>
        <span class="now" dir="auto">{nowOf(session)}</span>
        <span class="agent">{session.agent}</span>
        <span class={session.live ? "process live" : "process"} title={session.live ? "its process is there" : "no process"}>{session.live ? "process" : ""}</span>
        <time dateTime={sign} title="last sign of life">{since(sign)}</time>
      </a>
      <button type="button" class="plain small" aria-expanded={isPeeked} aria-label={`${isPeeked ? "Less" : "Peek"}: ${titleOf(session)}`} onClick={peek}>{isPeeked ? "Less" : "Peek"}</button>
      {isPeeked && <Peek session={session} />}
    </li>
  );
}

function Peek({ session }: { session: Session }) {
  const open = waiting.value.filter((ask) => ask.contextId === session.contextId);
  return (
    <div class="peek">
      {open.map((ask) => <AskCard key={ask.askId} ask={ask} isPlaced />)}
      <dl class="facts">
        <div><dt>State</dt><dd>{session.activity.state}{session.activity.waitsFor ? `: ${session.activity.waitsFor}` : ""} for {since(session.activity.since)}</dd></div>
        <div><dt>Process</dt><dd>{session.live ? "there" : "none"}</dd></div>
        <div><dt>Caller</dt><dd>{session.caller}</dd></div>
        {session.workspace && <div><dt>Folder</dt><dd class="path" dir="ltr">{session.workspace}</dd></div>}
      </dl>
      <SessionButtons session={session} />
    </div>
  );
}

/** What can be done with a session: stop its turn, remove it. */
export function SessionButtons({ session }: { session: Session }) {
  const [error, setError] = useState("");
  const [isSure, setSure] = useState(false);
  const attempt = (action: Promise<unknown>, words: string) =>
    action.then(() => announce(words), (failure) => setError(failure instanceof Refused ? failure.message : String(failure)));
  const task = session.activity.taskId ?? (groupOf(session) === "needs" ? session.task?.id : undefined);
  return (
    <div class="answers">
      <a class="button" href={`#/session/${session.contextId}`}>Open</a>
      <a class="button" href={`#/review/${encodeURIComponent(session.agent)}/${session.id}`}>Review changes</a>
      <button type="button" aria-pressed={pins.value.includes(session.id)} onClick={() => togglePin(session.id)}>{pins.value.includes(session.id) ? "Unpin" : "Pin"}</button>
      {may("send") && task && <button type="button" onClick={() => attempt(cancelTask(session.agent, task), "stopped")}>Stop</button>}
      {may("send") && !isSure && <button type="button" class="danger" onClick={() => setSure(true)}>Remove{"\u2026"}</button>}
      {isSure && (
        <>
          <button type="button" class="danger" onClick={() => attempt(removeSession(session.agent, session.id, false), "removed")}>Remove it and its folder</button>
          <button type="button" onClick={() => setSure(false)}>Keep it</button>
        </>
      )}
      {error && <p class="error" role="alert">{error}</p>}
    </div>
  );
}
