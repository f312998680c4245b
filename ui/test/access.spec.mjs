// Who gets in, what becomes of a lost connection, and that everybody can use the page.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { card, until, VIEWER, World } from "./world.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let world;
before(async () => (world = await World.start()));
after(() => world.stop());

test("a wrong token is said, and the next one is taken", async () => {
  const page = await world.page({ token: "wrong-token-wrong-token-wrong-token" });
  await page.getByText("The server does not take this token").waitFor();
  await page.getByLabel("Token").fill(VIEWER);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Inbox" }).waitFor();
  assert.ok(!page.url().includes(VIEWER));
  await page.context().close();
});

test("a token that is revoked ends the page's stream, and the person is told", async () => {
  const made = await world.api("/api/v1/tokens", { caller: "guest", scopes: ["read"] });
  const page = await world.page({ token: made.token });
  await page.locator(".link.live").waitFor();
  await world.api(`/api/v1/tokens/${made.id}`, undefined, "DELETE");
  await page.getByText("The server does not take this token").waitFor();
  await page.context().close();
});

test("who may only read sees no button that changes something", async () => {
  const page = await world.page({ token: VIEWER, at: "sessions" });
  await page.locator(".link.live").waitFor();
  await page.getByRole("button", { name: "New session" }).waitFor({ state: "detached" });
  await page.context().close();
});

test("after a restart of the server the page is live again without a reload", async () => {
  const page = await world.page();
  await page.locator(".link.live").waitFor();
  await page.evaluate(() => (globalThis.mark = 1));
  await world.halt();
  await page.locator(".banner").waitFor();
  await world.serve();
  await page.locator(".link.live").waitFor();
  const ask = await world.ask("bash");
  await card(page, ask).waitFor();
  assert.equal(await page.evaluate(() => globalThis.mark), 1);
  await world.api(`/api/v1/asks/${ask.askId}`, { decision: "deny" });
  await page.context().close();
});

test("a page whose clock jumped, as after a long sleep, connects anew at once", async () => {
  const page = await world.page();
  await page.locator(".link.live").waitFor();
  const again = page.waitForRequest((request) => request.url().endsWith("/api/v1/live"));
  await page.evaluate(() => {
    const before = Date.now;
    Date.now = () => before() + 3_600_000;
  });
  await again;
  await page.locator(".link.live").waitFor();
  await page.context().close();
});

test("a connection that is gone for good is said loudly, with a button", async () => {
  const page = await world.page();
  await page.locator(".link.live").waitFor();
  await page.clock.install();
  await page.route("**/api/v1/live", (route) => route.abort());
  await world.halt();
  try {
    const alert = page.getByRole("alert").getByText("Not connected");
    await until(async () => {
      await page.clock.runFor(10_000);
      return alert.isVisible();
    }, "the page gives up");
  } finally {
    await world.serve();
  }
  await page.unroute("**/api/v1/live");
  await page.getByRole("button", { name: "Connect now" }).click();
  await page.locator(".link.live").waitFor();
  await page.context().close();
});

test("the keyboard alone goes from page to page, opens a session, looks and comes back", async () => {
  const task = await world.send("quick one");
  await world.ended(task);
  const page = await world.page();
  await page.getByRole("heading", { name: "Inbox" }).waitFor();
  await page.keyboard.press("2");
  await page.locator(".entry > a").first().waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("Space");
  await page.locator(".peek").waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".item.end").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), "H1");
  await page.keyboard.press("3");
  await page.getByRole("heading", { name: "Agents" }).waitFor();
  await page.context().close();
});

const LOOKS = {
  light: { colorScheme: "light" },
  dark: { colorScheme: "dark" },
  "on a phone": { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
};
for (const [look, options] of Object.entries(LOOKS)) {
  test(`axe has no serious finding on any page, ${look}`, async () => {
    const task = await world.send("work");
    await world.ended(task);
    const asks = [await world.ask("edit"), await world.ask("question")];
    const { sessions } = await world.api("/api/v1/sessions?pageSize=100");
    const session = sessions.find((one) => one.contextId === task.contextId);
    const page = await world.page({ ...options, bypassCSP: true });
    await page.locator("[data-ask]").first().waitFor();
    const serious = [];
    for (const at of ["inbox", "sessions", `session/${task.contextId}`, `review/claude/${session.id}`, "agents", "usage", "system"]) {
      await page.goto(`${world.ui}/ui/#/${at}`);
      await page.locator("main h1").waitFor();
      if (at.startsWith("session/")) await page.locator(".item.end").waitFor();
      if (at.startsWith("review/")) await page.locator(".file").first().waitFor();
      if (at === "inbox") await page.keyboard.press("d");
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const { impact, id, nodes } of violations) {
        if (impact === "serious" || impact === "critical") serious.push(`${at}: ${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
      }
    }
    assert.deepEqual(serious, []);
    for (const ask of asks) await world.api(`/api/v1/asks/${ask.askId}`, { decision: "deny" });
    await page.context().close();
  });
}

test("read-only hides what changes something, for everybody", async () => {
  const readOnly = await World.start({ ui: "read-only" });
  try {
    const page = await readOnly.page({ at: "sessions" });
    await page.getByText("for reading only").waitFor();
    assert.equal(await page.getByRole("button", { name: "New session" }).count(), 0);
  } finally {
    await readOnly.stop();
  }
});
