// Markdown of agents. HTML in it is shown as text, and what comes of it goes through a sanitiser before it is shown.
import DOMPurify from "dompurify";
import { Marked } from "marked";
import { memo } from "preact/compat";
import { useLayoutEffect, useRef } from "preact/hooks";
import { escape, highlight } from "./highlight";
import { withoutOverrides } from "./visible";

/** Longer text is shown as it is. */
const LONGEST = 100_000;

/** Quotes and lists within each other, and marks in a row or in all, above which text is shown as it is: reading them would take the page's time. */
const DEEP = /^(?:[ \t]*(?:>|[-*+]|\d+[.)])[ \t]*){12,}/m;
const MARKS = /[*_`[\]<~]/g;
const MOST_MARKS = 4_000;

/** Whether text is read as Markdown. */
const isReadable = (text: string) => text.length <= LONGEST && !DEEP.test(text) && (text.match(MARKS)?.length ?? 0) <= MOST_MARKS;

const TAGS = [
  "p", "br", "hr", "strong", "em", "del", "code", "pre", "span", "ul", "ol", "li", "blockquote", "a",
  "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "div",
];
const ALLOWED = { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "class", "start", "tabindex"], ADD_URI_SAFE_ATTR: ["start", "tabindex"], ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i };

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    html: ({ text }) => escape(text),
    // No picture of another host is loaded; its address can be followed.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    code: ({ text, lang }) => `<pre tabindex="0"><code>${highlight(text, (lang ?? "").split(/\s/)[0] ?? "")}</code></pre>`,
    checkbox: ({ checked }) => (checked ? "\u2611 " : "\u2610 "),
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.hasAttribute("class") && !/^hljs-[\w -]*$/.test(node.getAttribute("class") ?? "")) node.removeAttribute("class");
  if (/^(P|LI|H[1-6]|BLOCKQUOTE|TD|TH)$/.test(node.nodeName)) node.setAttribute("dir", "auto");
});

/** Safe nodes of some HTML. */
function sanitise(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, { ...ALLOWED, RETURN_DOM_FRAGMENT: true });
}

/** Has the browser compile the expressions of the reader while nobody waits: the first text would take a tenth of a second. */
export function warmUp(): void {
  const idle = window.requestIdleCallback ?? ((work: () => void) => setTimeout(work, 200));
  const text = "a *b* `c`\n\n- d\n\n| e | f |\n|---|---|\n| g | h |\n\n> i\n\n<b>\n\n```json\n{}\n```\n";
  idle(() => sanitise(marked.parse(text) as string));
}

function useNodes(make: () => Node, text: string) {
  const place = useRef<HTMLElement>(null);
  useLayoutEffect(() => place.current?.replaceChildren(make()), [text]);
  return place;
}

/** Text of an agent, with its Markdown. */
export const Markdown = memo(({ text }: { text: string }) => {
  const make = () => (!isReadable(text) ? document.createTextNode(text) : sanitise(marked.parse(withoutOverrides(text)) as string));
  return <div class={isReadable(text) ? "markdown" : "markdown whole"} dir="auto" ref={useNodes(make, text) as never} />;
});

/** Code in the colours of its language. */
export const Code = memo(({ text, language }: { text: string; language: string }) => (
  <pre class="code" tabIndex={0} aria-label="code">
    <code ref={useNodes(() => sanitise(highlight(text, language)), text) as never} />
  </pre>
));
