// One session: what was said and done, live; the answer of a hostile agent is text.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { AGENT, card, until, World } from "./world.mjs";

let world;
before(async () => (world = await World.start()));
after(() => world.stop());

const open = async (task, more) => {
  const page = await world.page({ at: `session/${task.contextId}`, ...more });
  await page.locator(".item").first().waitFor();
  return page;
};

test("a transcript has the prompt, folded thinking, tools with their output, diffs and the end", async () => {
  const task = await world.send("work");
  await world.ended(task);
  const page = await open(task, { viewport: { width: 1280, height: 3000 } });
  await page.locator(".item.end").waitFor();
  assert.equal(await page.locator(".item.prompt .said").innerText(), "work");
  assert.equal(await page.locator(".item.thought details").evaluate((details) => details.open), false);
  assert.match(await page.locator(".item.tool .output").last().innerText(), /test result: ok/);
  assert.equal(await page.locator(".item.tool .row.added").count(), 1);
  assert.match(await page.locator(".item.end").innerText(), /completed.*tokens/s);
  assert.equal(await page.locator(".markdown table").count(), 1);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("what a hostile agent says is text: nothing runs, nothing is loaded, invisible characters are spelled out", async () => {
  const task = await world.send("hostile");
  const page = await world.page({ at: "sessions", viewport: { width: 1280, height: 2000 } });
  const foreign = [];
  page.on("request", (request) => new URL(request.url()).origin === world.ui || request.url().startsWith("data:") || foreign.push(request.url()));
  const ask = await world.ask("bash");
  await world.api(`/api/v1/asks/${ask.askId}`, { decision: "deny" });
  await page.goto(`${world.ui}/ui/#/session/${task.contextId}`);
  await page.locator(".item.end").waitFor();
  const text = await page.locator(".virtual").innerText();
  assert.match(text, /<script>window\.hacked=1<\/script>/);
  assert.match(text, /⟨U\+202E⟩/);
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator(".virtual :is(script, iframe, style, [onclick], [onerror], [onload])").count(), 0);
  assert.equal(await page.locator('.virtual a[href^="javascript:"]').count(), 0);
  assert.deepEqual(foreign, []);
  assert.deepEqual(page.problems, []);
  await page.context().close();
});

test("words arrive while they are said, and the list stays at its end", async () => {
  const task = await world.send("stream 30");
  const page = await open(task);
  await page.getByText("word30").first().waitFor();
  await page.locator(".item.end").waitFor();
  const gap = await page.locator(".virtual").evaluate((list) => list.scrollHeight - list.scrollTop - list.clientHeight);
  assert.ok(gap < 40, `${gap} pixels from the end`);
  await page.context().close();
});

test("an ask is answered in its place, and the turn goes on", async () => {
  const ask = await world.ask("bash");
  const page = await open({ contextId: ask.contextId });
  await card(page, ask).getByRole("button", { name: "Allow once" }).click();
  await page.locator(".item.end").waitFor();
  assert.match(await page.locator(".item.tool .output").innerText(), /added 214 packages/);
  await page.context().close();
});

test("a message is sent, and a running turn is stopped", async () => {
  const task = await world.send("quick one");
  await world.ended(task);
  const page = await open(task);
  await page.getByRole("textbox", { name: "Message to claude" }).fill("hang");
  await page.keyboard.press("Enter");
  await page.getByText("I am looking at the logs").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(".item.end").getByText("canceled").waitFor();
  await page.context().close();
});

test("a link leads to its event, and the raw event is shown beside it", async () => {
  const task = await world.send("many 300");
  await world.ended(task);
  const page = await world.page({ at: `session/${task.contextId}/${task.id}/40` });
  await page.locator(".item.marked").waitFor();
  const seq = Number(await page.locator(".item.marked").getAttribute("data-seq"));
  assert.ok(seq > 30 && seq <= 40, `event ${seq}`);
  await page.locator(".item.marked").getByRole("button", { name: "Raw event" }).click();
  await page.locator(".item.marked .raw").getByText("tool-call").waitFor();
  await page.getByRole("button", { name: "To the newest" }).click();
  await page.getByText("300 steps.").waitFor();
  await page.context().close();
});

test("older events come when one scrolls up, and the reader stays in place", async () => {
  const task = await world.send("many 200");
  await world.ended(task);
  const page = await open(task);
  await page.getByText("200 steps.").waitFor();
  const seen = await until(async () => {
    await page.locator(".virtual").evaluate((list) => (list.scrollTop = 0));
    return (await page.locator(".item.prompt").count()) > 0;
  }, "the prompt is reached");
  assert.ok(seen);
  await page.context().close();
});

test("a review is collected on lines and reaches the agent as one message, without a mouse", async () => {
  const task = await world.send("work");
  await world.ended(task);
  const session = await until(async () => (await world.api("/api/v1/sessions?pageSize=100")).sessions.find((one) => one.contextId === task.contextId));
  const page = await world.page({ at: `review/claude/${session.id}` });
  await page.getByRole("button", { name: "Comment on line 2" }).focus();
  await page.keyboard.press("Enter");
  await page.locator("textarea:focus").waitFor();
  await page.keyboard.type("Why not checked?");
  await page.keyboard.press("Enter");
  await page.locator(".comment").getByText("Why not checked?").waitFor();
  await page.getByRole("button", { name: "Send review" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("The agent has your review.").waitFor();
  const newest = await until(async () => (await world.api(`/tasks?contextId=${task.contextId}`)).tasks.find((one) => one.id !== task.id));
  assert.match(JSON.stringify((await world.api(`/tasks/${newest.id}`)).history), /Why not checked\?/);
  await page.context().close();
});

test("a large output comes cut, and whole when it is asked for", async () => {
  const task = await world.send("large");
  await world.ended(task);
  const page = await open(task);
  const tool = page.locator(".item.tool");
  await tool.getByRole("button", { name: "Read all of it" }).click();
  await tool.getByRole("button", { name: "All 701 lines" }).click();
  assert.match(await tool.locator(".output").innerText(), /the last line$/);
  await page.context().close();
});

test("a turn is saved as one page without scripts, and as JSON lines", async () => {
  const task = await world.send("hostile");
  await world.ended(task);
  const page = await open(task);
  const save = async (name) => {
    await page.getByText("Export").click();
    const saved = page.waitForEvent("download");
    await page.getByRole("button", { name }).click();
    return readFileSync(await (await saved).path(), "utf8");
  };
  const html = await save("Page");
  const alone = await world.browser.newPage();
  await alone.setContent(html);
  assert.match(await alone.innerText("body"), /<script>window\.hacked=1<\/script>/);
  assert.equal(await alone.locator(":is(script, img, iframe, svg, [onclick], [onerror], [onload])").count(), 0);
  await alone.close();
  await page.getByText("Export").click();
  const lines = (await save("JSON lines")).trim().split("\n");
  assert.ok(lines.length > 5 && lines.every((line) => JSON.parse(line)), lines[0]);
  await page.context().close();
});

test("a session of another agent than the server's own is answered, reviewed and removed", async () => {
  const two = await World.start({ agents: { claude: AGENT, other: AGENT } });
  try {
    const task = await two.send("edit", undefined, "other");
    const ask = await two.asked(task);
    const page = await two.page({ at: `session/${task.contextId}` });
    await card(page, ask).getByRole("button", { name: "Allow once" }).click();
    await page.locator(".item.end").waitFor();
    await page.getByRole("link", { name: "Review" }).click();
    await page.getByText("Nothing has changed.").waitFor();
    await page.keyboard.press("2");
    await page.getByRole("button", { name: "Peek" }).click();
    await page.getByRole("button", { name: "Remove\u2026" }).click();
    await page.getByRole("button", { name: "Remove it and its folder" }).click();
    await page.getByText("No sessions yet.").waitFor();
  } finally {
    await two.stop();
  }
});
