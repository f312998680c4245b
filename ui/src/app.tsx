// The frame around every page: where one can go, how the stream is, what is announced.
import { effect } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect } from "preact/hooks";
import { announce, announcement } from "./announce";
import { isReadOnly, readSystem, system, token } from "./api";
import { asks, link, tryAgain } from "./live";
import { Agents } from "./pages/agents";
import { Inbox } from "./pages/inbox";
import { Review } from "./pages/review";
import { SessionPage } from "./pages/session";
import { Sessions } from "./pages/sessions";
import { SignIn } from "./pages/signin";
import { SystemPage } from "./pages/system";
import { Usage } from "./pages/usage";
import { Icon } from "./parts/icons";
import { Settings } from "./parts/settings";
import { go, route } from "./router";

const PLACES: [string, string][] = [
  ["inbox", "Inbox"],
  ["sessions", "Sessions"],
  ["agents", "Agents"],
  ["usage", "Usage"],
  ["system", "System"],
];

const PAGES: { [name: string]: ComponentType<{ segments: string[] }> } = {
  inbox: Inbox,
  sessions: Sessions,
  session: SessionPage,
  review: Review,
  agents: Agents,
  usage: Usage,
  system: SystemPage,
};

// The tab says how many wait, and a screen reader is told of each new one.
let told = 0;
effect(() => {
  const waiting = [...asks.value.values()].filter((ask) => ask.state !== "deferred").length;
  const place = PLACES.find(([name]) => name === (route.value[0] || "inbox"))?.[1] ?? "Session";
  document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${place} - Pilothouse`;
  if (waiting > told) announce(waiting === 1 ? "One question waits for an answer" : `${waiting} questions wait for an answer`);
  told = waiting;
});

function Nav({ here }: { here: string }) {
  const waiting = [...asks.value.values()].filter((ask) => ask.state !== "deferred").length;
  return (
    <nav aria-label="Pages">
      <p class="brand"><img src="/ui/icon.svg" alt="" width="22" height="22" /> <span>Pilothouse</span></p>
      <ul>
        {PLACES.map(([name, title]) => (
          <li key={name}>
            <a href={`#/${name}`} aria-current={here === name ? "page" : undefined}>
              <Icon name={name} /> <span>{title}</span>
              {name === "inbox" && waiting > 0 && <b class="badge" aria-label={`${waiting} waiting`}>{waiting}</b>}
            </a>
          </li>
        ))}
      </ul>
      <div class="foot">
        <Link />
        <Settings />
      </div>
    </nav>
  );
}

function Link() {
  const words = { connecting: "connecting", live: "live", waiting: "reconnecting", lost: "not connected" }[link.value];
  return <p class={`link ${link.value}`} role="status"><i aria-hidden="true" /> <span>{words}</span></p>;
}

function Banner() {
  if (link.value !== "lost" && link.value !== "waiting") return null;
  const isLost = link.value === "lost";
  return (
    <div class={isLost ? "banner lost" : "banner"} role={isLost ? "alert" : "status"}>
      <p>
        {isLost
          ? "Not connected. What you see may be old, and nothing new arrives."
          : "The connection was lost. Trying again; what you see may be old."}
      </p>
      <button type="button" onClick={tryAgain}>Connect now</button>
    </div>
  );
}

function jump(event: KeyboardEvent): void {
  const place = event.target as HTMLElement;
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(place.tagName)) return;
  const found = PLACES[Number(event.key) - 1];
  if (found) go(found[0]);
}

export function App() {
  const isIn = token.value !== null;
  useEffect(() => {
    if (isIn) readSystem().then((value) => (system.value = value), () => {});
  }, [isIn, link.value === "live"]);
  useEffect(() => {
    addEventListener("keydown", jump);
    return () => removeEventListener("keydown", jump);
  }, []);
  const segments = route.value;
  const here = segments[0] || "inbox";
  const Page = PAGES[here] ?? Inbox;
  // The reader and the keyboard begin at the page's title.
  useEffect(() => document.querySelector<HTMLElement>("main h1")?.focus(), [segments.slice(0, 2).join("/")]);
  return (
    <>
      <p class="hidden" role="status" aria-live="assertive">{announcement.value}</p>
      {!isIn ? (
        <SignIn />
      ) : (
        <div class="frame">
          <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.querySelector<HTMLElement>("main")?.focus(); }}>To the content</a>
          <Nav here={here === "session" || here === "review" ? "sessions" : here} />
          <main id="main" tabIndex={-1} class={`page-${here}`}>
            <Banner />
            {isReadOnly.value && <p class="notice">This server offers the dashboard for reading only.</p>}
            <Page segments={segments} />
          </main>
        </div>
      )}
    </>
  );
}
