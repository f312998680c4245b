// Characters that cannot be seen, spelled out: what a person decides about is what is there.

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udfff]/g;
const OVERRIDES = /[\u202a-\u202e\u2066-\u2069]/g;

const spell = (found: string) => `\u27e8U+${found.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;

/** Every character that is not seen becomes its number. */
export function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(HIDDEN, spell);
}

/** Only what turns the direction of other text around becomes its number. */
export function withoutOverrides(text: string): string {
  return text.replace(OVERRIDES, spell);
}
