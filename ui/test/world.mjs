// A server of the tests with a scripted agent, and a browser on its page.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "../dev/serve.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = process.env.PILOTHOUSE_BIN ?? join(root, "target/debug/pilothouse");
export const FAKE_AGENT = join(dirname(program), "fake-agent");
export const OWNER = "owner-token-owner-token-owner-token";
export const VIEWER = "viewer-token-viewer-token-viewer-1";
/** The scripted agent. */
export const AGENT = { driver: "claude", skills_source: "files", program: join(root, "tests/ui/agent.mjs"), asks: "ask" };
const PATIENCE = 15_000;

/** Resolves when this is so, or fails after a while. */
export async function until(holds, what) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`did not become so: ${what ?? holds}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export class World {
  constructor(more) {
    this.folder = mkdtempSync(join(tmpdir(), "pilothouse-ui-"));
    for (const name of ["cwd", "work"]) mkdirSync(join(this.folder, name));
    const config = {
      server: { port: 0 },
      state_dir: join(this.folder, "state"),
      workspace: { path: join(this.folder, "work") },
      auth: { token: OWNER, tokens: { viewer: { token: VIEWER, scopes: ["read"] } } },
      isolation: { backend: "none" },
      audit: join(this.folder, "audit.jsonl"),
      timeouts: { mcp: "1ms", terminate: "500ms", shutdown: "5s" },
      agent: "claude",
      agents: { claude: AGENT },
      ...more,
    };
    writeFileSync(join(this.folder, "cwd/pilothouse.yaml"), JSON.stringify(config));
  }

  static async start(more) {
    const world = new World(more);
    await world.serve();
    // With UI_DIST the page is that of `dist`, whatever the program holds.
    if (process.env.UI_DIST) world.pages = await serve(world.url);
    world.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
    return world;
  }

  /** Starts the server; a later start has the port of the first. */
  async serve() {
    const said = join(this.folder, "state/server.json");
    rmSync(said, { force: true });
    const port = this.url ? ["--port", new URL(this.url).port] : [];
    this.server = spawn(program, ["serve", "--trust-folder", ...port], { cwd: join(this.folder, "cwd"), stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ANTHROPIC_API_KEY: "x" } });
    let words = "";
    this.server.stderr.on("data", (piece) => (words = (words + piece).slice(-4000)));
    await until(() => {
      if (this.server.exitCode !== null) throw new Error(words);
      return existsSync(said);
    }, "the server starts");
    this.url = JSON.parse(readFileSync(said, "utf8")).url;
    await until(() => fetch(`${this.url}/health`).then((reply) => reply.ok, () => false), "the server answers");
  }

  /** Where the page is. */
  get ui() {
    return this.pages ? `http://127.0.0.1:${this.pages.address().port}` : this.url;
  }

  async halt() {
    const ended = once(this.server, "exit");
    this.server.kill("SIGTERM");
    await ended;
  }

  async stop() {
    await this.browser?.close();
    this.pages?.close();
    this.pages?.closeAllConnections();
    if (this.server.exitCode === null) await this.halt();
    rmSync(this.folder, { recursive: true, force: true });
  }

  async api(path, body, method = body ? "POST" : "GET") {
    const init = { method, headers: { Authorization: `Bearer ${OWNER}`, "Content-Type": "application/json" }, ...(body ? { body: JSON.stringify(body) } : {}) };
    const reply = await fetch(this.url + path, init);
    const text = await reply.text();
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  /** Sends a message without waiting for its end. */
  async send(text, contextId, agent = "claude") {
    const message = { messageId: crypto.randomUUID(), role: "ROLE_USER", parts: [{ text }], ...(contextId ? { contextId } : {}) };
    return (await this.api(`/agents/${agent}/message:send`, { message, configuration: { returnImmediately: true } })).task;
  }

  /** Sends a message and waits until it asks. */
  async ask(text) {
    const task = await this.send(text);
    return this.asked(task);
  }

  /** What a task asks, as soon as it does. */
  asked(task) {
    return until(async () => (await this.api("/api/v1/asks?pageSize=100")).asks.find((ask) => ask.taskId === task.id), "the task asks");
  }

  /** Waits for the end of a task. */
  ended(task) {
    return until(async () => /COMPLETED|FAILED|CANCELED/.test((await this.api(`/tasks/${task.id}?historyLength=0`)).status.state), "the task ends");
  }

  /** A page of somebody of their own, signed in. */
  async page({ token = OWNER, at = "inbox", ...options } = {}) {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(String(error)));
    page.on("console", (line) => /Content Security|TrustedHTML|Trusted Type/i.test(line.text()) && page.problems.push(line.text()));
    await page.goto(`${this.ui}/ui/#/${at}`);
    await page.getByLabel("Token").fill(token);
    await page.keyboard.press("Enter");
    return page;
  }
}

/** The card of an ask. */
export const card = (page, ask) => page.locator(`[data-ask="${ask.askId}"]`);
