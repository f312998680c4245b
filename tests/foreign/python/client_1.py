"""The A2A client of a2a-sdk 1.x: `client_1.py BINDING URL TOKEN`.

Does what a user of that library does, and prints one JSON line for each fact it saw. A line
`{"cue": NAME}` asks whoever started us to let the agent go on.
"""

import asyncio
import json
import sys
import uuid

import grpc
import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.auth import AuthInterceptor, CredentialService
from a2a.types import a2a_pb2 as pb

BINDING, URL, TOKEN = sys.argv[1:4]
PATIENCE = 20


class Token(CredentialService):
    """One token for every scheme that a card may name."""

    async def get_credentials(self, security_scheme_name, context):
        return TOKEN


def tell(**line):
    print(json.dumps(line), flush=True)


def request(text, wait=True):
    message = pb.Message(message_id=str(uuid.uuid4()), role=pb.ROLE_USER, parts=[pb.Part(text=text)])
    configuration = pb.SendMessageConfiguration(return_immediately=not wait)
    return pb.SendMessageRequest(message=message, configuration=configuration)


def state(status):
    return pb.TaskState.Name(status.state).removeprefix("TASK_STATE_").lower()


def text_of(parts):
    return "".join(part.text for part in parts)


def answer(task):
    return "".join(text_of(artifact.parts) for artifact in task.artifacts if artifact.name == "answer")


def seen(event):
    """Short words for an event, and the text that it adds to the answer, or that takes its place."""
    kind = event.WhichOneof("payload")
    if kind == "task":
        return f"task {state(event.task.status)}", answer(event.task)
    if kind == "status_update":
        return f"status {state(event.status_update.status)}", ""
    update = event.artifact_update
    return "artifact" if update.append else "artifact anew", text_of(update.artifact.parts)


class Run:
    """One client, and the facts in the order in which they build on each other."""

    def __init__(self, http, card):
        self.card = card
        self.streaming = self.client(http, True)
        self.plain = self.client(http, False)
        self.finished = None

    def client(self, http, streaming):
        config = ClientConfig(
            streaming=streaming,
            httpx_client=http,
            grpc_channel_factory=grpc.aio.insecure_channel,
            supported_protocol_bindings=[BINDING],
        )
        return ClientFactory(config).create(self.card, [AuthInterceptor(Token())])

    async def task(self, text, wait=True):
        async for event in self.plain.send_message(request(text, wait)):
            return event.task

    async def send(self):
        task = await self.task("say: good morning")
        self.finished = task.id
        return {"task": task.id, "state": state(task.status), "answer": answer(task)}

    async def stream(self):
        events, text, cued = [], "", False
        async for event in self.streaming.send_message(request("say: one; cue next; say: two")):
            words, more = seen(event)
            events.append(words)
            text = text + more if words == "artifact" else more or text
            if text and not cued:
                cued = True
                tell(cue="next")
        return {"events": events, "answer": text}

    async def subscribe(self):
        sending = self.streaming.send_message(request("say: before; cue go; say: after"))
        task = None
        async for event in sending:
            task = task or event.task.id
            if seen(event)[1]:
                break
        await sending.aclose()
        events, text = [], ""
        async for event in self.streaming.subscribe(pb.SubscribeToTaskRequest(id=task)):
            words, more = seen(event)
            if not events:
                tell(cue="go")
            events.append(words)
            text = text + more if words == "artifact" else more or text
        return {"events": events, "answer": text}

    async def cancel(self):
        task = await self.task("hang", wait=False)
        canceled = await self.plain.cancel_task(pb.CancelTaskRequest(id=task.id))
        return {"before": state(task.status), "state": state(canceled.status)}

    async def get(self):
        task = await self.plain.get_task(pb.GetTaskRequest(id=self.finished))
        return {"task": task.id, "state": state(task.status), "answer": answer(task)}

    async def list(self):
        tasks = await self.plain.list_tasks(pb.ListTasksRequest(page_size=50))
        return {"tasks": [task.id for task in tasks.tasks]}

    async def push(self):
        url = "http://127.0.0.1:9/a2a"
        made = await self.plain.create_task_push_notification_config(
            pb.TaskPushNotificationConfig(task_id=self.finished, id="hook", url=url, token="t")
        )
        read = await self.plain.get_task_push_notification_config(
            pb.GetTaskPushNotificationConfigRequest(task_id=self.finished, id=made.id)
        )
        await self.plain.delete_task_push_notification_config(
            pb.DeleteTaskPushNotificationConfigRequest(task_id=self.finished, id=made.id)
        )
        return {"id": read.id, "task": read.task_id, "url": read.url}

    async def unknown(self):
        try:
            await self.plain.get_task(pb.GetTaskRequest(id=str(uuid.uuid4())))
        except Exception as error:
            return {"error": type(error).__name__}
        return {"error": None}


async def main():
    facts = ["send", "stream", "subscribe", "cancel", "get", "list", "push", "unknown"]
    failed = False
    # A header of the HTTP client is the other way to send a token; the interceptor is the SDK's own.
    async with httpx.AsyncClient(timeout=PATIENCE) as http:
        card = await A2ACardResolver(http, URL).get_agent_card()
        offered = [face.url for face in card.supported_interfaces if face.protocol_binding == BINDING]
        tell(fact="card", name=card.name, streaming=card.capabilities.streaming, urls=offered)
        run = Run(http, card)
        for fact in facts:
            try:
                found = await asyncio.wait_for(getattr(run, fact)(), PATIENCE)
                tell(fact=fact, **found)
            except Exception as error:
                failed = True
                tell(fact=fact, failed=f"{type(error).__name__}: {error}")
        await run.streaming.close()
        await run.plain.close()
    return failed


sys.exit(asyncio.run(main()))
