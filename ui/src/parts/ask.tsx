// One ask: what would happen, why a person is asked, and the ways to answer.
import { useRef, useState } from "preact/hooks";
import { decide, may, Refused } from "../api";
import { now, since, until } from "../clock";
import { sessions } from "../live";
import { ofEdit, parse } from "../text/diff";
import { folded, visible } from "../text/visible";
import type { Act, Ask, Json } from "../types";
import { Answers } from "./answers";
import { Diff } from "./diff";
import { Icon } from "./icons";
import { Command } from "./terminal";

/** A way to answer that needs more than one press. */
export type Way = "pattern" | "deny" | "edit" | "defer";

/** What keys do with the ask that is selected. */
export interface AskHandle {
  once(): void;
  open(way: Way): void;
}

/** One line that says what is asked. */
export function headline(ask: Ask): string {
  if (ask.kind === "question") return ask.text ?? "A question";
  if (ask.kind === "permission") {
    const { description, file_path } = ask.input ?? {};
    const said = ask.title || (typeof description === "string" && description);
    return said || (typeof file_path === "string" ? `${ask.tool} ${file_path}` : `May ${ask.tool} be used?`);
  }
  return ask.text ?? ask.kind;
}

/** Who did something with an ask, and from where. */
export function actor(act: Act | undefined): string {
  if (!act) return "";
  const client = act.client?.startsWith("Mozilla/") ? "browser" : act.client?.split("/")[0];
  const from = client ?? act.binding;
  return `${act.by ?? "somebody"}${from ? ` (${from})` : ""}`;
}

function Input({ ask }: { ask: Ask }) {
  const input = ask.input ?? {};
  if (ask.kind === "question") return null;
  const command = input.command;
  if (typeof command === "string") {
    const { command: _, description: __, ...others } = input;
    return (
      <>
        <Command text={folded(command)} />
        <Fields input={others} />
      </>
    );
  }
  const { old_string, new_string, content, file_path, ...others } = input;
  if (ask.diff) return parse(ask.diff).map((file) => <Diff key={file.path} file={file} />);
  if (typeof file_path === "string" && (typeof new_string === "string" || typeof content === "string")) {
    const file = ofEdit(file_path, String(old_string ?? ""), String(new_string ?? content));
    return (
      <>
        <Diff file={file} />
        <Fields input={others} />
      </>
    );
  }
  return <Fields input={input} />;
}

/** Arguments of a call, each by its name. */
export function Fields({ input }: { input: { [name: string]: Json } }) {
  const entries = Object.entries(input).filter(([name]) => name !== "options" && name !== "toolCallId");
  if (entries.length === 0) return null;
  return (
    <dl class="fields">
      {entries.map(([name, value]) => (
        <div key={name}>
          <dt>{visible(name)}</dt>
          <dd dir="auto">{visible(typeof value === "string" ? value : JSON.stringify(value, null, 2))}</dd>
        </div>
      ))}
    </dl>
  );
}

function Facts({ ask, isPlaced }: { ask: Ask; isPlaced: boolean }) {
  const session = [...sessions.value.values()].find(({ contextId }) => contextId === ask.contextId);
  return (
    <dl class="facts">
      {!isPlaced && <div><dt>Session</dt><dd><a href={`#/session/${ask.contextId}`}>{session?.title ? visible(session.title) : ask.contextId}</a> {ask.agent}</dd></div>}
      {ask.folder && <div><dt>Folder</dt><dd class="path" dir="ltr">{visible(ask.folder)}</dd></div>}
      {ask.why && <div><dt>Why asked</dt><dd>{visible(ask.why)}</dd></div>}
      {ask.mayAnswer && <div><dt>May answer</dt><dd>{ask.mayAnswer.join(", ")}</dd></div>}
    </dl>
  );
}

/** What the wait says: how long, how much is left, who is at it. */
function Wait({ ask, isMine }: { ask: Ask; isMine: boolean }) {
  const isClose = ask.deadline !== undefined && Date.parse(ask.deadline) - now.value < 600_000;
  return (
    <span class="wait">
      {ask.state === "claimed" && ask.claim && <b class="claim">{isMine ? "you are answering" : `${actor(ask.claim)} is answering`}</b>}
      {ask.state === "deferred" && ask.deferral && <b class="claim">deferred by {actor(ask.deferral)}</b>}
      <span>waits {since(ask.created)}</span>
      {ask.deadline && <span class={isClose ? "close" : ""}>{until(ask.deadline)} left</span>}
    </span>
  );
}

interface Props {
  ask: Ask;
  isSelected?: boolean;
  /** It stands in its own session. */
  isPlaced?: boolean;
  onSelect?: () => void;
  handle?: (handle: AskHandle) => void;
}

/** Sends an answer, once at a time. */
function useDecision(ask: Ask) {
  const [isSending, setSending] = useState(false);
  const [error, setError] = useState("");
  const answer = async (body: Json) => {
    setSending(true);
    setError("");
    try {
      await decide(ask.askId, body);
    } catch (failure) {
      setError(failure instanceof Refused ? failure.message : String(failure));
    }
    setSending(false);
  };
  return { isSending, error, answer };
}

export function AskCard({ ask, isSelected = false, isPlaced = false, onSelect, handle }: Props) {
  const { isSending, error, answer } = useDecision(ask);
  const [way, setWay] = useState<Way | null>(null);
  const isClaimed = useRef(false);
  const open = (next: Way | null) => {
    setWay(next);
    // Others see that somebody is at it; an answer without a claim counts all the same.
    if (next && !isClaimed.current && may("answer")) {
      isClaimed.current = true;
      decide(ask.askId, { decision: "claim" }).catch(() => {});
    }
  };
  handle?.({
    once: () => ask.kind !== "question" && may("answer") && void answer({ decision: "allow" }),
    open: (next) => may("answer") && ask.kind in WAYS && WAYS[ask.kind]!.includes(next) && open(next),
  });
  return (
    <article class={isSelected ? "ask selected" : "ask"} aria-label={`${ask.agent} asks: ${headline(ask)}`} data-ask={ask.askId} onFocusCapture={onSelect} onClick={onSelect}>
      <header>
        <span class="kind"><Icon name="needs" /> {ask.kind === "permission" ? ask.tool : ask.kind}</span>
        <h2 dir="auto">{visible(headline(ask))}</h2>
        <Wait ask={ask} isMine={isClaimed.current} />
      </header>
      <Input ask={ask} />
      <Facts ask={ask} isPlaced={isPlaced} />
      {may("answer") && <Answers ask={ask} way={way} open={open} answer={answer} isSending={isSending} />}
      {error && <p class="error" role="alert">{error}</p>}
    </article>
  );
}

/** Which ways there are for each kind. */
export const WAYS: { [kind: string]: Way[] } = {
  permission: ["pattern", "edit", "deny", "defer"],
  question: ["deny", "defer"],
  host: ["deny", "defer"],
  push: ["deny", "defer"],
};
