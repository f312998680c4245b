"""The A2A client of a2a-sdk 0.3.x: `client_0_3.py BINDING URL TOKEN`.

Does what a user of that library does, and prints one JSON line for each fact it saw. A line
`{"cue": NAME}` asks whoever started us to let the agent go on.
"""

import asyncio
import json
import sys
import uuid

import grpc
import httpx
from a2a import types
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory

BINDING, URL, TOKEN = sys.argv[1:4]
PATIENCE = 20
AUTHORIZATION = f"Bearer {TOKEN}"


def tell(**line):
    print(json.dumps(line), flush=True)


def channel(url):
    """This SDK's gRPC transport calls no interceptors of its own; gRPC's add the token."""

    def signed(details):
        metadata = [*(details.metadata or []), ("authorization", AUTHORIZATION)]
        return details._replace(metadata=grpc.aio.Metadata(*metadata))

    class Unary(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation, details, request):
            return await continuation(signed(details), request)

    class Stream(grpc.aio.UnaryStreamClientInterceptor):
        async def intercept_unary_stream(self, continuation, details, request):
            return await continuation(signed(details), request)

    return grpc.aio.insecure_channel(url, interceptors=[Unary(), Stream()])


def message(text):
    part = types.Part(root=types.TextPart(text=text))
    return types.Message(message_id=str(uuid.uuid4()), role=types.Role.user, parts=[part])


def text_of(parts):
    return "".join(part.root.text for part in parts if isinstance(part.root, types.TextPart))


def answer(task):
    found = (artifact for artifact in task.artifacts or [] if artifact.name == "answer")
    return "".join(text_of(artifact.parts) for artifact in found)


def seen(event):
    """Short words for an event, and the text that it adds to the answer, or that takes its place."""
    task, update = event
    if update is None:
        return f"task {task.status.state.value}", answer(task)
    if isinstance(update, types.TaskStatusUpdateEvent):
        return f"status {update.status.state.value}", ""
    return "artifact" if update.append else "artifact anew", text_of(update.artifact.parts)


class Run:
    """The clients, and the facts in the order in which they build on each other."""

    def __init__(self, http, card):
        self.card = card
        self.streaming = self.client(http, streaming=True)
        self.plain = self.client(http, streaming=False)
        self.polling = self.client(http, streaming=False, polling=True)
        self.finished = None

    def client(self, http, **kind):
        config = ClientConfig(
            httpx_client=http,
            grpc_channel_factory=channel,
            supported_transports=[BINDING],
            use_client_preference=True,
            **kind,
        )
        return ClientFactory(config).create(self.card)

    async def task(self, client, text):
        async for event in client.send_message(message(text)):
            return event[0]

    async def send(self):
        task = await self.task(self.plain, "say: good morning")
        self.finished = task.id
        return {"task": task.id, "state": task.status.state.value, "answer": answer(task)}

    async def stream(self):
        events, text, cued = [], "", False
        async for event in self.streaming.send_message(message("say: one; cue next; say: two")):
            words, more = seen(event)
            events.append(words)
            text = text + more if words == "artifact" else more or text
            if text and not cued:
                cued = True
                tell(cue="next")
        return {"events": events, "answer": text}

    async def subscribe(self):
        sending = self.streaming.send_message(message("say: before; cue go; say: after"))
        task = None
        async for event in sending:
            task = task or event[0].id
            if seen(event)[1]:
                break
        await sending.aclose()
        events, text = [], ""
        async for event in self.streaming.resubscribe(types.TaskIdParams(id=task)):
            words, more = seen(event)
            if not events:
                tell(cue="go")
            events.append(words)
            text = text + more if words == "artifact" else more or text
        return {"events": events, "answer": text}

    async def cancel(self):
        task = await self.task(self.polling, "hang")
        canceled = await self.plain.cancel_task(types.TaskIdParams(id=task.id))
        return {"before": task.status.state.value, "state": canceled.status.state.value}

    async def get(self):
        task = await self.plain.get_task(types.TaskQueryParams(id=self.finished))
        return {"task": task.id, "state": task.status.state.value, "answer": answer(task)}

    async def push(self):
        config = types.PushNotificationConfig(id="hook", url="http://127.0.0.1:9/a2a", token="t")
        made = await self.plain.set_task_callback(
            types.TaskPushNotificationConfig(task_id=self.finished, push_notification_config=config)
        )
        wanted = types.GetTaskPushNotificationConfigParams(
            id=self.finished, push_notification_config_id=made.push_notification_config.id
        )
        read = await self.plain.get_task_callback(wanted)
        config = read.push_notification_config
        return {"id": config.id, "task": read.task_id, "url": config.url}

    async def unknown(self):
        try:
            await self.plain.get_task(types.TaskQueryParams(id=str(uuid.uuid4())))
        except grpc.aio.AioRpcError as error:
            return {"error": error.code().name}
        except Exception as error:
            status = getattr(error, "status_code", None)
            reason = getattr(getattr(error, "error", None), "code", None)
            return {"error": type(error).__name__, "code": status or reason}
        return {"error": None}


async def main():
    facts = ["send", "stream", "subscribe", "cancel", "get", "push", "unknown"]
    failed = False
    async with httpx.AsyncClient(timeout=PATIENCE, headers={"Authorization": AUTHORIZATION}) as http:
        card = await A2ACardResolver(http, URL).get_agent_card()
        faces = [types.AgentInterface(transport=card.preferred_transport or "JSONRPC", url=card.url)]
        faces += card.additional_interfaces or []
        offered = [face.url for face in faces if face.transport == BINDING]
        tell(fact="card", name=card.name, streaming=card.capabilities.streaming, urls=offered)
        run = Run(http, card)
        for fact in facts:
            try:
                found = await asyncio.wait_for(getattr(run, fact)(), PATIENCE)
                tell(fact=fact, **found)
            except Exception as error:
                failed = True
                tell(fact=fact, failed=f"{type(error).__name__}: {error}")
    return failed


sys.exit(asyncio.run(main()))
