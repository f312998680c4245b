// One session: what was said and done, live, and where a person answers and writes.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { announce } from "../announce";
import { cancelTask, download, may, readSession, system } from "../api";
import { since } from "../clock";
import { isFull, sessions } from "../live";
import { Composer } from "../parts/composer";
import { Icon } from "../parts/icons";
import { VirtualList } from "../parts/virtual";
import type { Item } from "../transcript/fold";
import { ItemView } from "../transcript/items";
import { Log } from "../transcript/log";
import { TimeLine } from "../transcript/timeline";
import type { Json, Session } from "../types";
import { groupOf, nowOf, titleOf } from "./rows";

/** The session of a context: from the live rows, else read once. */
function useSession(contextId: string): { session: Session | undefined; error: string } {
  const row = [...sessions.value.values()].find((one) => one.contextId === contextId);
  const [found, setFound] = useState<Session>();
  const [error, setError] = useState("");
  useEffect(() => {
    if (row || found?.contextId === contextId || !isFull.value || !system.value.agents) return;
    // A row that is not among the newest: each agent is asked for it.
    const agents = Object.keys((system.value.agents as { [name: string]: Json } | undefined) ?? {});
    Promise.any(agents.map((agent) => readSession(agent, contextId))).then(setFound, () => setError("There is no such session, or it is not yours."));
  }, [contextId, row === undefined, isFull.value, system.value.agents]);
  return { session: row ?? found, error: row ? "" : error };
}

export function SessionPage({ segments }: { segments: string[] }) {
  const [, contextId = "", task, seq] = segments;
  const { session, error } = useSession(contextId);
  if (error) return <><h1 tabIndex={-1}>Session</h1><p class="error" role="alert">{error}</p></>;
  if (!session) return <><h1 tabIndex={-1}>Session</h1><p class="empty">Reading{"\u2026"}</p></>;
  return <Open key={contextId} session={session} task={task} seq={seq ? Number(seq) : undefined} />;
}

function Open({ session, task, seq }: { session: Session; task: string | undefined; seq: number | undefined }) {
  const newest = useRef<string | undefined>(undefined);
  newest.current = session.task?.id ?? session.activity.taskId;
  const log = useMemo(() => new Log(session.agent, session.contextId, () => newest.current), [session.agent, session.contextId]);
  const [target, setTarget] = useState<{ key: string; wish: number }>();
  const [at, setAt] = useState<number>();
  useEffect(() => () => log.close(), [log]);
  const jump = async (toTask: string, toSeq: number) => {
    const isThere = () => log.items.value.findLast((item) => item.task === toTask && item.seq <= toSeq && item.seq >= (log.rangeOf(toTask)?.first ?? Infinity));
    const range = log.rangeOf(toTask);
    if (!range || toSeq < range.first || toSeq > range.till) await log.open(toTask, toSeq);
    const item = isThere() ?? log.items.value.find((one) => one.task === toTask);
    if (item) setTarget({ key: item.key, wish: Date.now() });
    setAt(toSeq);
  };
  useEffect(() => void (task && seq ? jump(task, seq) : log.open()), [log, task, seq]);
  // A turn that begins is a new task; one that ends is told.
  const state = `${session.activity.state}${session.activity.waitsFor ?? ""}`;
  useEffect(() => void log.refresh(), [state, session.task?.id, session.activity.taskId]);
  useEndAnnounced(log.items.value);
  const shown = task ?? log.newest?.id ?? "";
  const range = log.rangeOf(shown);
  return (
    <>
      <Head session={session} log={log} task={shown} />
      {log.error.value && <p class="error" role="alert">{log.error.value} <button type="button" onClick={() => void log.open(task, seq)}>Again</button></p>}
      <VirtualList
        rows={log.items.value}
        label="Transcript"
        target={target}
        onStart={() => void log.older()}
        onEnd={(isAtEnd) => isAtEnd && void log.newer()}
        render={(item) => (
          <ItemView item={item} isMarked={target?.key === item.key} contextId={session.contextId} replace={log.replace} />
        )}
      />
      {log.isLoading.value && log.items.value.length === 0 && <p class="empty">Reading{"\u2026"}</p>}
      <footer class="under">
        {range && range.last > 20 && <TimeLine items={log.items.value} task={shown} last={range.last} at={at ?? range.till} jump={(to) => void jump(shown, to)} />}
        {!log.isAtEnd.value && <button type="button" class="small" onClick={() => { setTarget(undefined); setAt(undefined); void log.open(); }}>To the newest</button>}
        {may("send") && <Composer agent={session.agent} contextId={session.contextId} label={`Message to ${session.agent}`} onSent={() => void log.refresh()} />}
      </footer>
    </>
  );
}

/** Ends are told to a screen reader; the stream is not. */
function useEndAnnounced(items: Item[]) {
  const last = items.at(-1);
  const key = last?.kind === "end" ? last.key : "";
  const [heard, setHeard] = useState<string>();
  useEffect(() => {
    if (heard !== undefined && key !== "" && key !== heard && last?.kind === "end") announce(`The turn is over: ${last.state}`);
    if (items.length > 0) setHeard(key);
  }, [key, items.length > 0]);
}

function Head({ session, log, task }: { session: Session; log: Log; task: string }) {
  const [error, setError] = useState("");
  const running = session.activity.taskId;
  const group = groupOf(session);
  const save = (form: string, end: string) => download(`/api/v1/tasks/${task}/export?form=${form}`, `${task}.${end}`).catch((failure) => setError(String(failure.message)));
  return (
    <header class="top session-head">
      <a class="plain back" href="#/sessions" aria-label="Back to the sessions">{"\u2039"}</a>
      <h1 tabIndex={-1} dir="auto">{titleOf(session)}</h1>
      <p class={`state ${group}`}><Icon name={group} /> <span dir="auto">{nowOf(session) || session.activity.state}</span> <span class="quiet">{since(session.lastSign ?? session.activity.since)}</span> <span class={session.live ? "process live" : "process"}>{session.live ? "process" : "no process"}</span></p>
      <div class="answers">
        {running && may("send") && <button type="button" class="danger" onClick={() => cancelTask(session.agent, running).catch((failure) => setError(String(failure.message)))}>Stop</button>}
        <a class="button" href={`#/review/${encodeURIComponent(session.agent)}/${session.id}`}>Review</a>
        {task && (
          <details class="menu">
            <summary class="button">Export</summary>
            <div>{([["html", "Page", "html"], ["markdown", "Markdown", "md"], ["jsonl", "JSON lines", "jsonl"]] as const).map(([form, name, end]) => <button type="button" class="plain" key={form} onClick={() => save(form, end)}>{name}</button>)}</div>
          </details>
        )}
        {log.tasks.value.length > 1 && (
          <select aria-label="Turn" value={task} onChange={(event) => (location.hash = `#/session/${session.contextId}/${event.currentTarget.value}/1`)}>
            {log.tasks.value.map((one, number) => <option key={one.id} value={one.id}>{`turn ${number + 1}: ${one.status.state.replace("TASK_STATE_", "").toLowerCase()}`}</option>)}
          </select>
        )}
      </div>
      {error && <p class="error" role="alert">{error}</p>}
    </header>
  );
}
