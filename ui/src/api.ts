// Calls to the server: the token, the errors, and the operations that the page uses.
import { computed, signal } from "@preact/signals";
import type { Ask, EventPage, Json, LogEvent, Message, Part, Session, Task } from "./types";

const KEY = "pilothouse.token";

/** The token of this tab; it is kept in the tab alone. */
export const token = signal<string | null>(sessionStorage.getItem(KEY));

/** Why the person has to sign in (again). */
export const signInNote = signal("");

/** What the server says of itself and of this token. */
export const system = signal<{ [name: string]: Json }>({});

/** Whether the page offers to change anything. */
export const isReadOnly = computed(() => system.value.ui === "read-only");

/** Whether this token may do that; unknown is allowed, the server decides anyway. */
export function may(scope: "send" | "answer" | "admin"): boolean {
  if (isReadOnly.value) return false;
  const scopes = system.value.scopes;
  return !Array.isArray(scopes) || scopes.includes(scope) || scopes.includes("admin");
}

export function signIn(value: string): void {
  sessionStorage.setItem(KEY, value);
  signInNote.value = "";
  token.value = value;
}

export function signOut(note = ""): void {
  sessionStorage.removeItem(KEY);
  signInNote.value = note;
  token.value = null;
}

/** A call that the server refused, or that did not reach it. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

function reasonOf(body: string, status: number): string {
  try {
    const error = (JSON.parse(body) as { error?: { message?: string } | string }).error;
    const message = typeof error === "string" ? error : error?.message;
    if (message) return message;
  } catch {
    // Not JSON: the status says it.
  }
  return `the server answered ${status}`;
}

/** A call with the token; signs out where the token is not taken. */
export async function call(path: string, init: RequestInit = {}, timeoutMs = 30_000): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token.value) headers.set("Authorization", `Bearer ${token.value}`);
  if (typeof init.body === "string") headers.set("Content-Type", "application/json");
  const signal = init.signal ?? AbortSignal.timeout(timeoutMs);
  let response: Response;
  try {
    response = await fetch(path, { ...init, headers, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new Refused(0, "the server cannot be reached");
  }
  if (response.status === 401) signOut("The server does not take this token (any more).");
  if (!response.ok) throw new Refused(response.status, reasonOf(await response.text(), response.status));
  return response;
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await (await call(path, init)).json()) as T;
}

const post = <T>(path: string, body: Json) => json<T>(path, { method: "POST", body: JSON.stringify(body) });
const at = (agent: string) => `/agents/${encodeURIComponent(agent)}`;

export const readSystem = () => json<{ [name: string]: Json }>("/api/v1/system");
export const readTokens = () => json<{ [name: string]: Json }>("/api/v1/tokens");
export const readReady = () => json<{ [name: string]: Json }>("/ready");
export const readUsage = () => json<{ [name: string]: Json }>("/api/v1/usage");
export const readCard = (agent: string) =>
  json<{ [name: string]: Json }>(`${at(agent)}/.well-known/agent-card.json`, { headers: { "A2A-Version": "1.0" } });

export const readAsk = (id: string) => json<Ask>(`/api/v1/asks/${id}`);
export const decide = (id: string, body: Json) => post<Json>(`/api/v1/asks/${id}`, body);

// A session is of one agent, and is there below the name of that agent alone.
export const sessionAddress = (agent: string, id: string) => `${at(agent)}/api/v1/sessions/${id}`;
export const readSession = (agent: string, id: string) => json<Session>(sessionAddress(agent, id));
export const removeSession = (agent: string, id: string, force: boolean) => post<Json>(`${sessionAddress(agent, id)}/remove`, force ? { force } : {});
export const pushSession = (agent: string, id: string) => post<Json>(`${sessionAddress(agent, id)}/push`, {});
export const diffAddress = (agent: string, id: string, from: string) => `${sessionAddress(agent, id)}/diff?from=${from}`;
export const readDiff = async (agent: string, id: string, from: "base" | "turn") => (await call(diffAddress(agent, id, from))).text();

export const readTasks = (agent: string, query: string) =>
  json<{ tasks?: Task[]; nextPageToken?: string }>(`${at(agent)}/tasks?${query}`);
export const cancelTask = (agent: string, id: string) => post<Json>(`${at(agent)}/tasks/${id}:cancel`, {});

export const readEvents = (task: string, query: string) => json<EventPage>(`/api/v1/tasks/${task}/events?${query}`);
export const readEvent = (task: string, seq: number) => json<LogEvent>(`/api/v1/tasks/${task}/events/${seq}`);

/** Sends a message; the same id again is the same message. */
export async function send(agent: string, contextId: string | undefined, messageId: string, parts: Part[]): Promise<Task | undefined> {
  const message: Message = { messageId, role: "ROLE_USER", parts, ...(contextId ? { contextId } : {}) };
  const body = { message, configuration: { returnImmediately: true } };
  return (await post<{ task?: Task }>(`${at(agent)}/message:send`, body as unknown as Json)).task;
}

/** Has the browser keep a file that needs the token. */
export async function download(path: string, name: string): Promise<void> {
  const address = URL.createObjectURL(await (await call(path, {}, 300_000)).blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
