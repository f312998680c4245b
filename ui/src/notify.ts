// Notifications of the system, where the person wants them: a new ask while the page is not looked at.
import { effect, signal } from "@preact/signals";
import { asks } from "./live";
import { headline } from "./parts/ask";
import { go } from "./router";
import { visible } from "./text/visible";

const KEY = "pilothouse.notify";
const isThere = "Notification" in window;

/** Whether the person wants them; undefined where the browser has none. */
export const notifications = signal<boolean | undefined>(isThere ? localStorage.getItem(KEY) === "yes" && Notification.permission === "granted" : undefined);

export async function toggleNotifications(): Promise<void> {
  const wants = !notifications.value && (await Notification.requestPermission()) === "granted";
  localStorage.setItem(KEY, wants ? "yes" : "no");
  notifications.value = wants;
}

const told = new Set<string>();

effect(() => {
  const open = [...asks.value.values()].filter((ask) => ask.state === "open");
  const fresh = open.filter((ask) => !told.has(ask.askId));
  for (const ask of open) told.add(ask.askId);
  for (const id of told) if (!asks.value.has(id)) told.delete(id);
  if (!notifications.value || !document.hidden) return;
  for (const ask of fresh.slice(0, 3)) {
    // What it asks is not on the lock screen in full: only which tool or question.
    const shown = new Notification(`${ask.agent} asks`, { body: visible(headline(ask)).slice(0, 120), tag: ask.askId });
    shown.onclick = () => {
      window.focus();
      go("inbox");
      shown.close();
    };
  }
});
