// Where a person writes to an agent.
import { useEffect, useRef, useState } from "preact/hooks";
import { readReady, Refused, send } from "../api";
import type { Part } from "../types";
import { Icon } from "./icons";

/** Files of one message, together. */
const LARGEST = 8 * 1024 * 1024;

async function asPart(file: File): Promise<Part> {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32_768) text += String.fromCharCode(...bytes.subarray(at, at + 32_768));
  return { raw: btoa(text), filename: file.name, mediaType: file.type || "application/octet-stream" };
}

interface Props {
  agent: string;
  contextId?: string;
  label: string;
  onSent: (contextId: string) => void;
  /** What is typed next goes here. */
  isFirst?: boolean;
}

export function Composer({ agent, contextId, label, onSent, isFirst = false }: Props) {
  const [text, setText] = useState("");
  const [files, setFiles] = useState<File[]>([]);
  const [error, setError] = useState("");
  const [isSending, setSending] = useState(false);
  const picker = useRef<HTMLInputElement>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    if (isFirst) field.current?.focus();
  }, [isFirst]);
  // Kept until the message has arrived, so that another try is the same message.
  const id = useRef(crypto.randomUUID());
  const submit = async () => {
    if (isSending || (text.trim() === "" && files.length === 0)) return;
    if (files.reduce((sum, file) => sum + file.size, 0) > LARGEST) return setError("The files are larger than 8 MiB together.");
    setSending(true);
    setError("");
    try {
      const parts = [...(text.trim() ? [{ text }] : []), ...(await Promise.all(files.map(asPart)))];
      const task = await send(agent, contextId, id.current, parts);
      id.current = crypto.randomUUID();
      setText("");
      setFiles([]);
      if (task) onSent(task.contextId);
    } catch (failure) {
      setError(`${failure instanceof Refused ? failure.message : String(failure)}. Your message is still here.`);
    }
    setSending(false);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      void submit();
    }
  };
  return (
    <form class="composer" onSubmit={(event) => { event.preventDefault(); void submit(); }}>
      <textarea ref={field} rows={2} dir="auto" aria-label={label} placeholder={label} value={text} onInput={(event) => setText(event.currentTarget.value)} onKeyDown={press} />
      {files.length > 0 && (
        <p class="files">
          {files.map((file) => <button type="button" class="small" key={file.name} onClick={() => setFiles(files.filter((one) => one !== file))} aria-label={`Leave out ${file.name}`}>{file.name} {"\u00d7"}</button>)}
        </p>
      )}
      <div class="answers">
        <input ref={picker} type="file" multiple hidden onChange={(event) => setFiles([...files, ...(event.currentTarget.files ?? [])])} />
        <button type="button" class="plain" aria-label="Attach files" title="Attach files" onClick={() => picker.current?.click()}><Icon name="attach" /></button>
        <button type="submit" class="primary" disabled={isSending}>Send <kbd>Enter</kbd></button>
      </div>
      {error && <p class="error" role="alert">{error}</p>}
    </form>
  );
}

/** A message that begins a session, to an agent that is chosen. */
export function NewMessage({ onSent, only }: { onSent: (contextId: string) => void; only?: string }) {
  const [agents, setAgents] = useState<string[]>(only ? [only] : []);
  const [agent, setAgent] = useState(only ?? "");
  useEffect(() => {
    if (only) return;
    readReady().then((ready) => {
      const names = (ready.agents as string[] | undefined) ?? [];
      setAgents(names);
      setAgent(names[0] ?? "");
    }, () => {});
  }, [only]);
  return (
    <div class="new">
      {agents.length > 1 && (
        <label class="short">Agent <select value={agent} onChange={(event) => setAgent(event.currentTarget.value)}>{agents.map((one) => <option key={one}>{one}</option>)}</select></label>
      )}
      {agent && <Composer agent={agent} label={`Message to ${agent}`} onSent={onSent} isFirst={!only} />}
    </div>
  );
}
