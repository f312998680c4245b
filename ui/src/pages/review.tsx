// What a session has changed: read file by file, comments on lines collected into one message to the agent.
import { useEffect, useRef, useState } from "preact/hooks";
import { diffAddress, download, may, pushSession, readDiff, readSession, send } from "../api";
import { Counts } from "../parts/diff";
import { type FileDiff, parse, type Row, split } from "../text/diff";
import { visible } from "../text/visible";
import type { Json, Session } from "../types";

interface Comment {
  file: string;
  side: "old" | "new";
  lines: [number, number];
  hunk: string;
  text: string;
}

/** Rows of a file that are shown before somebody asks for more. */
const SHOWN = 500;

/** Where a comment is being written. */
interface Place {
  file: string;
  row: Row;
  from?: Row;
}

export function Review({ segments }: { segments: string[] }) {
  const [, agent = "", id = ""] = segments;
  const [from, setFrom] = useState<"base" | "turn">("base");
  const [session, setSession] = useState<Session>();
  const [files, setFiles] = useState<FileDiff[]>();
  const [error, setError] = useState("");
  useEffect(() => void readSession(agent, id).then(setSession, (failure) => setError(String(failure.message))), [agent, id]);
  useEffect(() => {
    setFiles(undefined);
    setError("");
    readDiff(agent, id, from).then((patch) => setFiles(parse(patch)), (failure) => (failure.status === 404 ? setFiles([]) : setError(String(failure.message))));
  }, [agent, id, from]);
  return (
    <>
      <header class="top">
        <a class="plain back" href={session ? `#/session/${session.contextId}` : "#/sessions"} aria-label="Back to the session">{"\u2039"}</a>
        <h1 tabIndex={-1}>Review</h1>
        <label class="short">Since <select value={from} onChange={(event) => setFrom(event.currentTarget.value as "base" | "turn")}><option value="base">the beginning</option><option value="turn">the last turn</option></select></label>
        <div class="answers">
          <button type="button" onClick={() => download(diffAddress(agent, id, from), `${from}.patch`).catch((failure) => setError(String(failure.message)))}>Download patch</button>
          {session?.checkout && may("send") && <Push agent={agent} id={id} />}
        </div>
      </header>
      {error && <p class="error" role="alert">{error}</p>}
      {!files && !error && <p class="empty">Reading{"\u2026"}</p>}
      {files?.length === 0 && <p class="empty">Nothing has changed.</p>}
      {files && files.length > 0 && session && <Files files={files} session={session} from={from} />}
    </>
  );
}

function Push({ agent, id }: { agent: string; id: string }) {
  const [words, setWords] = useState("");
  const push = () => pushSession(agent, id).then((found) => setWords(`pushed: ${JSON.stringify(found)}`), (failure) => setWords(String(failure.message)));
  return <><button type="button" onClick={push}>Push</button>{words && <span role="status" class="quiet">{visible(words).slice(0, 300)}</span>}</>;
}

function Files({ files, session, from }: { files: FileDiff[]; session: Session; from: string }) {
  const [isSplit, setSplit] = useState(false);
  const [comments, setComments] = useState<Comment[]>([]);
  const [read, setRead] = useState<ReadonlySet<string>>(new Set());
  const [place, setPlace] = useState<Place>();
  const mark = (path: string) => setRead((before) => new Set(before.has(path) ? [...before].filter((one) => one !== path) : [...before, path]));
  useReviewKeys(mark);
  const add = (text: string) => {
    if (place && text.trim()) setComments([...comments, commentAt(place, text.trim())]);
    setPlace(undefined);
  };
  return (
    <div class="review">
      <nav aria-label="Changed files">
        <p class="quiet">{read.size} of {files.length} read</p>
        <ul>
          {files.map((file) => (
            <li key={file.path}>
              <button type="button" class="plain" onClick={() => document.getElementById(`file-${file.path}`)?.scrollIntoView()}>
                <span aria-label={read.has(file.path) ? "read" : "not read"}>{read.has(file.path) ? "\u2611" : "\u2610"}</span> <span class="path" dir="ltr">{visible(file.path)}</span> <Counts file={file} />
              </button>
            </li>
          ))}
        </ul>
        <label class="option"><input type="checkbox" checked={isSplit} onChange={(event) => setSplit(event.currentTarget.checked)} /> Side by side</label>
        <p class="quiet keys"><kbd>n</kbd> <kbd>p</kbd> next, previous file <kbd>r</kbd> read <kbd>Tab</kbd> <kbd>Enter</kbd> comment</p>
      </nav>
      <div class="files">
        {files.map((file) => (
          <FileReview key={file.path} file={file} isSplit={isSplit} isRead={read.has(file.path)} mark={() => mark(file.path)} comments={comments.filter((one) => one.file === file.path)} place={place?.file === file.path ? place : undefined} setPlace={setPlace} add={add} drop={(comment) => setComments(comments.filter((one) => one !== comment))} />
        ))}
        {may("send") && <Submit comments={comments} session={session} from={from} sent={() => setComments([])} />}
      </div>
    </div>
  );
}

const lineOf = (row: Row) => row.new ?? row.old ?? 1;

function commentAt({ file, row, from }: Place, text: string): Comment {
  const ends = [lineOf(from ?? row), lineOf(row)].sort((one, other) => one - other) as [number, number];
  const sign = { added: "+", removed: "-", context: " ", hunk: "" }[row.kind];
  return { file, side: row.new === undefined ? "old" : "new", lines: ends, hunk: sign + row.text, text };
}

/** `n` and `p` go from file to file, `r` marks one as read. */
function useReviewKeys(mark: (path: string) => void) {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const where = event.target as HTMLElement;
      if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(where.tagName)) return;
      const all = [...document.querySelectorAll<HTMLElement>(".review .file")];
      const at = all.indexOf(where.closest<HTMLElement>(".review .file")!);
      if (event.key === "n" || event.key === "p") all[event.key === "n" ? at + 1 : Math.max(0, at - 1)]?.focus();
      else if (event.key === "r" && all[at]) mark(all[at].dataset.path!);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}

interface FileProps {
  file: FileDiff;
  isSplit: boolean;
  isRead: boolean;
  mark: () => void;
  comments: Comment[];
  place: Place | undefined;
  setPlace: (place: Place | undefined) => void;
  add: (text: string) => void;
  drop: (comment: Comment) => void;
}

function FileReview({ file, isSplit, isRead, mark, comments, place, setPlace, add, drop }: FileProps) {
  const [most, setMost] = useState(SHOWN);
  const rows = file.rows.slice(0, most);
  // With Shift the lines from the last one to this one are meant.
  const choose = (row: Row, isRange: boolean) => setPlace({ file: file.path, row, ...(isRange && place ? { from: place.from ?? place.row } : {}) });
  const line = (row: Row, side: "old" | "new" | undefined) => <Line row={row} side={side} choose={choose} />;
  const below = (row: Row) => (
    <>
      {comments.filter((one) => one.lines[1] === lineOf(row) && one.side === (row.new === undefined ? "old" : "new")).map((one, at) => (
        <p key={at} class="comment" dir="auto">{one.text} <button type="button" class="plain small" onClick={() => drop(one)} aria-label="Remove this comment">{"\u00d7"}</button></p>
      ))}
      {place?.row === row && <Draft place={place} add={add} cancel={() => setPlace(undefined)} />}
    </>
  );
  return (
    <section class="file" id={`file-${file.path}`} tabIndex={-1} data-path={file.path} aria-label={file.path}>
      <h2><span class="path" dir="ltr">{visible(file.path)}</span> <span class="chip">{file.kind}</span> <Counts file={file} /> <label class="option"><input type="checkbox" checked={isRead} onChange={mark} /> read</label></h2>
      {!isRead && !isSplit && <div class="diff"><div class="rows" dir="ltr">{rows.map((row, at) => <div key={at}>{line(row, undefined)}{below(row)}</div>)}</div></div>}
      {!isRead && isSplit && (
        <div class="diff split"><div class="rows" dir="ltr">
          {split(rows).map(([old, fresh], at) => (
            <div key={at}>
              <div class="pair">{old ? line(old, "old") : <div class="row none" />}{fresh?.kind !== "hunk" && (fresh ? line(fresh, "new") : <div class="row none" />)}</div>
              {old && old !== fresh && below(old)}{fresh && below(fresh)}
            </div>
          ))}
        </div></div>
      )}
      {!isRead && file.rows.length > most && <button type="button" onClick={() => setMost(most * 4)}>{file.rows.length - most} more lines</button>}
    </section>
  );
}

const SIGNS = { context: " ", added: "+", removed: "\u2212", hunk: "" };

function Line({ row, side, choose }: { row: Row; side: "old" | "new" | undefined; choose: (row: Row, isRange: boolean) => void }) {
  if (row.kind === "hunk") return <div class="row hunk"><span class="text">{visible(row.text)}</span></div>;
  const number = side === "old" ? row.old : side === "new" ? row.new : (row.new ?? row.old);
  return (
    <div class={`row ${row.kind}`}>
      <button type="button" class="number" aria-label={`Comment on ${row.kind === "removed" ? "removed " : ""}line ${number}`} disabled={!may("send")} onClick={(event) => choose(row, event.shiftKey)}>{number}</button>
      <span class="sign">{SIGNS[row.kind]}</span>
      <span class="text">{visible(row.text)}</span>
    </div>
  );
}

const focus = (field: HTMLElement | null) => field?.focus();

function Draft({ place, add, cancel }: { place: Place; add: (text: string) => void; cancel: () => void }) {
  const [text, setText] = useState("");
  const press = (event: KeyboardEvent) => {
    if (event.key === "Escape") cancel();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      add(text);
    }
  };
  const ends = commentAt(place, "").lines;
  const label = ends[0] === ends[1] ? `Comment on line ${ends[1]}` : `Comment on lines ${ends[0]} to ${ends[1]}`;
  return (
    <div class="draft">
      <textarea ref={focus} rows={2} dir="auto" aria-label={label} placeholder={label} value={text} onInput={(event) => setText(event.currentTarget.value)} onKeyDown={press} />
      <div class="answers"><button type="button" class="primary" onClick={() => add(text)}>Add</button><button type="button" onClick={cancel}>Cancel <kbd>Esc</kbd></button></div>
    </div>
  );
}

function Submit({ comments, session, from, sent }: { comments: Comment[]; session: Session; from: string; sent: () => void }) {
  const [text, setText] = useState("");
  const [words, setWords] = useState("");
  const id = useRef(crypto.randomUUID());
  const submit = async (event: Event) => {
    event.preventDefault();
    if (comments.length === 0 && text.trim() === "") return;
    try {
      const review = { ...(text.trim() ? { text: text.trim() } : {}), comments } as unknown as Json;
      await send(session.agent, session.contextId, id.current, [{ data: { review } }]);
      id.current = crypto.randomUUID();
      setText("");
      sent();
      setWords("The agent has your review.");
    } catch (failure) {
      setWords(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <form class="submit" onSubmit={submit} data-from={from}>
      <h2>{comments.length === 0 ? "Review" : comments.length === 1 ? "1 comment" : `${comments.length} comments`}</h2>
      <textarea rows={2} dir="auto" aria-label="Words on the whole" placeholder="Words on the whole" value={text} onInput={(event) => setText(event.currentTarget.value)} />
      <div class="answers"><button type="submit" class="primary">Send review to {session.agent}</button> <span role="status">{words}</span></div>
    </form>
  );
}
