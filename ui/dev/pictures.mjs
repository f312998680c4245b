// Pictures of the pages, from a server with the scripted agent. Usage: node dev/pictures.mjs FOLDER
// PICTURES_WORKSPACE=DIR: where the sessions of the pictures work.
import { mkdirSync } from "node:fs";
import { World } from "../test/world.mjs";

const folder = process.argv[2] ?? "pictures";
mkdirSync(folder, { recursive: true });
const world = await World.start(process.env.PICTURES_WORKSPACE ? { workspace: { path: process.env.PICTURES_WORKSPACE } } : {});
try {
  const work = await world.send("Fix the total of the cart: it ignores how many of an item there are");
  await world.ended(work);
  for (const text of ["Explain how the checkout rounds prices", "List the endpoints that need no token"]) await world.ended(await world.send(text));
  await world.ended(await world.send("Deploy the shop to staging"));
  const asks = [];
  for (const text of ["Correct the total in src/cart.rs", "Install what the shop needs", "Choose a database for the tests"]) asks.push(await world.ask(text));
  await world.send("Watch the log of the shop and tell me about errors");
  const { sessions } = await world.api("/api/v1/sessions?pageSize=100");
  const places = { inbox: "inbox", sessions: "sessions", session: `session/${work.contextId}`, review: `review/claude/${sessions.find(({ contextId }) => contextId === work.contextId).id}`, agents: "agents", usage: "usage", system: "system" };
  for (const [name, options] of [["light", {}], ["dark", { colorScheme: "dark" }], ["phone", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }]]) {
    const page = await world.page(options);
    await page.locator(".link.live").waitFor();
    for (const [at, path] of Object.entries(places)) {
      await page.goto(`${world.ui}/ui/#/${path}`);
      await page.locator({ inbox: "[data-ask]", sessions: ".entry", session: ".item.end", review: ".file", agents: ".skills li", usage: ".card", system: ".card" }[at]).first().waitFor();
      await page.screenshot({ path: `${folder}/${at}-${name}.png` });
    }
    await page.context().close();
  }
} finally {
  await world.stop();
}
