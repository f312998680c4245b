// What turns have cost, by day, agent, caller and session, and what is left of the ceilings.
import { useEffect, useState } from "preact/hooks";
import { readUsage } from "../api";
import { visible } from "../text/visible";
import type { Json } from "../types";
import { words } from "./facts";

interface Used {
  costUsd?: number;
  tokens?: number;
  turns?: number;
  [name: string]: Json | undefined;
}

const LISTS: [string, string][] = [["days", "day"], ["agents", "agent"], ["callers", "caller"], ["sessions", "session"]];
const money = (usd: number | undefined) => (usd === undefined ? "" : `$${usd.toFixed(usd < 10 ? 3 : 2)}`);

export function Usage() {
  const [report, setReport] = useState<{ [name: string]: Json }>();
  const [error, setError] = useState("");
  useEffect(() => void readUsage().then(setReport, (failure) => setError(String(failure.message))), []);
  const total = report?.total as Used | undefined;
  const budgets = (report?.budgets as { [name: string]: Json }[] | undefined) ?? [];
  return (
    <>
      <header class="top"><h1 tabIndex={-1}>Usage</h1>{report && <p class="quiet">{String(report.from)} to {String(report.to)}</p>}</header>
      {error && <p class="error" role="alert">{error}</p>}
      {total && (
        <dl class="figures">
          <div><dt>Cost</dt><dd>{money(total.costUsd ?? 0)}</dd></div>
          <div><dt>Tokens</dt><dd>{(total.tokens ?? 0).toLocaleString()}</dd></div>
          <div><dt>Turns</dt><dd>{(total.turns ?? 0).toLocaleString()}</dd></div>
        </dl>
      )}
      {budgets.length > 0 && <section class="card"><h2>Ceilings</h2>{budgets.map((budget, at) => <p key={at}>{Object.entries(budget).map(([name, value]) => `${words(name)}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")}</p>)}</section>}
      {report && LISTS.map(([list, name]) => <UsedTable key={list} name={name} rows={(report[list] as Used[] | undefined) ?? []} />)}
    </>
  );
}

function UsedTable({ name, rows }: { name: string; rows: Used[] }) {
  if (rows.length === 0) return null;
  const most = Math.max(...rows.map((row) => row.tokens ?? 0), 1);
  return (
    <section class="card">
      <h2>By {name}</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label={`usage by ${name}`}>
        <table>
          <thead><tr><th scope="col">{name}</th><th scope="col">cost</th><th scope="col">tokens</th><th scope="col"><span class="hidden">share</span></th></tr></thead>
          <tbody>
            {rows.slice(0, 60).map((row) => (
              <tr key={String(row[name])}>
                <th scope="row">{visible(String(row[name]))}</th>
                <td class="figure">{money(row.costUsd)}</td>
                <td class="figure">{(row.tokens ?? 0).toLocaleString()}</td>
                <td class="bar"><i style={{ width: `${((row.tokens ?? 0) / most) * 100}%` }} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
