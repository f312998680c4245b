// A diff of one file, for reading.
import type { FileDiff, Row } from "../text/diff";
import { visible } from "../text/visible";

/** Rows of a diff that are shown at once; the rest on demand. */
const SHOWN = 400;

const SIGNS = { context: " ", added: "+", removed: "\u2212", hunk: "" };

export function DiffRow({ row }: { row: Row }) {
  const hasNumber = row.old !== undefined || row.new !== undefined;
  return (
    <div class={hasNumber ? `row ${row.kind}` : `row bare ${row.kind}`}>
      {hasNumber && <span class="number" aria-hidden="true">{row.old ?? ""}</span>}
      {hasNumber && <span class="number" aria-hidden="true">{row.new ?? ""}</span>}
      <span class="sign">{SIGNS[row.kind]}</span>
      <span class="text">{visible(row.text)}</span>
    </div>
  );
}

export function Counts({ file }: { file: { added: number; removed: number } }) {
  return (
    <span class="counts">
      <span class="plus">+{file.added}</span> <span class="minus">{"\u2212"}{file.removed}</span>
    </span>
  );
}

export function Diff({ file, title = true }: { file: FileDiff; title?: boolean }) {
  return (
    <figure class="diff" aria-label={`changes of ${file.path}`}>
      {title && (
        <figcaption>
          <span class="path" dir="ltr">{visible(file.path)}</span> <Counts file={file} />
        </figcaption>
      )}
      <div class="rows" tabIndex={0} dir="ltr" role="region" aria-label={`changed lines of ${file.path}`}>
        {file.rows.slice(0, SHOWN).map((row, at) => <DiffRow key={at} row={row} />)}
        {file.rows.length > SHOWN && <p class="more">{file.rows.length - SHOWN} more lines are in Review</p>}
      </div>
    </figure>
  );
}
