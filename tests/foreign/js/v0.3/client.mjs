// The A2A client of @a2a-js/sdk 0.3.x: `client.mjs BINDING URL TOKEN`.
//
// Does what a user of that library does, and prints one JSON line for each fact it saw. A line
// `{"cue": NAME}` asks whoever started us to let the agent go on.

import { randomUUID } from "node:crypto";
import { setTimeout as later } from "node:timers/promises";
import {
  ClientFactory,
  DefaultAgentCardResolver,
  JsonRpcTransportFactory,
  RestTransportFactory,
} from "@a2a-js/sdk/client";
import { GrpcTransportFactory } from "@a2a-js/sdk/client/grpc";

const [BINDING, URL, TOKEN] = process.argv.slice(2);
const PATIENCE = 20_000;

const tell = (line) => console.log(JSON.stringify(line));

const signed = {
  async before(call) {
    call.options = {
      ...call.options,
      serviceParameters: { ...call.options?.serviceParameters, Authorization: `Bearer ${TOKEN}` },
    };
  },
  async after() {},
};

const request = (text) => ({
  message: { kind: "message", messageId: randomUUID(), role: "user", parts: [{ kind: "text", text }] },
});

const textOf = (parts) => parts.map((part) => (part.kind === "text" ? part.text : "")).join("");

const answer = (task) =>
  (task.artifacts ?? [])
    .filter((artifact) => artifact.name === "answer")
    .map((artifact) => textOf(artifact.parts))
    .join("");

// Short words for an event, and the text that it adds to the answer, or that takes its place.
function seen(event) {
  switch (event.kind) {
    case "task":
      return [`task ${event.status.state}`, answer(event)];
    case "status-update":
      return [`status ${event.status.state}`, ""];
    case "artifact-update":
      return [event.append ? "artifact" : "artifact anew", textOf(event.artifact.parts)];
    default:
      throw new Error(`an event of another kind: ${event.kind}`);
  }
}

// One alone: a factory that knows more falls back to another binding in silence.
const transport = {
  JSONRPC: JsonRpcTransportFactory,
  "HTTP+JSON": RestTransportFactory,
  GRPC: GrpcTransportFactory,
}[BINDING];

function client(card, polling) {
  const clientConfig = { interceptors: [signed], polling };
  return new ClientFactory({ transports: [new transport()], clientConfig }).createFromAgentCard(card);
}

const card = await new DefaultAgentCardResolver().resolve(URL);
const faces = [{ transport: card.preferredTransport ?? "JSONRPC", url: card.url }, ...(card.additionalInterfaces ?? [])];
tell({
  fact: "card",
  name: card.name,
  streaming: card.capabilities.streaming,
  urls: faces.filter((face) => face.transport === BINDING).map((face) => face.url),
});
const waiting = await client(card, false);
const polling = await client(card, true);
let finished;

// In the order in which they build on each other.
const facts = {
  async send() {
    const task = await waiting.sendMessage(request("say: good morning"));
    finished = task.id;
    return { task: task.id, state: task.status.state, answer: answer(task) };
  },

  async stream() {
    const events = [];
    let text = "";
    let cued = false;
    for await (const event of waiting.sendMessageStream(request("say: one; cue next; say: two"))) {
      const [words, more] = seen(event);
      events.push(words);
      text = words === "artifact" ? text + more : more || text;
      if (text && !cued) {
        cued = true;
        tell({ cue: "next" });
      }
    }
    return { events, answer: text };
  },

  async subscribe() {
    let id;
    for await (const event of waiting.sendMessageStream(request("say: before; cue go; say: after"))) {
      id ??= event.id;
      if (seen(event)[1]) break;
    }
    const events = [];
    let text = "";
    for await (const event of waiting.resubscribeTask({ id })) {
      const [words, more] = seen(event);
      if (events.length === 0) tell({ cue: "go" });
      events.push(words);
      text = words === "artifact" ? text + more : more || text;
    }
    return { events, answer: text };
  },

  async cancel() {
    const task = await polling.sendMessage(request("hang"));
    const canceled = await polling.cancelTask({ id: task.id });
    return { before: task.status.state, state: canceled.status.state };
  },

  async get() {
    const task = await waiting.getTask({ id: finished });
    return { task: task.id, state: task.status.state, answer: answer(task) };
  },

  async push() {
    const pushNotificationConfig = { id: "hook", url: "http://127.0.0.1:9/a2a", token: "t" };
    const made = await waiting.setTaskPushNotificationConfig({ taskId: finished, pushNotificationConfig });
    const wanted = { id: finished, pushNotificationConfigId: made.pushNotificationConfig.id };
    const read = await waiting.getTaskPushNotificationConfig(wanted);
    await waiting.deleteTaskPushNotificationConfig(wanted);
    return { id: read.pushNotificationConfig.id, task: read.taskId, url: read.pushNotificationConfig.url };
  },

  async unknown() {
    try {
      await waiting.getTask({ id: randomUUID() });
    } catch (error) {
      return { error: error.constructor.name };
    }
    return { error: null };
  },
};

let failed = false;
for (const [fact, look] of Object.entries(facts)) {
  try {
    const limit = later(PATIENCE, null, { ref: false }).then(() => Promise.reject(new Error("waited too long")));
    tell({ fact, ...(await Promise.race([look(), limit])) });
  } catch (error) {
    failed = true;
    tell({ fact, failed: `${error.name}: ${error.message}` });
  }
}
process.exit(failed ? 1 : 0);
