// Characters that cannot be seen, spelled out: what a person decides about is what is there.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udfff]/g;
const OVERRIDES = /[\u202a-\u202e\u2066-\u2069]/g;

const spell = (found: string) => `\u27e8U+${found.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;

/** Every character that is not seen becomes its number. */
export function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(HIDDEN, spell);
}

/** The same text with empty lines and long runs of spaces as their number: nothing of a command lies below the screen or
 * beside it unseen. */
export function folded(text: string): string {
  const lines = text.replace(/\r(?!\n)/g, spell).replace(/(?:\r?\n[ \t]*){4,}(?=\S|$)/g, (run) => `\n\u27e8${run.split("\n").length - 2} empty lines\u27e9\n`);
  return lines.replace(/[ \t]{40,}/g, (run) => `\u27e8${run.length} spaces\u27e9`);
}

/** Only what turns the direction of other text around becomes its number. */
export function withoutOverrides(text: string): string {
  return text.replace(OVERRIDES, spell);
}
