// One item of a transcript, as a person reads it.
import { memo } from "preact/compat";
import { useState } from "preact/hooks";
import { download, readEvent } from "../api";
import { clockTime, dayAndTime, duration, now } from "../clock";
import { asks } from "../live";
import { AskCard, Fields, headline } from "../parts/ask";
import { Diff } from "../parts/diff";
import { Icon } from "../parts/icons";
import { Command, Output } from "../parts/terminal";
import { ofEdit, parse } from "../text/diff";
import { languageOf } from "../text/highlight";
import { Code, Markdown } from "../text/markdown";
import { visible } from "../text/visible";
import type { Json, LogEvent, Part } from "../types";
import type { Item, Tool } from "./fold";

interface Props {
  item: Item;
  isMarked: boolean;
  contextId: string;
  /** Puts whole events in the place of cut ones. */
  replace: (task: string, whole: LogEvent[]) => void;
}

const LABELS: { [kind in Item["kind"]]: string } = {
  prompt: "message", text: "agent", thought: "thinking", tool: "tool", ask: "question", note: "note", changes: "changed files", file: "file", end: "end of the turn",
};

export const ItemView = memo(({ item, isMarked, contextId, replace }: Props) => {
  const address = `#/session/${contextId}/${item.task}/${item.seq}`;
  const [isRaw, setRaw] = useState(false);
  return (
    <article class={`item ${item.kind}${isMarked ? " marked" : ""}`} aria-label={LABELS[item.kind]} data-seq={item.seq}>
      <div class="body"><Body item={item} />{item.cut.length > 0 && <Whole item={item} replace={replace} />}</div>
      <p class="aside">
        {item.time && <time dateTime={item.time}>{clockTime(item.time)}</time>}
        <button type="button" class="plain small" aria-expanded={isRaw} aria-label={`Raw event ${item.seq}`} title={`Raw event ${item.seq}`} onClick={() => setRaw(!isRaw)}><Icon name="raw" /></button>
        <a class="plain small direct" href={address} aria-label={`Link to event ${item.seq}`} title={`Link to event ${item.seq}`}><Icon name="link" /></a>
      </p>
      {isRaw && <Raw task={item.task} seqs={[...new Set([item.seq, item.till])]} time={item.time} address={address} />}
    </article>
  );
});

function Body({ item }: { item: Item }) {
  switch (item.kind) {
    case "prompt":
      return <><p class="said" dir="auto">{visible(item.text)}</p>{item.files.map((name) => <span key={name} class="chip"><Icon name="attach" /> {visible(name)}</span>)}</>;
    case "text":
      return <Markdown text={item.text} />;
    case "thought":
      return <details><summary>Thinking</summary><Markdown text={item.text} /></details>;
    case "tool":
      return <ToolView tool={item} task={item.task} />;
    case "ask":
      return <AskInPlace item={item} />;
    case "note":
      return <p class="words" dir="auto">{item.what && <span class="chip">{item.what}</span>} {visible(item.text)}</p>;
    case "changes":
      return <Changes changes={item.changes} leftOut={item.leftOut} />;
    case "file":
      return <FileView part={item.part} name={item.name} />;
    case "end":
      return <End item={item} />;
  }
}

function AskInPlace({ item }: { item: Extract<Item, { kind: "ask" }> }) {
  const current = asks.value.get(item.ask.askId);
  if (current) return <AskCard ask={current} isPlaced />;
  return <p class="words" dir="auto"><Icon name="needs" /> {item.isOver ? "Asked" : "Asks"}: {visible(headline(item.ask))}{item.ask.kind === "permission" && typeof item.ask.input?.command === "string" && <code>{visible(item.ask.input.command)}</code>}</p>;
}

function End({ item }: { item: Extract<Item, { kind: "end" }> }) {
  const icon = item.state === "completed" ? "done" : "failed";
  const numbers = [
    item.durationMs !== undefined && duration(item.durationMs),
    item.tokens !== undefined && `${item.tokens.toLocaleString()} tokens`,
    item.costUsd !== undefined && `$${item.costUsd.toFixed(3)}`,
  ].filter(Boolean);
  return (
    <>
      <p class={`words state ${item.state}`}><Icon name={icon} /> <b>{item.state}</b> <span class="quiet">{numbers.join(" \u00b7 ")}</span></p>
      {item.text && <p class="words" dir="auto">{visible(item.text)}</p>}
    </>
  );
}

function Changes({ changes, leftOut }: { changes: Extract<Item, { kind: "changes" }>["changes"]; leftOut: number }) {
  return (
    <ul class="changes">
      {changes.map((change) => (
        <li key={change.path}><span class="chip">{change.kind}</span> <span class="path" dir="ltr">{visible(change.path)}</span> <span class="counts"><span class="plus">+{change.addedLines ?? 0}</span> <span class="minus">{"\u2212"}{change.removedLines ?? 0}</span></span></li>
      ))}
      {leftOut > 0 && <li class="quiet">{leftOut} more</li>}
    </ul>
  );
}

const PICTURES = /^image\/(png|jpeg|gif|webp)$/;

/** A file or a picture; a picture by value is shown, all others are offered. */
function FileView({ part, name }: { part: Part; name: string }) {
  const type = part.mediaType ?? "";
  if (part.raw !== undefined && PICTURES.test(type)) return <figure><img class="picture" src={`data:${type};base64,${part.raw}`} alt={`picture ${visible(name)}`} /><figcaption class="quiet">{visible(name)}</figcaption></figure>;
  if (part.text !== undefined) return <><p class="quiet">{visible(name)}</p><Code text={part.text} language={languageOf(name)} /></>;
  if (part.data !== undefined) return <><p class="quiet">{visible(name)}</p><Code text={JSON.stringify(part.data, null, 2)} language="json" /></>;
  const address = part.url ?? (part.raw !== undefined ? `data:application/octet-stream;base64,${part.raw}` : undefined);
  const isOurs = address?.startsWith("/api/v1/");
  return (
    <p class="words">
      <Icon name="attach" /> {visible(name)} <span class="quiet">{type}</span>
      {isOurs && <button type="button" class="small" onClick={() => void download(address!, name)}>Download</button>}
      {!isOurs && address && /^(https?|data):/.test(address) && <a href={address} download={name} target="_blank" rel="noopener noreferrer">Download</a>}
    </p>
  );
}

/** One line that says what a tool is used for. */
function subject({ name, input }: Tool): string {
  const of = (key: string) => (typeof input[key] === "string" ? (input[key] as string) : "");
  return of("command") || of("file_path") || of("path") || of("pattern") || of("url") || of("description") || (name === "TodoWrite" ? "the plan" : "");
}

const AGENT_TOOLS = /^(Task|Agent)$/;

function ToolView({ tool, task }: { tool: Tool; task: string }) {
  const isShell = typeof tool.input.command === "string";
  const isEdit = typeof tool.input.file_path === "string" && (typeof tool.input.new_string === "string" || typeof tool.input.content === "string");
  const [isOpen, setOpen] = useState(isShell || isEdit || AGENT_TOOLS.test(tool.name));
  const isRunning = tool.output === undefined;
  const waits = isRunning && [...asks.value.values()].some((ask) => ask.taskId === task && ask.kind === "permission" && ask.tool === tool.name);
  const took = tool.time && (tool.ended ? Date.parse(tool.ended) - Date.parse(tool.time) : undefined);
  return (
    <div class={tool.isError ? "call failed" : "call"}>
      <button type="button" class="plain head" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <Icon name={waits ? "needs" : isRunning ? "running" : tool.isError ? "failed" : "done"} />
        <b>{visible(tool.name)}</b> <span class="subject" dir="ltr">{isShell ? visible(String(tool.input.description ?? "")) : visible(subject(tool))}</span>
        <span class="quiet took">{typeof took === "number" ? duration(took) : waits ? "waits for an answer" : isRunning && tool.time ? <Running from={tool.time} /> : ""}</span>
      </button>
      {isShell && <Command text={String(tool.input.command)} />}
      {isOpen && isEdit && !waits && <Diff title={false} file={ofEdit(String(tool.input.file_path), String(tool.input.old_string ?? ""), String(tool.input.new_string ?? tool.input.content))} />}
      {isOpen && !isShell && !isEdit && <Input tool={tool} />}
      {isOpen && tool.output !== undefined && !(isEdit && !tool.isError) && <Result tool={tool} />}
      {isOpen && tool.parts.map((part, at) => <FileView key={at} part={part} name={part.filename ?? "file"} />)}
    </div>
  );
}

function Running({ from }: { from: string }) {
  return <>running for {duration(Math.max(0, now.value - Date.parse(from)))}</>;
}

function Input({ tool }: { tool: Tool }) {
  const todos = tool.input.todos;
  if (Array.isArray(todos)) return <ul class="todos">{(todos as { content?: string; status?: string }[]).map((todo, at) => <li key={at} dir="auto">{todo.status === "completed" ? "\u2611" : todo.status === "in_progress" ? "\u25b6" : "\u2610"} {visible(todo.content ?? "")}</li>)}</ul>;
  return <Fields input={tool.input} />;
}

function Result({ tool }: { tool: Tool }) {
  const text = tool.output ?? "";
  const path = tool.input.file_path;
  if (AGENT_TOOLS.test(tool.name)) return <Markdown text={text} />;
  if (typeof path === "string" && !tool.isError && text.length < 20_000 && !text.includes("\u001b")) return <Code text={visible(text)} language={languageOf(path)} />;
  if (text.startsWith("diff --git ")) return <>{parse(text).map((file) => <Diff key={file.path} file={file} />)}</>;
  return <Output text={text} isError={tool.isError ?? false} />;
}

/** Reads the whole of events whose texts came cut. */
function Whole({ item, replace }: { item: Item; replace: Props["replace"] }) {
  const [error, setError] = useState("");
  const read = () => Promise.all(item.cut.slice(0, 20).map((seq) => readEvent(item.task, seq))).then((whole) => replace(item.task, whole), (failure) => setError(String(failure.message)));
  return <><button type="button" class="plain small" onClick={read}>Read all of it</button>{error && <span class="error" role="alert">{error}</span>}</>;
}

/** The events as the server keeps them. */
function Raw({ task, seqs, time, address }: { task: string; seqs: number[]; time: string | undefined; address: string }) {
  const [events, setEvents] = useState<Json[]>();
  const [error, setError] = useState("");
  if (!events && !error) {
    Promise.all(seqs.map((seq) => readEvent(task, seq))).then((found) => setEvents(found as unknown as Json[]), (failure) => setError(String(failure.message)));
  }
  if (error) return <p class="error" role="alert">{error}</p>;
  return (
    <div class="raw-panel">
      <p class="quiet"><a href={address}>Event {seqs[0]}</a> {dayAndTime(time)}</p>
      <pre class="raw" dir="ltr" tabIndex={0} aria-label="raw events">{events ? visible(JSON.stringify(events, null, 2)) : "Reading\u2026"}</pre>
    </div>
  );
}
