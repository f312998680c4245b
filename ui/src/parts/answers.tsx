// The buttons and small forms by which an ask is answered.
import { useRef, useState } from "preact/hooks";
import type { Ask, Json } from "../types";
import { WAYS, type Way } from "./ask";
import { QuestionForm } from "./form";

interface Props {
  ask: Ask;
  way: Way | null;
  open: (way: Way | null) => void;
  answer: (body: Json) => Promise<void>;
  isSending: boolean;
}

const KEYS: { [way in Way]: [string, string] } = {
  pattern: ["s", "Allow more\u2026"],
  edit: ["e", "Edit\u2026"],
  deny: ["d", "Deny\u2026"],
  defer: ["f", "Defer\u2026"],
};

export function Answers({ ask, way, open, answer, isSending }: Props) {
  if (way) return <WayForm ask={ask} way={way} close={() => open(null)} answer={answer} isSending={isSending} />;
  const further = (ask.options ?? []).filter(({ id }) => ask.kind === "host" && id !== "allow" && id !== "deny");
  return (
    <>
      {ask.kind === "question" && <QuestionForm ask={ask} answer={answer} isSending={isSending} />}
      <div class="answers">
        {ask.kind !== "question" && (
          <button type="button" class="primary" disabled={isSending} onClick={() => answer({ decision: "allow" })}>
            Allow once <kbd>a</kbd>
          </button>
        )}
        {further.map(({ id, name }) => (
          <button type="button" key={id} disabled={isSending} onClick={() => answer({ decision: id })}>{name}</button>
        ))}
        {(WAYS[ask.kind] ?? []).map((one) => (
          <button type="button" key={one} class={one} disabled={isSending} onClick={() => open(one)}>
            {KEYS[one][1]} <kbd>{KEYS[one][0]}</kbd>
          </button>
        ))}
      </div>
    </>
  );
}

interface WayProps {
  ask: Ask;
  way: Way;
  close: () => void;
  answer: (body: Json) => Promise<void>;
  isSending: boolean;
}

function WayForm({ ask, way, close, answer, isSending }: WayProps) {
  const Form = { pattern: PatternForm, edit: EditForm, deny: DenyForm, defer: DeferForm }[way];
  const make = useRef<() => Json>(() => null);
  const [problem, setProblem] = useState("");
  const submit = (event: Event) => {
    event.preventDefault();
    try {
      void answer(make.current());
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  const leave = (event: KeyboardEvent) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
    }
    const isChoice = (event.target as HTMLElement).tagName === "SELECT";
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || isChoice)) submit(event);
  };
  const label = { pattern: "Allow this", edit: "Allow with this input", deny: "Deny", defer: "Defer" }[way];
  return (
    <form class="way" onSubmit={submit} onKeyDown={leave} aria-label={label}>
      <Form ask={ask} ready={(made) => (make.current = made)} />
      {problem && <p class="error" role="alert">{problem}</p>}
      <div class="answers">
        <button type="submit" class={way === "deny" ? "danger" : "primary"} disabled={isSending}>{label}</button>
        <button type="button" onClick={close}>Back <kbd>Esc</kbd></button>
      </div>
    </form>
  );
}

interface FormProps {
  ask: Ask;
  /** Says what the answer is as the fields stand. */
  ready: (make: () => Json) => void;
}

/** A field whose value goes into the answer; it has the focus when it appears. */
const focus = (place: HTMLElement | null) => place?.focus();

function PatternForm({ ask, ready }: FormProps) {
  const { proposal } = ask;
  const [words, setWords] = useState(proposal?.pattern?.words?.join(" ") ?? "");
  const [uses, setUses] = useState(String(proposal?.uses ?? 20));
  const [ttl, setTtl] = useState(proposal?.ttl ?? "1h");
  const hasWords = proposal?.pattern?.words !== undefined;
  const isAsProposed = words === (proposal?.pattern?.words?.join(" ") ?? "") && uses === String(proposal?.uses) && ttl === proposal?.ttl;
  ready((): Json => {
    if (!proposal) return { decision: "allow_session" };
    if (isAsProposed) return { decision: "allow_pattern" };
    if (!/^\d+$/.test(uses)) throw new Error("How many times? A whole number.");
    const pattern: { [name: string]: Json } = { ...(proposal.pattern as { [name: string]: Json }), uses: Number(uses), ttl };
    if (hasWords) pattern.words = words.trim().split(/\s+/);
    return { decision: "allow", pattern };
  });
  if (!proposal) return <p class="words">Allows <b>{ask.tool}</b> for the rest of the session, whatever its input is.</p>;
  return (
    <>
      <p class="words">
        {isAsProposed ? <>Allows <b>{proposal.words}</b>.</> : <>Allows <b>{ask.tool}</b>{hasWords && <> commands that begin with <code>{words}</code></>}, in this session, at most {uses} times, for {ttl}.</>}
      </p>
      <div class="line">
        {hasWords && <label>Begins with <input value={words} ref={focus} onInput={(event) => setWords(event.currentTarget.value)} dir="ltr" spellcheck={false} /></label>}
        <label class="short">Times <input inputMode="numeric" value={uses} onInput={(event) => setUses(event.currentTarget.value)} /></label>
        <label class="short">For <input value={ttl} onInput={(event) => setTtl(event.currentTarget.value)} /></label>
      </div>
    </>
  );
}

function EditForm({ ask, ready }: FormProps) {
  const command = ask.input?.command;
  const isCommand = typeof command === "string";
  const [text, setText] = useState(isCommand ? command : JSON.stringify(ask.input ?? {}, null, 2));
  ready(() => {
    if (isCommand) return { decision: "allow", input: { ...ask.input, command: text } };
    return { decision: "allow", input: JSON.parse(text) as Json };
  });
  return (
    <label>
      {isCommand ? "The command that runs instead" : "The input that is used instead"}
      <textarea class="mono" rows={isCommand ? 2 : 8} dir="ltr" spellcheck={false} value={text} ref={focus} onInput={(event) => setText(event.currentTarget.value)} />
    </label>
  );
}

function DenyForm({ ready }: FormProps) {
  const [reason, setReason] = useState("");
  ready(() => ({ decision: "deny", ...(reason.trim() ? { reason: reason.trim() } : {}) }));
  return (
    <label>
      Why? The agent is told.
      <input dir="auto" value={reason} ref={focus} onInput={(event) => setReason(event.currentTarget.value)} />
    </label>
  );
}

function DeferForm({ ready }: FormProps) {
  const [time, setTime] = useState("2h");
  ready(() => ({ decision: "defer", for: time }));
  return (
    <label class="short">
      For how long?
      <select value={time} ref={focus} onChange={(event) => setTime(event.currentTarget.value)}>
        {["30m", "2h", "8h", "1d", "7d"].map((one) => <option key={one}>{one}</option>)}
      </select>
    </label>
  );
}
