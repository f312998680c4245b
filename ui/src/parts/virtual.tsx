// A list of which only the visible part is in the page; rows have any height, and may be added at both ends.
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";

const GUESS = 140;
/** Pixels that are rendered beyond the visible part, at each side. */
const MARGIN = 400;
/** Pixels from an end at which more is asked for. */
const NEAR = 800;
/** Pixels from the end within which the list stays at the end. */
const STICKY = 40;

interface Props<T extends { key: string }> {
  rows: T[];
  render: (row: T) => ComponentChildren;
  label: string;
  onStart?: () => void;
  onEnd?: (isAtEnd: boolean) => void;
  /** The row to go to, and a number that changes with each wish. */
  target?: { key: string; wish: number } | undefined;
}

/** Where each row begins, by the heights that are known. */
function offsets(rows: { key: string }[], heights: Map<string, number>): number[] {
  const tops = new Array<number>(rows.length + 1);
  let top = 0;
  for (let at = 0; at < rows.length; at++) {
    tops[at] = top;
    top += heights.get(rows[at]!.key) ?? GUESS;
  }
  tops[rows.length] = top;
  return tops;
}

/** The last row that begins at or before this height. */
function rowAt(tops: number[], y: number): number {
  let low = 0;
  let high = tops.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle]! <= y) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}

export function VirtualList<T extends { key: string }>({ rows, render, label, onStart, onEnd, target }: Props<T>) {
  const place = useRef<HTMLDivElement>(null);
  const heights = useRef(new Map<string, number>());
  const anchor = useRef<{ key: string; offset: number } | null>(null);
  const isSticky = useRef(true);
  const [view, setView] = useState({ top: 0, height: 800 });
  const [measured, setMeasured] = useState(0);
  const tops = useMemo(() => offsets(rows, heights.current), [rows, measured]);

  // Where the reader is stays where it is, whatever is added or measured above.
  useLayoutEffect(() => {
    const box = place.current!;
    if (isSticky.current) {
      box.scrollTop = box.scrollHeight;
    } else if (anchor.current) {
      const at = rows.findIndex(({ key }) => key === anchor.current!.key);
      if (at >= 0) box.scrollTop = tops[at]! + anchor.current.offset;
    }
  }, [tops]);

  // Without a target the place is the end.
  useLayoutEffect(() => {
    if (target) return;
    isSticky.current = true;
    place.current!.scrollTop = place.current!.scrollHeight;
  }, [target === undefined]);

  useLayoutEffect(() => {
    const at = target ? rows.findIndex(({ key }) => key === target.key) : -1;
    if (at < 0) return;
    isSticky.current = false;
    anchor.current = { key: rows[at]!.key, offset: -12 };
    place.current!.scrollTop = tops[at]! - 12;
  }, [target?.wish, target?.key]);

  const observer = useMemo(() => new ResizeObserver((entries) => {
    let isNew = false;
    for (const { target: row, borderBoxSize } of entries) {
      const key = (row as HTMLElement).dataset.key;
      const height = borderBoxSize[0]?.blockSize ?? 0;
      if (!key || height === 0 || heights.current.get(key) === height) continue;
      heights.current.set(key, height);
      isNew = true;
    }
    if (isNew) setMeasured((count) => count + 1);
  }), []);
  useEffect(() => () => observer.disconnect(), [observer]);

  useEffect(() => {
    const box = place.current!;
    const sized = new ResizeObserver(() => {
      setView({ top: box.scrollTop, height: box.clientHeight });
      if (isSticky.current) box.scrollTop = box.scrollHeight;
    });
    sized.observe(box);
    return () => sized.disconnect();
  }, []);

  const scrolled = () => {
    const box = place.current!;
    isSticky.current = box.scrollHeight - box.scrollTop - box.clientHeight < STICKY;
    const at = rowAt(tops, box.scrollTop);
    if (rows[at]) anchor.current = { key: rows[at].key, offset: box.scrollTop - tops[at]! };
    setView({ top: box.scrollTop, height: box.clientHeight });
    if (box.scrollTop < NEAR) onStart?.();
    onEnd?.(isSticky.current);
  };

  const from = rowAt(tops, view.top - MARGIN);
  const to = Math.min(rows.length, rowAt(tops, view.top + view.height + MARGIN) + 1);
  return (
    <div class="virtual" ref={place} onScroll={scrolled} tabIndex={0} role="region" aria-label={label}>
      <div class="space" style={{ height: `${tops[rows.length] ?? 0}px` }}>
        {rows.slice(from, to).map((row, at) => (
          <Placed key={row.key} id={row.key} top={tops[from + at]!} observer={observer}>{render(row)}</Placed>
        ))}
      </div>
    </div>
  );
}

function Placed({ id, top, observer, children }: { id: string; top: number; observer: ResizeObserver; children: ComponentChildren }) {
  const place = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const row = place.current!;
    observer.observe(row);
    return () => observer.unobserve(row);
  }, [observer]);
  return <div class="placed" data-key={id} ref={place} style={{ transform: `translateY(${top}px)` }}>{children}</div>;
}
