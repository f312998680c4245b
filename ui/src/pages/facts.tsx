// Any JSON of the server as headings, tables and lists.
import { visible } from "../text/visible";
import type { Json } from "../types";

type Fields = { [name: string]: Json };

const isFields = (value: Json): value is Fields => typeof value === "object" && value !== null && !Array.isArray(value);

/** A section with more members is folded. */
const LONG = 16;

/** A name of the API in words: `costUsd` is `cost usd`. */
export const words = (name: string) => visible(name.replace(/([a-z])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase());

function Value({ value }: { value: Json }) {
  if (value === null || value === "") return <span class="quiet">none</span>;
  if (typeof value === "boolean") return <>{value ? "yes" : "no"}</>;
  if (typeof value === "number") return <>{value.toLocaleString()}</>;
  if (typeof value === "string") return <span dir="auto">{visible(value)}</span>;
  if (Array.isArray(value)) return <List rows={value} />;
  return <Facts fields={value} />;
}

function List({ rows }: { rows: Json[] }) {
  if (rows.length === 0) return <span class="quiet">none</span>;
  if (!rows.every(isFields)) return <span class="chips">{rows.map((row, at) => <span key={at} class="chip"><Value value={row} /></span>)}</span>;
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))].slice(0, 8);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="table">
      <table>
        <thead><tr>{names.map((name) => <th key={name} scope="col">{words(name)}</th>)}</tr></thead>
        <tbody>{rows.slice(0, 200).map((row, at) => <tr key={at}>{names.map((name) => <td key={name}><Value value={row[name] ?? null} /></td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

export function Facts({ fields }: { fields: Fields }) {
  if (Object.keys(fields).length === 0) return <span class="quiet">none</span>;
  return <dl class="facts">{Object.entries(fields).map(([name, value]) => <div key={name}><dt>{words(name)}</dt><dd><Value value={value} /></dd></div>)}</dl>;
}

/** Each member that has members is a section of its own. */
export function Sections({ fields }: { fields: Fields }) {
  const entries = Object.entries(fields);
  const plain = entries.filter(([, value]) => typeof value !== "object" || value === null);
  return (
    <>
      {plain.length > 0 && <section class="card"><Facts fields={Object.fromEntries(plain)} /></section>}
      {entries.filter(([, value]) => typeof value === "object" && value !== null).map(([name, value]) => (
        <section key={name} class="card" aria-label={words(name)}>
          {Object.keys(value!).length > LONG ? <details><summary>{words(name)}</summary><Value value={value} /></details> : <><h2>{words(name)}</h2><Value value={value} /></>}
        </section>
      ))}
    </>
  );
}
