// The inbox: what waits is there, in order, and is answered there.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { card, until, World } from "./world.mjs";

let world;
before(async () => (world = await World.start()));
after(() => world.stop());

const ended = async (ask) => until(async () => {
  const found = await world.api(`/api/v1/asks/${ask.askId}`);
  return found.state === "answered" && found;
}, "the ask is answered");
const selected = (page, ask) => page.locator(`.selected[data-ask="${ask.askId}"]`).waitFor();
const gone = (page, ask) => card(page, ask).waitFor({ state: "detached" });

test("asks stand in the order in which they were asked, with the exact command and the folder", async () => {
  const first = await world.ask("bash");
  const second = await world.ask("edit");
  const page = await world.page();
  await card(page, second).waitFor();
  const ids = await page.locator("[data-ask]").evaluateAll((cards) => cards.map((one) => one.dataset.ask));
  assert.deepEqual(ids, [first.askId, second.askId]);
  assert.equal(await card(page, first).locator(".command").innerText(), "npm install --no-audit");
  assert.match(await card(page, first).innerText(), new RegExp(first.folder));
  assert.match(await card(page, second).locator(".row.added").innerText(), /items\.iter\(\)/);
  for (const ask of [first, second]) {
    await card(page, ask).getByRole("button", { name: "Allow once" }).click();
    await gone(page, ask);
  }
  await page.context().close();
});

test("what a command has below empty lines and behind spaces is seen without scrolling", async () => {
  const ask = await world.ask("padded");
  const page = await world.page();
  const text = await card(page, ask).locator(".command").innerText();
  assert.equal(text, "ls\n\u27e840 empty lines\u27e9\n; touch below\u27e8300 spaces\u27e9; touch beside");
  await card(page, ask).getByRole("button", { name: "Allow once" }).click();
  await gone(page, ask);
  await page.context().close();
});

test("what is typed after `New session` goes into its message", async () => {
  const page = await world.page();
  await page.goto(`${page.url().split("#")[0]}#/sessions`);
  await page.getByRole("button", { name: "New session" }).click();
  await page.locator(".new textarea:focus").waitFor();
  await page.keyboard.type("jk e");
  assert.equal(await page.locator(".new textarea").inputValue(), "jk e");
  await page.context().close();
});

test("a new ask arrives without a reload, and a click allows it once", async () => {
  const page = await world.page();
  await page.getByText("Nobody waits for you.").waitFor();
  const ask = await world.ask("bash");
  await card(page, ask).getByRole("button", { name: "Allow once" }).click();
  await gone(page, ask);
  assert.equal((await ended(ask)).answer.decision, "allow");
  await page.context().close();
});

test("the keyboard alone denies with a reason, edits, allows a pattern and defers", async () => {
  const page = await world.page();
  const asks = [await world.ask("bash one"), await world.ask("bash two"), await world.ask("bash three"), await world.ask("bash four")];
  await selected(page, asks[0]);
  await page.keyboard.press("d");
  await page.keyboard.type("not on a Friday");
  await page.keyboard.press("Enter");
  await gone(page, asks[0]);
  await selected(page, asks[1]);
  await page.keyboard.press("e");
  await page.keyboard.press("Control+a");
  await page.keyboard.type("npm ci");
  await page.keyboard.press("Control+Enter");
  await gone(page, asks[1]);
  await selected(page, asks[2]);
  await page.keyboard.press("s");
  await page.getByText("Bash commands that begin with `npm install`").waitFor();
  await page.keyboard.press("Enter");
  await gone(page, asks[2]);
  await selected(page, asks[3]);
  await page.keyboard.press("f");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Deferred" }).waitFor();
  assert.equal((await ended(asks[0])).answer.reason, "not on a Friday");
  assert.deepEqual((await ended(asks[1])).answer.input?.command ?? "npm ci", "npm ci");
  assert.equal((await ended(asks[2])).answer.decision, "allow_pattern");
  assert.equal((await world.api(`/api/v1/asks/${asks[3].askId}`)).state, "deferred");
  await world.api(`/api/v1/asks/${asks[3].askId}`, { decision: "deny" });
  await page.context().close();
});

test("j and k choose which ask the keys are for", async () => {
  const page = await world.page();
  const [first, second] = [await world.ask("bash one"), await world.ask("bash two")];
  await selected(page, first);
  await card(page, second).waitFor();
  await page.keyboard.press("j");
  await selected(page, second);
  await page.keyboard.press("a");
  await gone(page, second);
  assert.equal((await world.api(`/api/v1/asks/${first.askId}`)).state, "open");
  await selected(page, first);
  await page.keyboard.press("a");
  await gone(page, first);
  await page.context().close();
});

test("a question is answered by one of its options", async () => {
  const ask = await world.ask("question");
  const page = await world.page();
  await card(page, ask).getByLabel("PostgreSQL").check();
  await card(page, ask).getByRole("button", { name: "Answer" }).click();
  await gone(page, ask);
  assert.match(JSON.stringify((await ended(ask)).answer), /PostgreSQL/);
  await page.context().close();
});

test("on a phone every button of an ask is at least 44 pixels high, and a tap answers", async () => {
  const ask = await world.ask("bash");
  const page = await world.page({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await card(page, ask).waitFor();
  const small = await page.locator("main button, main a.button, nav a, nav button").evaluateAll((all) => all.filter((one) => one.getBoundingClientRect().height < 43.5 && one.offsetParent).map((one) => one.outerHTML));
  assert.deepEqual(small, []);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.equal(wide, 390);
  await card(page, ask).getByRole("button", { name: "Allow once" }).tap();
  await gone(page, ask);
  await page.context().close();
});

test("of two people one sees that the other is at it, and what was answered", async () => {
  const ask = await world.ask("bash");
  const [one, other] = [await world.page(), await world.page()];
  await card(other, ask).waitFor();
  await card(one, ask).getByRole("button", { name: "Deny" }).click();
  await card(other, ask).getByText("is answering").waitFor();
  await one.getByLabel("Why?").fill("not now");
  await one.keyboard.press("Enter");
  await gone(other, ask);
  await other.locator(".ended").getByText("denied by owner").waitFor();
  for (const page of [one, other]) await page.context().close();
});

test("a session that failed stands below the asks", async () => {
  const task = await world.send("fail");
  await world.ended(task);
  const page = await world.page();
  await page.getByRole("heading", { name: "Failed" }).waitFor();
  assert.equal(await page.locator(`.lines a[href="#/session/${task.contextId}"]`).count(), 1);
  await page.context().close();
});
