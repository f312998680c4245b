// What the server says, as far as the page reads it.

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export interface Act {
  by?: string;
  at?: string;
  until?: string;
  binding?: string;
  client?: string;
  address?: string;
  decision?: string;
  reason?: string;
  what?: { decision?: string; reason?: string };
}

export interface Question {
  question: string;
  header?: string;
  multiSelect?: boolean;
  options?: { label: string; description?: string }[];
}

export interface Ask {
  askId: string;
  shortId: string;
  taskId: string;
  contextId: string;
  agent: string;
  caller: string;
  kind: "permission" | "question" | "host" | "push" | string;
  state: "open" | "claimed" | "deferred" | "answered" | "expired" | "withdrawn" | "failed";
  tool?: string;
  title?: string;
  text?: string;
  input?: { [name: string]: Json };
  options?: { id: string; name: string }[];
  proposal?: { words: string; uses?: number; ttl?: string; pattern?: { tool?: string; words?: string[] } };
  diff?: string;
  folder?: string;
  why?: string;
  mayAnswer?: string[];
  created: string;
  deadline?: string;
  claim?: Act;
  deferral?: Act;
  answer?: Act;
  ended?: string;
  next?: string;
}

export interface Session {
  id: string;
  contextId: string;
  agent: string;
  caller: string;
  live: boolean;
  activity: { state: string; since?: string; waitsFor?: string; taskId?: string };
  created: string;
  used: string;
  workspace?: string;
  checkout?: { [name: string]: Json } | null;
  kept?: Json;
  title?: string;
  now?: string;
  lastSign?: string;
  task?: { id: string; state: string; at?: string };
}

export interface Part {
  text?: string;
  data?: Json;
  raw?: string;
  url?: string;
  filename?: string;
  mediaType?: string;
  metadata?: { [name: string]: Json };
}

export interface Message {
  messageId: string;
  role: string;
  parts: Part[];
  taskId?: string;
  contextId?: string;
}

export interface Status {
  state: string;
  message?: Message;
  timestamp?: string;
}

export interface Artifact {
  artifactId: string;
  name?: string;
  description?: string;
  parts: Part[];
}

export interface Task {
  id: string;
  contextId: string;
  status: Status;
  history?: Message[];
  artifacts?: Artifact[];
  metadata?: { [name: string]: Json };
}

/** One event of a task, as a stream of A2A 1.0 has it. */
export interface StreamResponse {
  task?: Task;
  message?: Message;
  statusUpdate?: { taskId: string; status: Status; metadata?: { [name: string]: Json } };
  artifactUpdate?: { taskId: string; artifact: Artifact; append?: boolean; lastChunk?: boolean; metadata?: { [name: string]: Json } };
}

/** One event of a task's log. */
export interface LogEvent {
  seq: number;
  time?: string;
  kind?: string;
  bytes?: number;
  cut?: boolean;
  event: StreamResponse;
}

export interface EventPage {
  events: LogEvent[];
  first: number;
  last: number;
  total: number;
}
