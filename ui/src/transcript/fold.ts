// The log of a task as what a person reads: messages, texts, thoughts, tools with their results, asks, ends.
import type { Ask, Json, LogEvent, Part, StreamResponse } from "../types";

interface Base {
  key: string;
  task: string;
  /** The event that it began with. */
  seq: number;
  time?: string;
  /** The last event that changed it. */
  till: number;
  /** Events of it whose texts are cut. */
  cut: number[];
}

export type Item = Base &
  (
    | { kind: "prompt"; text: string; files: string[] }
    | { kind: "text"; text: string; isFinal: boolean; isOpen: boolean }
    | { kind: "thought"; text: string }
    | { kind: "tool"; id: string; name: string; input: { [name: string]: Json }; output?: string; isError?: boolean; ended?: string; parts: Part[] }
    | { kind: "ask"; ask: Ask; isOver: boolean }
    | { kind: "note"; what: string; text: string; data: { [name: string]: Json } }
    | { kind: "changes"; changes: { path: string; kind: string; addedLines?: number; removedLines?: number }[]; leftOut: number }
    | { kind: "file"; part: Part; name: string }
    | { kind: "end"; state: string; text: string; costUsd?: number; tokens?: number; durationMs?: number }
  );

export type Tool = Extract<Item, { kind: "tool" }>;

interface Fold {
  task: string;
  items: Item[];
  tools: Map<string, Tool>;
  time: string | undefined;
  /** Whether the log is there from its beginning. */
  isWhole: boolean;
}

const textOf = (parts: Part[] | undefined) => (parts ?? []).map((part) => part.text ?? "").join("");

function base(fold: Fold, event: LogEvent): Base {
  return { key: `${fold.task}:${event.seq}`, task: fold.task, seq: event.seq, till: event.seq, cut: event.cut ? [event.seq] : [], ...(fold.time ? { time: fold.time } : {}) };
}

/** The items of these events of one task, in their order. */
export function fold(task: string, events: LogEvent[]): Item[] {
  const state: Fold = { task, items: [], tools: new Map(), time: undefined, isWhole: (events[0]?.seq ?? 1) <= 1 };
  for (const event of events) take(state, event);
  return state.items;
}

function take(state: Fold, entry: LogEvent): void {
  const { task, message, statusUpdate, artifactUpdate } = entry.event;
  state.time = entry.time ?? statusUpdate?.status.timestamp ?? task?.status.timestamp ?? state.time;
  if (task) for (const one of task.history ?? []) takeMessage(state, entry, one.role, one.parts);
  if (message) takeMessage(state, entry, message.role, message.parts);
  if (statusUpdate) takeStatus(state, entry, statusUpdate);
  if (artifactUpdate) takeArtifact(state, entry, artifactUpdate);
}

function takeMessage(state: Fold, entry: LogEvent, role: string, parts: Part[]): void {
  const text = textOf(parts);
  if (/USER/.test(role)) {
    const files = parts.filter((part) => part.raw !== undefined || part.url !== undefined).map((part) => part.filename ?? "file");
    const answer = parts.find((part) => part.data !== undefined)?.data;
    state.items.push({ ...base(state, entry), kind: "prompt", text: text || (answer ? JSON.stringify(answer) : ""), files });
  } else if (text) {
    state.items.push({ ...base(state, entry), kind: "text", text, isFinal: false, isOpen: false });
  }
}

function isOver(state: string): boolean {
  return /COMPLETED|FAILED|CANCELED|REJECTED/.test(state);
}

function takeStatus(state: Fold, entry: LogEvent, update: NonNullable<StreamResponse["statusUpdate"]>): void {
  const { status, metadata } = update;
  const parts = status.message?.parts ?? [];
  const data = (parts.find((part) => part.data !== undefined)?.data ?? {}) as { [name: string]: Json };
  if (typeof data.askId === "string" && !isOver(status.state)) {
    state.items.push({ ...base(state, entry), kind: "ask", ask: data as unknown as Ask, isOver: false });
    return;
  }
  const last = state.items.findLast((item) => item.kind === "ask");
  if (last?.kind === "ask" && status.state !== "TASK_STATE_INPUT_REQUIRED") last.isOver = true;
  if (isOver(status.state)) return takeEnd(state, entry, status.state, textOf(parts), metadata ?? {});
  takeData(state, entry, data, textOf(parts), parts);
}

function takeEnd(state: Fold, entry: LogEvent, name: string, text: string, metadata: { [name: string]: Json }): void {
  const usage = (metadata.usage ?? {}) as { [name: string]: number };
  const tokens = Object.values(usage).reduce((sum, one) => sum + (typeof one === "number" ? one : 0), 0);
  const numbers = {
    ...(typeof metadata.costUsd === "number" ? { costUsd: metadata.costUsd } : {}),
    ...(typeof metadata.durationMs === "number" ? { durationMs: metadata.durationMs } : {}),
    ...(tokens > 0 ? { tokens } : {}),
  };
  state.items.push({ ...base(state, entry), kind: "end", state: name.replace("TASK_STATE_", "").toLowerCase(), text, ...numbers });
}

function takeData(state: Fold, entry: LogEvent, data: { [name: string]: Json }, text: string, parts: Part[]): void {
  const kind = String(data.kind ?? "");
  if (kind === "narration") return;
  if (kind === "thought") {
    state.items.push({ ...base(state, entry), kind: "thought", text: String(data.text ?? text) });
  } else if (kind === "tool-call") {
    const tool: Tool = { ...base(state, entry), kind: "tool", id: String(data.id ?? entry.seq), name: String(data.name ?? "tool"), input: (data.input ?? {}) as Tool["input"], parts: [] };
    state.tools.set(tool.id, tool);
    state.items.push(tool);
  } else if (kind === "tool-result") {
    takeResult(state, entry, data, parts);
  } else if (text !== "") {
    state.items.push({ ...base(state, entry), kind: "note", what: kind, text, data });
  }
}

function takeResult(state: Fold, entry: LogEvent, data: { [name: string]: Json }, parts: Part[]): void {
  const id = String(data.id ?? "");
  let tool = state.tools.get(id);
  if (!tool) {
    tool = { ...base(state, entry), kind: "tool", id, name: String(data.name ?? "tool"), input: {}, parts: [] };
    state.items.push(tool);
  }
  const output = data.output;
  tool.output = typeof output === "string" ? output : output === undefined ? "" : JSON.stringify(output, null, 2);
  tool.isError = data.isError === true;
  tool.till = entry.seq;
  tool.parts = parts.filter((part) => part.raw !== undefined || part.url !== undefined);
  if (state.time) tool.ended = state.time;
  if (entry.cut && !tool.cut.includes(entry.seq)) tool.cut.push(entry.seq);
}

const plain = (text: string) => text.replace(/\s+/g, " ").trim();

function takeArtifact(state: Fold, entry: LogEvent, update: NonNullable<StreamResponse["artifactUpdate"]>): void {
  const { artifact, append, lastChunk } = update;
  const first = artifact.parts[0];
  if (artifact.artifactId.endsWith("-answer")) {
    const text = textOf(artifact.parts);
    if (lastChunk && !append) takeAnswer(state, entry, text);
    else takePiece(state, entry, text);
    return;
  }
  const data = first?.data as { kind?: string; changes?: Extract<Item, { kind: "changes" }>["changes"]; leftOut?: number } | undefined;
  if (data?.kind === "changes") {
    state.items.push({ ...base(state, entry), kind: "changes", changes: data.changes ?? [], leftOut: data.leftOut ?? 0 });
  } else if (!artifact.artifactId.endsWith("-patch")) {
    for (const [at, part] of artifact.parts.entries()) {
      const item = { ...base(state, entry), kind: "file" as const, part, name: part.filename ?? artifact.name ?? artifact.artifactId };
      state.items.push({ ...item, key: `${item.key}:${at}` });
    }
  }
}

function takePiece(state: Fold, entry: LogEvent, text: string): void {
  const last = state.items.at(-1);
  if (last?.kind === "text" && last.isOpen) {
    last.text += text;
    last.till = entry.seq;
    if (entry.cut) last.cut.push(entry.seq);
  } else if (text.trim() !== "") {
    state.items.push({ ...base(state, entry), kind: "text", text: text.replace(/^\n+/, ""), isFinal: false, isOpen: true });
  }
}

/** The whole answer at the end of a turn: it is what was just said, or stands for itself. */
function takeAnswer(state: Fold, entry: LogEvent, text: string): void {
  const since = state.items.findLastIndex((item) => item.kind === "prompt" || item.kind === "end");
  const texts = state.items.slice(since + 1).filter((item) => item.kind === "text");
  const last = texts.at(-1);
  const isSaid = last && (plain(last.text) === plain(text) || plain(texts.map((one) => one.text).join(" ")) === plain(text));
  if (last && (isSaid || (!state.isWhole && text.endsWith(last.text)))) {
    if (!isSaid) last.text = text;
    last.isFinal = true;
    last.isOpen = false;
    last.till = entry.seq;
  } else if (text.trim() !== "") {
    state.items.push({ ...base(state, entry), kind: "text", text, isFinal: true, isOpen: false });
  }
}
