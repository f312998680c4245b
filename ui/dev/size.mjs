// Says what a first visit loads, compressed, and fails above the bound.
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

const BOUND = 150 * 1024;
const dist = new URL("../dist/", import.meta.url);
const page = readFileSync(new URL("index.html", dist), "utf8");
const first = readdirSync(new URL("assets/", dist)).filter((name) => page.includes(name));
const sizes = [page, ...first.map((name) => readFileSync(new URL(`assets/${name}`, dist)))].map((file) => gzipSync(file, { level: 9 }).length);
const sum = sizes.reduce((all, one) => all + one, 0);
console.log(`first load: ${(sum / 1024).toFixed(1)} KiB compressed in ${sizes.length} files (at most ${BOUND / 1024})`);
if (sum > BOUND) process.exit(1);
