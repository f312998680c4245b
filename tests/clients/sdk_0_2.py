"""a2a-sdk 0.2: `sdk_0_2.py URL TOKEN`. The `A2AClient` of that library; it puts nothing together."""

import asyncio
import sys
import uuid

import httpx
from a2a import types
from a2a.client import A2ACardResolver, A2AClient
from common import Facts, scripts

URL, TOKEN = sys.argv[1:3]


def params(text, **more):
    part = types.Part(root=types.TextPart(text=text))
    sent = types.Message(messageId=str(uuid.uuid4()), role=types.Role.user, parts=[part], **more)
    return types.MessageSendParams(message=sent)


def answer(task):
    found = [artifact for artifact in task.artifacts or [] if artifact.name == "answer"]
    return "".join(part.root.text for artifact in found for part in artifact.parts)


async def events(stream):
    found = []
    async for event in stream:
        result = event.root
        if isinstance(result, types.JSONRPCErrorResponse):
            raise RuntimeError(result.error.message)
        found.append(result.result)
    return found


def streamed(found):
    """The text of the answer by `append`."""
    text = ""
    for event in found:
        if event.kind == "artifact-update" and event.artifact.artifactId.endswith("-answer"):
            piece = "".join(part.root.text for part in event.artifact.parts)
            text = text + piece if event.append else piece
    return text


async def main():
    facts = Facts()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        card = await A2ACardResolver(httpx_client=http, base_url=URL).get_agent_card()
        client = A2AClient(httpx_client=http, agent_card=card)

        async def send(sent):
            request = types.SendMessageRequest(id=str(uuid.uuid4()), params=sent)
            return (await client.send_message(request)).root.result

        def stream(sent):
            request = types.SendStreamingMessageRequest(id=str(uuid.uuid4()), params=sent)
            return client.send_message_streaming(request)

        async with facts.fact("send"):
            task = await send(params(scripts["pieces"]))
            facts.expect(answer(task) == "onetwothree", f"said {answer(task)!r}")
        async with facts.fact("stream"):
            found = await events(stream(params(scripts["pieces"])))
            facts.expect(streamed(found) == "onetwothree", f"said {streamed(found)!r}")
            facts.note(f"{len(found)} events")
        async with facts.fact("ask"):
            task = await send(params(scripts["ask"]))
            facts.expect(task.status.state == types.TaskState.input_required, f"{task.status.state}")
            task = await send(params("say green it is", taskId=task.id, contextId=task.contextId))
            facts.expect(answer(task) == "green it is", f"said {answer(task)!r}")
        async with facts.fact("file"):
            task = await send(params(scripts["file"]))
            files = [part.root.file for artifact in task.artifacts for part in artifact.parts if part.root.kind == "file"]
            facts.expect(len(files) == 1 and files[0].bytes == "Y29udGVudA==", f"{files!r}")
        async with facts.fact("silence"):
            found = await events(stream(params(scripts["silence"])))
            facts.expect(streamed(found) == "awake\nawake\n", f"said {streamed(found)!r}")
        async with facts.fact("cancel"):
            begun = stream(params(scripts["long"]))
            task = (await anext(begun)).root.result
            request = types.CancelTaskRequest(id="1", params=types.TaskIdParams(id=task.id))
            task = (await client.cancel_task(request)).root.result
            facts.expect(task.status.state == types.TaskState.canceled, f"{task.status.state}")
            await begun.aclose()


asyncio.run(main())
