// For work on the page alone: serves `dist` and stands in for calls that the server at PILOTHOUSE_URL does not have.
import { createServer, request } from "node:http";
import { readFileSync } from "node:fs";
import { extname } from "node:path";

const server = new URL(process.env.PILOTHOUSE_URL ?? "http://127.0.0.1:2222");
const dist = new URL("../dist/", import.meta.url);
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json" };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

const ask = (path, headers) => fetch(new URL(path, server), { headers: { Authorization: headers.authorization ?? "" } });

async function events(task, headers) {
  const found = [];
  const stop = new AbortController();
  const idle = setTimeout(() => stop.abort(), 400);
  try {
    const stream = await fetch(new URL(`/tasks/${task}:subscribe`, server), { headers: { Authorization: headers.authorization, "Last-Event-ID": "1" }, signal: stop.signal });
    let text = "";
    for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      idle.refresh();
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const id = /^id: (\d+)/m.exec(block)?.[1];
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (data) found.push({ seq: Number(id ?? 1), event: JSON.parse(data) });
      }
    }
  } catch {
    // Silence: all of it is there.
  }
  clearTimeout(idle);
  return found;
}

async function live(body, headers, out) {
  out.writeHead(200, { "Content-Type": "text/event-stream" });
  const known = new Map();
  const after = new Map(body.tasks.map(({ id, after }) => [id, after]));
  const emit = (name, data) => out.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  emit("reset", {});
  let isFirst = true;
  while (!out.destroyed) {
    const { asks = [] } = await (await ask("/api/v1/asks?pageSize=100", headers)).json();
    const { sessions = [] } = await (await ask("/api/v1/sessions?pageSize=100", headers)).json();
    for (const [name, rows, key] of [["asks", asks, "askId"], ["sessions", sessions, "id"]]) {
      const fresh = rows.filter((row) => known.get(row[key]) !== JSON.stringify(row));
      const ids = new Set(rows.map((row) => row[key]));
      const gone = [...known.keys()].filter((id) => known.get(id).includes(`"${key}":"${id}"`) && !ids.has(id));
      for (const row of fresh) known.set(row[key], JSON.stringify(row));
      for (const id of gone) known.delete(id);
      if (fresh.length > 0 || gone.length > 0) emit(name, { rows: fresh, gone });
    }
    for (const [task, seen] of after) {
      for (const one of (await events(task, headers)).filter(({ seq }) => seq > seen)) {
        emit("task", { task, ...one });
        after.set(task, one.seq);
      }
    }
    if (isFirst) emit("full", {});
    isFirst = false;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function page(url, headers, out) {
  const [, task, seq] = /^\/api\/v1\/tasks\/([^/]+)\/events(?:\/(\d+))?$/.exec(url.pathname);
  const all = await events(task, headers);
  const query = url.searchParams;
  const limit = Number(query.get("limit") ?? 80);
  let found = all.filter((one) => one.seq > Number(query.get("after") ?? 0) && one.seq < Number(query.get("before") ?? Infinity));
  found = query.has("tail") || query.has("before") ? found.slice(-limit) : found.slice(0, limit);
  const body = seq ? all.find((one) => one.seq === Number(seq)) : { events: found, first: all[0]?.seq ?? 1, last: all.at(-1)?.seq ?? 1, total: all.length };
  out.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
}

function pass(incoming, out) {
  const headers = { ...incoming.headers, host: server.host };
  delete headers.origin;
  incoming.pipe(request(new URL(incoming.url, server), { method: incoming.method, headers }, (reply) => {
    out.writeHead(reply.statusCode, reply.headers);
    reply.pipe(out);
  }).on("error", () => out.destroy()));
}

createServer(async (incoming, out) => {
  const url = new URL(incoming.url, "http://localhost");
  if (url.pathname.startsWith("/ui/")) {
    const name = url.pathname.slice(4) || "index.html";
    try {
      out.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "text/plain", "Content-Security-Policy": CSP }).end(readFileSync(new URL(name, dist)));
    } catch {
      out.writeHead(404).end();
    }
  } else if (url.pathname === "/api/v1/live") {
    let text = "";
    for await (const piece of incoming) text += piece;
    if ((await ask("/api/v1/sessions?pageSize=1", incoming.headers)).status === 401) return out.writeHead(401).end("{}");
    live(JSON.parse(text), incoming.headers, out).catch(() => out.destroy());
  } else if (/^\/api\/v1\/tasks\/[^/]+\/events/.test(url.pathname)) {
    await page(url, incoming.headers, out);
  } else pass(incoming, out);
}).listen(Number(process.env.PORT ?? 2400), "127.0.0.1");
