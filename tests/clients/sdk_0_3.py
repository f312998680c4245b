"""a2a-sdk 0.3: `sdk_0_3.py URL TOKEN`. The client of that library, over JSON-RPC by the card."""

import asyncio
import sys
import uuid

import httpx
from a2a import types
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from common import Facts, scripts

URL, TOKEN = sys.argv[1:3]


def message(text, **more):
    part = types.Part(root=types.TextPart(text=text))
    return types.Message(message_id=str(uuid.uuid4()), role=types.Role.user, parts=[part], **more)


def answer(task):
    found = [artifact for artifact in task.artifacts or [] if artifact.name == "answer"]
    return "".join(part.root.text for artifact in found for part in artifact.parts)


async def last(client, sent):
    """The task as the library has put it together, and how many events that took."""
    task, count = None, 0
    async for event in client.send_message(sent):
        count += 1
        task = event if isinstance(event, types.Message) else event[0]
    return task, count


async def main():
    facts = Facts()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        card = await A2ACardResolver(httpx_client=http, base_url=URL).get_agent_card()
        plain = ClientFactory(ClientConfig(httpx_client=http, streaming=False)).create(card)
        streaming = ClientFactory(ClientConfig(httpx_client=http, streaming=True)).create(card)
        for name, client in (("send", plain), ("stream", streaming)):
            async with facts.fact(name):
                task, count = await last(client, message(scripts["pieces"]))
                facts.expect(answer(task) == "onetwothree", f"said {answer(task)!r}")
                facts.note(f"{count} events" if client is streaming else "")
        async with facts.fact("ask"):
            task, _ = await last(streaming, message(scripts["ask"]))
            facts.expect(task.status.state == types.TaskState.input_required, f"{task.status.state}")
            task, _ = await last(streaming, message("say green it is", task_id=task.id, context_id=task.context_id))
            facts.expect(answer(task) == "green it is", f"said {answer(task)!r}")
        async with facts.fact("file"):
            task, _ = await last(streaming, message(scripts["file"]))
            files = [part.root.file for artifact in task.artifacts for part in artifact.parts if part.root.kind == "file"]
            facts.expect(len(files) == 1 and files[0].bytes == "Y29udGVudA==", f"{files!r}")
        async with facts.fact("silence"):
            task, _ = await last(streaming, message(scripts["silence"]))
            facts.expect(answer(task) == "awake\nawake\n", f"said {answer(task)!r}")
        async with facts.fact("cancel"):
            begun = streaming.send_message(message(scripts["long"]))
            task, _ = await anext(begun)
            task = await plain.cancel_task(types.TaskIdParams(id=task.id))
            facts.expect(task.status.state == types.TaskState.canceled, f"{task.status.state}")
            await begun.aclose()
        async with facts.fact("resubscribe"):
            begun = streaming.send_message(message("repeat 6 500 more"))
            task, _ = await anext(begun)
            await begun.aclose()
            async for event in streaming.resubscribe(types.TaskIdParams(id=task.id)):
                task = event[0]
            facts.expect(answer(task) == "more\n" * 6, f"said {answer(task)!r}")


asyncio.run(main())
