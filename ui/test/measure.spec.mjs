// Figures: a long transcript and many sessions. They are printed, and hold bounds with room for a slow machine.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { FAKE_AGENT, until, World } from "./world.mjs";

let world;
before(async () => (world = await World.start()));
after(() => world.stop());

/** Tasks of the main thread above 50 ms since the page was watched. */
const watch = (page) => page.evaluate(() => {
  window.slow = [];
  new PerformanceObserver((list) => window.slow.push(...list.getEntries().map((entry) => Math.round(entry.duration)))).observe({ type: "longtask" });
});

test("10,000 events open to the last screen, and scroll without the page standing still", async (context) => {
  const task = await world.send("many 5000");
  await world.ended(task);
  const page = await world.page({ at: "sessions" });
  await page.locator(".entry").first().waitFor();
  let bytes = 0;
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  session.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  await watch(page);
  const took = await page.evaluate(async (address) => {
    const began = performance.now();
    location.hash = address;
    while (!document.querySelector(".item.end")) await new Promise(requestAnimationFrame);
    return performance.now() - began;
  }, `#/session/${task.contextId}`);
  // What is read beside it (the list of turns) counts as well.
  await page.getByText("5000 steps.").waitFor();
  const opened = bytes;
  await page.evaluate(async () => {
    const list = document.querySelector(".virtual");
    for (let i = 0; i < 200; i++) {
      list.scrollTop -= 300;
      await new Promise(requestAnimationFrame);
    }
  });
  const rows = await page.locator(".placed").count();
  const slow = await page.evaluate(() => window.slow);
  context.diagnostic(`10,000 events: last screen after ${Math.round(took)} ms and ${Math.round(opened / 1024)} KiB; ${Math.round((bytes - opened) / 1024)} KiB for 60,000 pixels of scrolling, ${rows} rows in the page; tasks of the main thread above 50 ms: ${slow.length === 0 ? "none" : slow.join(", ")}`);
  assert.ok(opened < 100 * 1024, `${opened} bytes`);
  assert.ok(took < 3000, `${took} ms`);
  assert.ok(rows < 120, `${rows} rows`);
  await page.context().close();
});

test("500 sessions stand in the list, and little is sent where few change", async (context) => {
  // A program of its own for each turn, which starts fast.
  const many = await World.start({ agent: "fake", agents: { fake: { driver: "command", program: FAKE_AGENT, args: ["--events"], format: "events" } } });
  try {
    const tasks = [];
    for (let i = 0; i < 500; i++) tasks.push(await many.send(`say session ${i}`, undefined, "fake"));
    for (const task of tasks) await many.ended(task);
    const page = await many.page({ at: "sessions" });
    const began = Date.now();
    await page.locator(".entry").nth(50).waitFor();
    const shown = Date.now() - began;
    await page.locator(".group > h2 .quiet").getByText("500", { exact: true }).waitFor();
    let bytes = 0;
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    session.on("Network.dataReceived", ({ dataLength }) => (bytes += dataLength));
    const from = Date.now();
    // Ten sessions have a turn each; the stream may gather what changes, so it is watched for five seconds.
    for (let i = 0; i < 10; i++) await many.ended(await many.send(`say ${i}`, tasks[i].contextId, "fake"));
    await until(() => Date.now() - from > 5_000);
    const rate = bytes / 1024 / ((Date.now() - from) / 1000);
    context.diagnostic(`500 sessions: list after ${shown} ms; ${rate.toFixed(1)} KiB/s while ten of them had a turn`);
    assert.ok(rate < 6, `${rate} KiB/s`);
  } finally {
    await many.stop();
  }
});
