// Where in the log one is, and what lies where: prompts, asks, errors, edits.
import { useMemo } from "preact/hooks";
import type { Item } from "./fold";

interface Props {
  items: Item[];
  last: number;
  task: string;
  jump: (seq: number) => void;
  at: number;
}

/** Which marks an item is worth. */
function markOf(item: Item): string | undefined {
  if (item.kind === "prompt" || item.kind === "ask") return item.kind;
  if (item.kind === "tool") return item.isError ? "error" : /^(Edit|Write|MultiEdit|NotebookEdit)$/.test(item.name) ? "edit" : undefined;
  return item.kind === "end" && item.state === "failed" ? "error" : undefined;
}

export type Mark = "ask" | "error" | "edit" | "prompt";

export function TimeLine({ items, last, task, jump, at }: Props) {
  const marks = useMemo(() => items.filter((item) => item.task === task).flatMap((item) => {
    const mark = markOf(item);
    return mark ? [{ mark, seq: item.seq }] : [];
  }), [items, task]);
  const next = (mark: Mark, step: 1 | -1) => {
    const those = marks.filter((one) => one.mark === mark && (step > 0 ? one.seq > at : one.seq < at));
    const found = step > 0 ? those[0] : those.at(-1);
    if (found) jump(found.seq);
  };
  return (
    <div class="timeline">
      <div class="track">
        <input type="range" min={1} max={Math.max(1, last)} value={at} aria-label="Place in the log" aria-valuetext={`event ${at} of ${last}`} onChange={(event) => jump(Number(event.currentTarget.value))} />
        <div class="marks" aria-hidden="true">{marks.slice(-300).map(({ mark, seq }) => <i key={seq} class={`at-${mark}`} style={{ left: `${(seq / Math.max(1, last)) * 100}%` }} />)}</div>
      </div>
      {(["ask", "error", "edit"] as const).map((mark) => (
        <span key={mark} class="jumps">
          <button type="button" class="plain small" aria-label={`Previous ${mark}`} disabled={!marks.some((one) => one.mark === mark && one.seq < at)} onClick={() => next(mark, -1)}>{"\u2039"}</button>
          <span>{mark}s</span>
          <button type="button" class="plain small" aria-label={`Next ${mark}`} disabled={!marks.some((one) => one.mark === mark && one.seq > at)} onClick={() => next(mark, 1)}>{"\u203a"}</button>
        </span>
      ))}
    </div>
  );
}
