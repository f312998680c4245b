// Sessions that the person has pinned in this browser.
import { signal } from "@preact/signals";

const KEY = "pilothouse.pins";
/** Pins that are kept; the oldest make room. */
const KEPT = 50;

function read(): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export const pins = signal<readonly string[]>(read());

export function togglePin(id: string): void {
  const others = pins.value.filter((one) => one !== id);
  pins.value = others.length < pins.value.length ? others : [...others, id].slice(-KEPT);
  localStorage.setItem(KEY, JSON.stringify(pins.value));
}
