// Made for `/ui/` of the server; for work on the page, calls go to a server on loopback.
import { defineConfig } from "vite";

const server = process.env.PILOTHOUSE_URL ?? "http://127.0.0.1:2222";
const doors = Object.fromEntries(["/api", "/agents", "/ready", "/.well-known"].map((path) => [path, server]));

export default defineConfig({
  base: "/ui/",
  build: { target: "es2022", modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
  server: { host: "127.0.0.1", proxy: doors },
});
