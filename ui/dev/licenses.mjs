// Writes LICENSES.md: what is in the built page, and under which licence, from the lock file.
import { readFileSync, writeFileSync } from "node:fs";

const read = (name) => JSON.parse(readFileSync(new URL(`../${name}`, import.meta.url), "utf8"));
const { packages } = read("package-lock.json");
const rows = Object.entries(packages).filter(([path, found]) => path !== "" && !found.dev && !found.devOptional && !found.peer).map(([path, { version, license }]) => {
  const name = path.replace(/^.*node_modules\//, "");
  return `| ${name} | ${version} | ${license ?? "see its package"} |`;
});
const text = `# What the page holds of others\n\nMade by \`node dev/licenses.mjs\` from the lock file. Tools that only build or test are not listed: nothing of them is in the page.\n\n| package | version | licence |\n|---|---|---|\n${rows.join("\n")}\n`;
if (process.argv.includes("--check")) {
  if (readFileSync(new URL("../LICENSES.md", import.meta.url), "utf8") !== text) throw new Error("LICENSES.md is not what the lock file says; run `node dev/licenses.mjs`");
} else writeFileSync(new URL("../LICENSES.md", import.meta.url), text);
