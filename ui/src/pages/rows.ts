// What a row of a session says, and in which group it stands.
import { asks } from "../live";
import { visible } from "../text/visible";
import type { Session } from "../types";

export type Group = "pinned" | "needs" | "failed" | "running" | "queued" | "done";

export const GROUPS: [Group, string][] = [
  ["pinned", "Pinned"],
  ["needs", "Needs you"],
  ["failed", "Failed"],
  ["running", "Running"],
  ["queued", "Queued"],
  ["done", "Done"],
];

export function groupOf({ activity, task }: Session): Group {
  const state = task?.state ?? "";
  if (activity.state === "waiting") return activity.waitsFor === "answer" ? "needs" : "queued";
  if (activity.state === "broken") return "failed";
  if (activity.state === "running" || activity.state === "starting" || activity.state === "ending") return "running";
  if (/INPUT_REQUIRED|AUTH_REQUIRED/.test(state)) return "needs";
  return /FAILED|REJECTED/.test(state) ? "failed" : "done";
}

export function titleOf(session: Session): string {
  return session.title ? visible(session.title) : `${session.agent} ${session.contextId.slice(-6)}`;
}

/** What happens now, in one line. */
export function nowOf(session: Session): string {
  const ask = [...asks.value.values()].find((one) => one.contextId === session.contextId && one.state !== "deferred");
  if (ask) return visible(ask.kind === "permission" ? `asks for ${ask.tool}: ${ask.input?.command ?? ask.input?.file_path ?? ask.title ?? ""}` : (ask.text ?? "asks"));
  if (session.activity.waitsFor) return `waits: ${session.activity.waitsFor}`;
  const ended = (session.task?.state ?? "").replace("TASK_STATE_", "").toLowerCase();
  return visible(session.now ?? "") || (session.activity.state === "idle" ? ended : session.activity.state);
}
