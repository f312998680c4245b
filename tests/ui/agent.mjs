#!/usr/bin/env node
// An agent that speaks as Claude Code does (`stream-json`) and plays a scene for each prompt: its first word.
import { createInterface } from "node:readline";
import { mkdirSync, writeFileSync } from "node:fs";

const write = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const model = "scripted-1";
let calls = 0;
let requests = 0;
const waiting = new Map();
const prompts = [];
let wake = () => {};
let interrupt = () => {};

const assistant = (...content) =>
  write({ type: "assistant", message: { id: `m${++calls}`, role: "assistant", model, content } });
const say = (text) => assistant({ type: "text", text });
const think = (thinking) => assistant({ type: "thinking", thinking });
const use = (name, input) => {
  const id = `call-${++calls}`;
  assistant({ type: "tool_use", id, name, input });
  return id;
};
const result = (id, content, is_error = false) =>
  write({ type: "user", message: { role: "user", content: [{ type: "tool_result", tool_use_id: id, content, is_error }] } });
const end = (text) =>
  write({
    type: "result", subtype: "success", is_error: false, result: text, total_cost_usd: 0.042,
    usage: { input_tokens: 1200, output_tokens: 340, cache_read_input_tokens: 8000, cache_creation_input_tokens: 0 },
  });

/** Asks whether a tool may run; resolves with the verdict. */
const ask = (tool_name, input, tool_use_id) =>
  new Promise((resolve) => {
    const request_id = `r${++requests}`;
    waiting.set(request_id, resolve);
    write({ type: "control_request", request_id, request: { subtype: "can_use_tool", tool_name, input, tool_use_id } });
  });

/** Calls a tool after it was asked for. */
async function called(name, input, output) {
  const id = use(name, input);
  const verdict = await ask(name, input, id);
  if (verdict?.behavior !== "allow") {
    result(id, verdict?.message ?? "refused", true);
    return false;
  }
  result(id, output);
  return true;
}

const BEFORE = "pub fn total(items: &[Item]) -> u64 {\n    let mut sum = 0;\n    for item in items {\n        sum += item.price;\n    }\n    sum\n}\n";
const AFTER = "pub fn total(items: &[Item]) -> u64 {\n    items.iter().map(|item| item.price * item.count).sum()\n}\n";
const PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FABJADveWkH6oAAAAAElFTkSuQmCC";
const bidi = "\u202etxt.exe\u202c";

const scenes = {
  async bash() {
    say("I will install the dependencies first.");
    const isDone = await called("Bash", { command: "npm install --no-audit", description: "Install the dependencies" }, "added 214 packages in 6s");
    end(isDone ? "Dependencies are installed." : "I left the dependencies alone.");
  },
  async padded() {
    await called("Bash", { command: `ls${"\n".repeat(41)}; touch below${" ".repeat(300)}; touch beside` }, "");
    end("Listed.");
  },
  async edit() {
    say("The total ignores how many of an item there are.");
    const isDone = await called("Edit", { file_path: "src/cart.rs", old_string: BEFORE, new_string: AFTER }, "The file src/cart.rs has been updated.");
    end(isDone ? "`total` multiplies by the count now." : "I left `total` as it is.");
  },
  async question() {
    const questions = [{
      question: "Which database should the tests use?", header: "Database", multiSelect: false,
      options: [{ label: "SQLite", description: "No server, one file" }, { label: "PostgreSQL", description: "As in production" }],
    }];
    const id = use("AskUserQuestion", { questions });
    const verdict = await ask("AskUserQuestion", { questions }, id);
    end(`Answer: ${JSON.stringify(verdict?.updatedInput?.answers ?? verdict?.message ?? null)}`);
  },
  async work() {
    think("The cart test fails because the price is taken once. I should look at the code, then change it and run the tests.");
    say("## Plan\n\nThe total ignores how many of an item there are. I will:\n\n1. read `src/cart.rs`\n2. fix `total`\n3. run the tests\n");
    const read = use("Read", { file_path: "src/cart.rs" });
    result(read, BEFORE);
    mkdirSync("src", { recursive: true });
    writeFileSync("src/cart.rs", AFTER);
    const edit = use("Edit", { file_path: "src/cart.rs", old_string: BEFORE, new_string: AFTER });
    result(edit, "The file src/cart.rs has been updated.");
    const grep = use("Grep", { pattern: "total\\(", path: "src" });
    result(grep, "src/cart.rs:1:pub fn total(items: &[Item]) -> u64 {\nsrc/checkout.rs:18:    let due = total(&cart.items);");
    const run = use("Bash", { command: "cargo test -p shop", description: "Run the tests" });
    result(run, "   Compiling shop v0.1.0\n    Finished `test` profile in 1.92s\n\u001b[32mrunning 3 tests\u001b[0m\ntest cart::counts ... \u001b[32mok\u001b[0m\ntest cart::empty ... \u001b[32mok\u001b[0m\ntest cart::many ... \u001b[32mok\u001b[0m\n\ntest result: ok. 3 passed; 0 failed");
    say("All three tests pass. The change:\n\n```rust\n" + AFTER + "```\n\n| case | before | now |\n|---|---|---|\n| one item | 5 | 5 |\n| three of it | 5 | 15 |\n");
    end("`total` counts how many of an item there are. Three tests pass.");
  },
  async hostile() {
    say("<script>window.hacked=1</script><img src=x onerror=\"window.hacked=1\"><iframe src=\"https://example.com\"></iframe>\n\n[click](javascript:window.hacked=1) ![pixel](https://example.com/p.png) <a href=\"https://example.com\" onclick=\"window.hacked=1\">link</a>");
    say(`File: ${bidi} and \u2067right to left\u2069\n\n**broken *markdown [a](b\n\n\`\`\`html\n<b onclick="window.hacked=1">never closed\n`);
    const id = use("Bash", { command: `printf '<img src=x onerror=window.hacked=1>' # ${bidi}`, description: "<b>bold</b>" });
    result(id, "\u001b]0;title\u0007\u001b[31mred\u001b[0m\u001b[2J\u001b[5;5H <script>window.hacked=1</script>\r\noverwritten\rnew");
    end("<style>body{display:none}</style><svg onload=window.hacked=1>done</svg>");
  },
  async picture() {
    const id = use("Read", { file_path: "chart.png" });
    result(id, [{ type: "image", source: { type: "base64", media_type: "image/png", data: PICTURE } }]);
    end("A chart.");
  },
  async large() {
    const id = use("Bash", { command: "cat large.log" });
    result(id, `${"a line of a log\n".repeat(700)}the last line`);
    end("A long log.");
  },
  async fail() {
    say("I tried.");
    write({ type: "result", subtype: "error_during_execution", is_error: true, errors: ["the model refused the request"] });
  },
  async many(text) {
    const count = Number(text.split(/\s+/)[1] ?? 100);
    for (let i = 1; i <= count; i++) {
      const id = use("Bash", { command: `echo step ${i}` });
      result(id, `step ${i} of ${count}\n` + "line of output ".repeat(20));
      if (i % 50 === 0) await new Promise(setImmediate);
    }
    end(`${count} steps.`);
  },
  async stream(text) {
    const count = Number(text.split(/\s+/)[1] ?? 40);
    for (let i = 1; i <= count; i++) {
      write({ type: "stream_event", event: { type: "content_block_delta", delta: { type: "text_delta", text: `word${i} ` } } });
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    end("");
  },
  async hang() {
    say("I am looking at the logs of the last deployment.");
    use("Bash", { command: "journalctl -f -u shop", description: "Follow the log" });
    await new Promise(() => {});
  },
  async quick(text) {
    say(`Done: ${text}`);
    end(`Done: ${text}`);
  },
};

/** Words of a person that begin a scene, for pictures. */
const WORDS = { install: "bash", correct: "edit", choose: "question", fix: "work", watch: "hang", deploy: "fail" };

function hear(line) {
  const message = JSON.parse(line);
  if (message.type === "control_request") {
    const { request_id } = message;
    write({ type: "control_response", response: { subtype: "success", request_id, response: {} } });
    if (message.request?.subtype === "interrupt") {
      write({ type: "result", subtype: "error_during_execution", is_error: false });
      interrupt();
    }
  } else if (message.type === "control_response") {
    const { request_id, response } = message.response ?? {};
    waiting.get(request_id)?.(response);
    waiting.delete(request_id);
  } else if (message.type === "user") {
    const content = message.message?.content;
    prompts.push(typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join(" "));
    wake();
  }
}

createInterface({ input: process.stdin }).on("line", hear).on("close", () => process.exit(0));

for (;;) {
  while (prompts.length === 0) await new Promise((resolve) => (wake = resolve));
  const text = prompts.shift().trim();
  write({ type: "system", subtype: "init", session_id: "11111111-1111-4111-8111-111111111111", model });
  const word = /[a-z]+/.exec(text.toLowerCase())?.[0] ?? "";
  const scene = scenes[WORDS[word] ?? word] ?? scenes.quick;
  await Promise.race([scene(text), new Promise((resolve) => (interrupt = resolve))]);
}
