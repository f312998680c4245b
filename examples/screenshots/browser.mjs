#!/usr/bin/env node
// Starts the browser's MCP server: pictures go to `shots`, the network goes through the session's proxy.
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const launchOptions = {
  headless: true,
  executablePath: "/usr/lib/chromium/chromium",
  // Its own sandbox needs namespaces, which are denied inside. The sandbox is around the browser too.
  chromiumSandbox: false,
  args: ["--disable-dev-shm-usage"],
};
if (process.env.HTTPS_PROXY) {
  const { host, username, password } = new URL(process.env.HTTPS_PROXY);
  launchOptions.proxy = { server: `http://${host}`, username, password };
}
const config = join(mkdtempSync(join(tmpdir(), "browser-")), "config.json");
writeFileSync(config, JSON.stringify({
  browser: { browserName: "chromium", isolated: true, launchOptions },
  outputDir: resolve("shots"),
}));
const server = spawn("playwright-mcp", ["--config", config], { stdio: "inherit" });
server.on("exit", (code) => process.exit(code ?? 1));
