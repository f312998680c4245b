// Times in words, and a clock that the page reads.
import { signal } from "@preact/signals";

/** The time, as often as words about time change. */
export const now = signal(Date.now());
setInterval(() => {
  if (!document.hidden) now.value = Date.now();
}, 1000);

/** A length of time, short: `12s`, `4m`, `3h`, `2d`. */
export function length(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h ${Math.floor((seconds % 3600) / 60)}m`.replace(" 0m", "");
  return `${Math.floor(seconds / 86_400)}d`;
}

export function since(time: string | undefined): string {
  return time ? length(now.value - Date.parse(time)) : "";
}

export function until(time: string | undefined): string {
  return time ? length(Date.parse(time) - now.value) : "";
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : length(ms);
}

// A formatter is made once: making one for each row is most of the work of showing a row.
const CLOCK = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function clockTime(time: string | undefined): string {
  return time ? CLOCK.format(new Date(time)) : "";
}

export function dayAndTime(time: string | undefined): string {
  return time ? new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "";
}
