// What the newest task of a session is: its first words and its state, read for the rows that are shown.
import { effect, signal } from "@preact/signals";
import { readEvents, readTasks, token } from "./api";
import { sessions } from "./live";
import type { Session, Task } from "./types";

export interface Head {
  id: string;
  state: string;
  /** What its last status says. */
  now: string;
}

/** The newest task of each context, and the first words of it. */
export const heads = signal<ReadonlyMap<string, Head>>(new Map());
export const titles = signal<ReadonlyMap<string, string>>(new Map());

/** Between two readings of the newest tasks. */
const EVERY = 1_000;
const LONGEST_TITLE = 140;
/** Titles that are read at a time. */
const AT_A_TIME = 4;

const textOf = (parts: { text?: string }[] | undefined) => (parts ?? []).map((part) => part.text ?? "").join(" ").trim();

function take(tasks: Task[]): void {
  const next = new Map(heads.value);
  for (const { id, contextId, status } of tasks) {
    const known = next.get(contextId);
    if (!known || known.id <= id) next.set(contextId, { id, state: status.state, now: textOf(status.message?.parts).split("\n")[0]!.slice(0, 200) });
  }
  heads.value = next;
}

/** What of a row says that its newest task may have changed. */
const mark = ({ used, activity }: Session) => `${used} ${activity.state} ${activity.taskId ?? ""}`;
const seen = new Map<string, string>();
let timer: ReturnType<typeof setTimeout> | undefined;

effect(() => {
  const changed = [...sessions.value.values()].filter((one) => !one.task && seen.get(one.id) !== mark(one));
  if (changed.length === 0 || timer) return;
  const isFirst = seen.size === 0;
  timer = setTimeout(() => void readNewest().finally(() => (timer = undefined)), isFirst ? 0 : EVERY);
});

async function readNewest(): Promise<void> {
  const rows = [...sessions.value.values()].filter((one) => !one.task && seen.get(one.id) !== mark(one));
  for (const row of rows) seen.set(row.id, mark(row));
  for (const agent of new Set(rows.map((row) => row.agent))) {
    await readTasks(agent, "pageSize=100&historyLength=0").then(({ tasks = [] }) => take(tasks), () => {});
  }
}

const wanted: Session[] = [];
const asked = new Set<string>();
let running = 0;

/** Has the title of a row read, once. */
export function want(session: Session): void {
  if (session.title || asked.has(session.contextId)) return;
  asked.add(session.contextId);
  wanted.push(session);
  void work();
}

async function work(): Promise<void> {
  if (running >= AT_A_TIME) return;
  running += 1;
  for (let session = wanted.shift(); session; session = wanted.shift()) await readTitle(session).catch(() => asked.delete(session!.contextId));
  running -= 1;
}

async function readTitle({ agent, contextId }: Session): Promise<void> {
  if (!heads.value.has(contextId)) take((await readTasks(agent, `contextId=${encodeURIComponent(contextId)}&pageSize=1&historyLength=0`)).tasks ?? []);
  const head = heads.value.get(contextId);
  if (!head) return;
  const { events } = await readEvents(head.id, "after=0&limit=1&bodies=short");
  const said = textOf(events[0]?.event.task?.history?.[0]?.parts).replace(/\s+/g, " ");
  if (said) titles.value = new Map(titles.value).set(contextId, said.slice(0, LONGEST_TITLE));
}

token.subscribe((value) => {
  if (value) return;
  heads.value = new Map();
  titles.value = new Map();
  seen.clear();
  asked.clear();
  wanted.length = 0;
});
