// A command and what it printed.
import { useMemo, useState } from "preact/hooks";
import { pieces } from "../text/ansi";
import { visible } from "../text/visible";

/** Lines of output that are shown at once. */
const SHOWN = 24;

export function Command({ text }: { text: string }) {
  return <pre class="command" dir="ltr" tabIndex={0} aria-label="command"><code>{visible(text)}</code></pre>;
}

export function Output({ text, isError = false }: { text: string; isError?: boolean }) {
  const [isOpen, setOpen] = useState(false);
  const lines = useMemo(() => text.split("\n"), [text]);
  const shown = isOpen ? text : lines.slice(0, SHOWN).join("\n");
  const styled = useMemo(() => pieces(shown), [shown]);
  if (text === "") return <p class="quiet">no output</p>;
  return (
    <>
      <pre class={isError ? "output error" : "output"} dir="ltr" tabIndex={0} aria-label="output">
        {styled.map((piece, at) => <span key={at} class={piece.style}>{visible(piece.text)}</span>)}
      </pre>
      {lines.length > SHOWN && (
        <button type="button" class="plain small" onClick={() => setOpen(!isOpen)}>
          {isOpen ? "Fewer lines" : `All ${lines.length} lines`}
        </button>
      )}
    </>
  );
}
