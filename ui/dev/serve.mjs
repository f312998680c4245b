// Serves `dist` as the server does and passes everything else on to a server: the page is tried without building the program anew.
import { readFileSync } from "node:fs";
import { createServer, request } from "node:http";
import { extname } from "node:path";

const dist = new URL("../dist/", import.meta.url);
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json" };
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

function pass(incoming, out, server) {
  const headers = { ...incoming.headers, host: server.host };
  delete headers.origin;
  const call = request(new URL(incoming.url, server), { method: incoming.method, headers }, (reply) => {
    out.writeHead(reply.statusCode, reply.headers);
    reply.on("error", () => out.destroy());
    reply.pipe(out);
  });
  call.on("error", () => out.destroy());
  out.on("close", () => call.destroy());
  incoming.pipe(call);
}

/** Listens on loopback until it is closed. */
export function serve(server, port = 0) {
  const page = createServer((incoming, out) => {
    const { pathname } = new URL(incoming.url, "http://localhost");
    if (!pathname.startsWith("/ui/")) return pass(incoming, out, new URL(server));
    const name = pathname.slice(4) || "index.html";
    try {
      const file = readFileSync(new URL(name, dist));
      out.writeHead(200, { "Content-Type": TYPES[extname(name)] ?? "text/plain", "Content-Security-Policy": POLICY }).end(file);
    } catch {
      out.writeHead(404).end();
    }
  });
  return new Promise((resolve) => page.listen(port, "127.0.0.1", () => resolve(page)));
}
