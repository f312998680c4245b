// Where the person is: the part of the address behind `#`.
import { signal } from "@preact/signals";

const read = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

/** The segments of the address. */
export const route = signal<string[]>(read());

addEventListener("hashchange", () => (route.value = read()));

export function go(...segments: string[]): void {
  location.hash = `#/${segments.map(encodeURIComponent).join("/")}`;
}
