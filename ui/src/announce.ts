// What a screen reader is told: asks and ends, not the stream.
import { signal } from "@preact/signals";

export const announcement = signal("");

export function announce(text: string): void {
  announcement.value = text === announcement.value ? `${text}\u00a0` : text;
}
