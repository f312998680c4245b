// The A2A client of @a2a-js/sdk 1.x: `client.mjs BINDING URL TOKEN`.
//
// Does what a user of that library does, and prints one JSON line for each fact it saw. A line
// `{"cue": NAME}` asks whoever started us to let the agent go on.

import { randomUUID } from "node:crypto";
import { setTimeout as later } from "node:timers/promises";
import { Role, taskStateToJSON } from "@a2a-js/sdk";
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

function request(text) {
  const part = { content: { $case: "text", value: text }, metadata: undefined, filename: "", mediaType: "" };
  const message = {
    messageId: randomUUID(),
    contextId: "",
    taskId: "",
    role: Role.ROLE_USER,
    parts: [part],
    metadata: undefined,
    extensions: [],
    referenceTaskIds: [],
  };
  return { tenant: "", message, configuration: undefined, metadata: undefined };
}

const state = (status) => taskStateToJSON(status.state).replace("TASK_STATE_", "").toLowerCase();

const textOf = (parts) =>
  parts.map((part) => (part.content?.$case === "text" ? part.content.value : "")).join("");

const answer = (task) =>
  task.artifacts
    .filter((artifact) => artifact.name === "answer")
    .map((artifact) => textOf(artifact.parts))
    .join("");

// Short words for an event, and the text that it adds to the answer, or that takes its place.
function seen({ payload }) {
  switch (payload.$case) {
    case "task":
      return [`task ${state(payload.value.status)}`, answer(payload.value)];
    case "statusUpdate":
      return [`status ${state(payload.value.status)}`, ""];
    case "artifactUpdate":
      return [payload.value.append ? "artifact" : "artifact anew", textOf(payload.value.artifact.parts)];
    default:
      throw new Error(`an event of another kind: ${payload.$case}`);
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
const offered = card.supportedInterfaces.filter((face) => face.protocolBinding === BINDING);
tell({
  fact: "card",
  name: card.name,
  streaming: card.capabilities.streaming,
  urls: offered.map((face) => face.url),
});
const waiting = await client(card, false);
const polling = await client(card, true);
let finished;

// In the order in which they build on each other.
const facts = {
  async send() {
    const task = await waiting.sendMessage(request("say: good morning"));
    finished = task.id;
    return { task: task.id, state: state(task.status), answer: answer(task) };
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
      id ??= event.payload.value.id;
      if (seen(event)[1]) break;
    }
    const events = [];
    let text = "";
    for await (const event of waiting.resubscribeTask({ tenant: "", id })) {
      const [words, more] = seen(event);
      if (events.length === 0) tell({ cue: "go" });
      events.push(words);
      text = words === "artifact" ? text + more : more || text;
    }
    return { events, answer: text };
  },

  async cancel() {
    const task = await polling.sendMessage(request("hang"));
    const canceled = await polling.cancelTask({ tenant: "", id: task.id, metadata: undefined });
    return { before: state(task.status), state: state(canceled.status) };
  },

  async get() {
    const task = await waiting.getTask({ tenant: "", id: finished });
    return { task: task.id, state: state(task.status), answer: answer(task) };
  },

  async list() {
    const { tasks } = await waiting.listTasks({ tenant: "", contextId: "", status: 0, pageSize: 50, pageToken: "" });
    return { tasks: tasks.map((task) => task.id) };
  },

  async push() {
    const config = {
      tenant: "",
      id: "hook",
      taskId: finished,
      url: "http://127.0.0.1:9/a2a",
      token: "t",
      authentication: undefined,
    };
    const made = await waiting.createTaskPushNotificationConfig(config);
    const wanted = { tenant: "", taskId: finished, id: made.id };
    const read = await waiting.getTaskPushNotificationConfig(wanted);
    await waiting.deleteTaskPushNotificationConfig(wanted);
    return { id: read.id, task: read.taskId, url: read.url };
  },

  async unknown() {
    try {
      await waiting.getTask({ tenant: "", id: randomUUID() });
    } catch (error) {
      return { error: error.name };
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
