// Unified diffs as rows: what a renderer shows and what a comment points to.

export interface Row {
  kind: "context" | "added" | "removed" | "hunk";
  text: string;
  old?: number;
  new?: number;
}

export interface FileDiff {
  path: string;
  kind: "added" | "deleted" | "modified" | "renamed" | "binary";
  added: number;
  removed: number;
  rows: Row[];
}

const HUNK = /^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)$/;

/** The name in a line like `+++ b/src/a.rs`; git quotes names with special characters. */
function nameOf(line: string): string {
  const raw = line.slice(4).split("\t")[0]!;
  const name = raw.startsWith('"') ? raw.slice(1, -1).replaceAll('\\"', '"').replaceAll("\\\\", "\\") : raw;
  return name === "/dev/null" ? "" : name.replace(/^[ab]\//, "");
}

/** The files of a patch. */
export function parse(patch: string): FileDiff[] {
  const files: FileDiff[] = [];
  let file: FileDiff | undefined;
  let old = 1;
  let fresh = 1;
  let left = [Infinity, Infinity];
  let isBody = false;
  const begin = (path: string) => {
    file = { path, kind: "modified", added: 0, removed: 0, rows: [] };
    files.push(file);
    isBody = false;
  };
  for (const line of patch.replace(/\n$/, "").split("\n")) {
    const isOver = !isBody || (left[0]! <= 0 && left[1]! <= 0);
    if (isOver && line.startsWith("diff --git ")) {
      begin(/ b\/(.*)$/.exec(line)?.[1] ?? line.slice(11));
    } else if (isOver && line.startsWith("--- ")) {
      if (!file || isBody) begin(nameOf(line));
    } else if (isOver && line.startsWith("+++ ")) {
      const name = nameOf(line);
      if (file && name) file.path = name;
      // A diff without hunks (of an ask) begins right here.
      isBody = true;
      [old, fresh, left] = [1, 1, [Infinity, Infinity]];
    } else if (file && HUNK.test(line)) {
      const found = HUNK.exec(line)!;
      [old, fresh] = [Number(found[1]), Number(found[3])];
      left = [Number(found[2] ?? 1), Number(found[4] ?? 1)];
      isBody = true;
      file.rows.push({ kind: "hunk", text: line });
    } else if (file && isBody && !(left[0]! <= 0 && left[1]! <= 0)) {
      const text = line.slice(1);
      if (line.startsWith("+")) {
        file.rows.push({ kind: "added", text, new: fresh++ });
        file.added += 1;
        left[1]! -= 1;
      } else if (line.startsWith("-")) {
        file.rows.push({ kind: "removed", text, old: old++ });
        file.removed += 1;
        left[0]! -= 1;
      } else if (!line.startsWith("\\")) {
        file.rows.push({ kind: "context", text, old: old++, new: fresh++ });
        left = [left[0]! - 1, left[1]! - 1];
      }
    } else if (file && line.startsWith("new file")) file.kind = "added";
    else if (file && line.startsWith("deleted file")) file.kind = "deleted";
    else if (file && line.startsWith("rename ")) file.kind = "renamed";
    else if (file && (line.startsWith("Binary files") || line.startsWith("GIT binary"))) file.kind = "binary";
  }
  return files;
}

/** A diff of an edit that names the old and the new text. */
export function ofEdit(path: string, before: string, after: string): FileDiff {
  const olds = before === "" ? [] : before.replace(/\n$/, "").split("\n");
  const news = after === "" ? [] : after.replace(/\n$/, "").split("\n");
  let head = 0;
  while (head < olds.length && head < news.length && olds[head] === news[head]) head++;
  let tail = 0;
  while (tail < olds.length - head && tail < news.length - head && olds.at(-1 - tail) === news.at(-1 - tail)) tail++;
  const rows: Row[] = [
    ...olds.slice(0, head).map((text): Row => ({ kind: "context", text })),
    ...olds.slice(head, olds.length - tail).map((text): Row => ({ kind: "removed", text })),
    ...news.slice(head, news.length - tail).map((text): Row => ({ kind: "added", text })),
    ...olds.slice(olds.length - tail).map((text): Row => ({ kind: "context", text })),
  ];
  const count = (kind: string) => rows.filter((row) => row.kind === kind).length;
  return { path, kind: olds.length === 0 ? "added" : "modified", added: count("added"), removed: count("removed"), rows };
}

/** Rows side by side: what was, what is. */
export function split(rows: Row[]): [Row | undefined, Row | undefined][] {
  const pairs: [Row | undefined, Row | undefined][] = [];
  let at = 0;
  while (at < rows.length) {
    const row = rows[at]!;
    if (row.kind === "context" || row.kind === "hunk") {
      pairs.push([row, row]);
      at++;
      continue;
    }
    const from = at;
    while (at < rows.length && (rows[at]!.kind === "removed" || rows[at]!.kind === "added")) at++;
    const changed = rows.slice(from, at);
    const removed = changed.filter((one) => one.kind === "removed");
    const added = changed.filter((one) => one.kind === "added");
    for (let i = 0; i < Math.max(removed.length, added.length); i++) pairs.push([removed[i], added[i]]);
  }
  return pairs;
}
