// Output of a terminal as pieces with a style: colours are kept, every other control sequence is left out.

export interface Piece {
  text: string;
  style: string;
}

// CSI, OSC (ended by BEL or ST), and other escapes of two characters.
const ESCAPES = /\u001b\[([0-9;:?<=>]*)[ -/]*([@-~])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|\u001b[PX^_][^\u001b]*(?:\u001b\\)?|\u001b[ -/]*[0-~]?/g;
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

interface Style {
  colour: string;
  isBold: boolean;
  isDim: boolean;
  isUnderlined: boolean;
}

const plain = (): Style => ({ colour: "", isBold: false, isDim: false, isUnderlined: false });

function words(style: Style): string {
  const names = [style.colour && `t-${style.colour}`, style.isBold && "t-bold", style.isDim && "t-dim", style.isUnderlined && "t-under"];
  return names.filter(Boolean).join(" ");
}

function apply(style: Style, codes: string): Style {
  let next = { ...style };
  const numbers = codes.split(/[;:]/).map(Number);
  for (let at = 0; at < numbers.length; at++) {
    const code = numbers[at]!;
    if (code === 0) next = plain();
    else if (code === 1) next.isBold = true;
    else if (code === 2) next.isDim = true;
    else if (code === 4) next.isUnderlined = true;
    else if (code === 22) next.isBold = next.isDim = false;
    else if (code === 24) next.isUnderlined = false;
    else if (code >= 30 && code <= 37) next.colour = COLOURS[code - 30]!;
    else if (code >= 90 && code <= 97) next.colour = COLOURS[code - 90]!;
    else if (code === 39) next.colour = "";
    else if (code === 38 || code === 48) at += numbers[at + 1] === 5 ? 2 : 4;
  }
  return next;
}

/** What a line looks like after carriage returns: each begins it anew. */
function overwrite(text: string): string {
  if (!text.includes("\r")) return text;
  return text
    .replaceAll("\r\n", "\n")
    .split("\n")
    .map((line) => line.replace(/\r+$/, "").replace(/^.*\r/, ""))
    .join("\n");
}

/** The pieces of a terminal's output. */
export function pieces(output: string): Piece[] {
  const text = overwrite(output);
  const found: Piece[] = [];
  let style = plain();
  let from = 0;
  const push = (to: number) => {
    if (to > from) found.push({ text: text.slice(from, to), style: words(style) });
  };
  for (const match of text.matchAll(ESCAPES)) {
    push(match.index);
    from = match.index + match[0].length;
    if (match[2] === "m") style = apply(style, match[1] ?? "");
  }
  push(text.length);
  return found;
}
