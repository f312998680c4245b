// The one stream of the page: rows of asks and sessions, and events of the tasks that are open.
import { signal } from "@preact/signals";
import { call, Refused, signOut, token } from "./api";
import type { Ask, LogEvent, Session, StreamResponse } from "./types";

/** How the stream is: `lost` is said loudly and waits for a person or the network. */
export const link = signal<"connecting" | "live" | "waiting" | "lost">("connecting");

/** Whether all rows have come. */
export const isFull = signal(false);

/** How many sessions there are; the stream has those that were used last. */
export const total = signal(0);

/** The open asks and the sessions, by id. */
export const asks = signal<ReadonlyMap<string, Ask>>(new Map());
export const sessions = signal<ReadonlyMap<string, Session>>(new Map());

/** Called with the id of each ask that is not open any more. */
export const onAskGone = new Set<(ask: Ask) => void>();

type Hear = (event: LogEvent) => void;
type HearEnd = (why: string) => void;
interface Followed {
  after: number;
  hear: Hear;
  hearEnd: HearEnd;
}

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;
const TRIES = 10;
/** The server says something at least every half of this. */
const SILENCE = 60_000;
/** A timer that comes so late means that the page was frozen. */
const FROZEN = 12_000;
const TICK = 2_000;

const followed = new Map<string, Followed>();
let cursor: string | undefined;
let running: AbortController | undefined;
let retry: ReturnType<typeof setTimeout> | undefined;
let tries = 0;
let lastBytes = 0;
/** After a reset: the rows that came since. All others go when the last one is here, so that nothing flickers. */
let told: Set<string> | undefined;

/** Hears each event of a task after this one, until the returned function is called or no more of it can be told. */
export function follow(task: string, after: number, hear: Hear, hearEnd: HearEnd): () => void {
  const mine = { after, hear, hearEnd };
  followed.set(task, mine);
  reconnect();
  return () => {
    if (followed.get(task) !== mine) return;
    followed.delete(task);
    reconnect();
  };
}

/** Begins, or begins anew at once. */
export function reconnect(): void {
  if (!token.value) return;
  clearTimeout(retry);
  running?.abort();
  running = new AbortController();
  void run(running);
}

/** A person asks for another try. */
export function tryAgain(): void {
  tries = 0;
  reconnect();
}

function forget(): void {
  running?.abort();
  clearTimeout(retry);
  cursor = undefined;
  tries = 0;
  isFull.value = false;
  asks.value = new Map();
  sessions.value = new Map();
}

async function run(mine: AbortController): Promise<void> {
  // Rows of a beginning that broke off are not all of them.
  told = undefined;
  const tasks = [...followed].map(([id, { after }]) => ({ id, after }));
  const body = JSON.stringify({ asks: true, sessions: true, tasks, ...(cursor ? { cursor } : {}) });
  if (link.value !== "live") link.value = tries === 0 ? "connecting" : "waiting";
  try {
    const response = await call("/api/v1/live", { method: "POST", body, signal: mine.signal, headers: { Accept: "text/event-stream" } });
    lastBytes = Date.now();
    await read(response, mine);
  } catch (error) {
    if (mine.signal.aborted) return;
    if (error instanceof Refused && error.status === 403) {
      signOut("This token may not read. Use one with the scope `read`.");
      return;
    }
  }
  if (mine === running && token.value) wait();
}

function wait(): void {
  tries += 1;
  if (tries > TRIES) {
    link.value = "lost";
    return;
  }
  link.value = "waiting";
  const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tries - 1));
  retry = setTimeout(reconnect, most / 2 + (Math.random() * most) / 2);
}

async function read(response: Response, mine: AbortController): Promise<void> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done || mine.signal.aborted) return;
    lastBytes = Date.now();
    if (link.value !== "live") link.value = "live";
    tries = 0;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) hear(block);
  }
}

/** One block of server-sent events. */
function hear(block: string): void {
  let name = "message";
  let id: string | undefined;
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith(":")) continue;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") name = value;
    else if (field === "id") id = value;
    else if (field === "data") data.push(value);
  }
  if (data.length > 0) take(name, JSON.parse(data.join("\n")));
  if (id !== undefined) cursor = id;
}

interface Rows<T> {
  rows?: T[];
  gone?: string[];
}

function take(name: string, data: unknown): void {
  if (name === "reset") {
    told = new Set();
    // Until all rows are here nothing is had that a stream could go on from.
    cursor = undefined;
  } else if (name === "asks") {
    takeAsks(data as Rows<Ask>);
  } else if (name === "sessions") {
    takeSessions(data as Rows<Session>);
  } else if (name === "full") {
    if (told) {
      const left = (ids: Iterable<string>) => [...ids].filter((id) => !told!.has(id));
      takeAsks({ gone: left(asks.value.keys()) });
      takeSessions({ gone: left(sessions.value.keys()) });
    }
    told = undefined;
    total.value = (data as { sessions?: { total?: number } }).sessions?.total ?? total.value;
    isFull.value = true;
  } else if (name === "task") {
    const { task, seq, event } = data as { task: string; seq: number; event: StreamResponse };
    const known = followed.get(task);
    if (!known || seq <= known.after) return;
    known.after = seq;
    known.hear({ seq, event });
  } else if (name === "broken") {
    const { task, error } = data as { task: string; error: { message: string } };
    const known = followed.get(task);
    followed.delete(task);
    known?.hearEnd(error.message);
  }
}

function takeSessions({ rows = [], gone = [] }: Rows<Session>): void {
  const next = new Map(sessions.value);
  for (const row of rows) {
    next.set(row.id, row);
    told?.add(row.id);
  }
  for (const id of gone) next.delete(id);
  sessions.value = next;
}

function takeAsks({ rows = [], gone = [] }: Rows<Ask>): void {
  const next = new Map(asks.value);
  for (const row of rows) {
    next.set(row.askId, row);
    told?.add(row.askId);
  }
  for (const id of gone) {
    const ask = next.get(id);
    next.delete(id);
    if (ask) for (const hearGone of onAskGone) hearGone(ask);
  }
  asks.value = next;
}

/** Watches for a page that was frozen, a stream that fell silent, and a network that is back. */
export function start(): void {
  let last = Date.now();
  setInterval(() => {
    const now = Date.now();
    const wasFrozen = now - last > FROZEN || now < last;
    last = now;
    if (!token.value) return;
    if (wasFrozen) tryAgain();
    else if (link.value === "live" && now - lastBytes > SILENCE) reconnect();
  }, TICK);
  addEventListener("online", tryAgain);
  addEventListener("pageshow", (event) => event.persisted && tryAgain());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && link.value !== "live") tryAgain();
  });
  token.subscribe((value) => (value ? tryAgain() : forget()));
}
