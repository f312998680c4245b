"""Google ADK: `adk.py URL TOKEN`. `RemoteA2aAgent` by the address of a card, as its documentation has it."""

import asyncio
import sys
import warnings

import httpx
from common import Facts, scripts
from google.adk.agents.remote_a2a_agent import RemoteA2aAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.runners import Runner
from google.adk.sessions import InMemorySessionService
from google.genai import types

warnings.filterwarnings("ignore")
URL, TOKEN = sys.argv[1:3]


def agent(streaming):
    """Its own client sends; one that streams comes by the factory."""
    http = httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
    card = f"{URL}/.well-known/agent-card.json"
    if not streaming:
        return RemoteA2aAgent(name="remote", agent_card=card, httpx_client=http)
    from a2a.client.client import ClientConfig
    from a2a.client.client_factory import ClientFactory

    config = ClientConfig(httpx_client=http, streaming=True)
    return RemoteA2aAgent(name="remote", agent_card=card, a2a_client_factory=ClientFactory(config))


class Conversation:
    """One session of ADK with the remote agent."""

    def __init__(self, streaming):
        self.service = InMemorySessionService()
        self.runner = Runner(app_name="test", agent=agent(streaming), session_service=self.service)
        self.mode = StreamingMode.SSE if streaming else StreamingMode.NONE
        self.id = None

    async def say(self, text, call=None):
        """What the final events say (text, files), how many partial ones came before, and what is asked.

        ADK makes a function call of a question, and its response is the answer.
        """
        if self.id is None:
            session = await self.service.create_session(app_name="test", user_id="user")
            self.id = session.id
        part = types.Part(text=text)
        if call:
            response = types.FunctionResponse(id=call.id, name=call.name, response={"result": text})
            part = types.Part(function_response=response)
        content = types.Content(role="user", parts=[part])
        said, files, partial, asked = [], [], 0, None
        async for event in self.runner.run_async(
            user_id="user", session_id=self.id, new_message=content, run_config=RunConfig(streaming_mode=self.mode)
        ):
            if event.error_message:
                raise RuntimeError(event.error_message)
            if event.partial:
                partial += 1
                continue
            for part in event.content.parts if event.content else []:
                asked = part.function_call or asked
                if part.text and not part.thought:
                    said.append(part.text)
                if part.inline_data or part.file_data:
                    files.append(part)
        return "".join(said), files, partial, asked


async def main():
    facts = Facts()
    for name, streaming in (("send", False), ("stream", True)):
        async with facts.fact(name):
            said, _, partial, _ = await Conversation(streaming).say(scripts["pieces"])
            facts.expect(said == "onetwothree", f"said {said!r}")
            facts.note(f"{partial} partial" if streaming else "")
    async with facts.fact("ask"):
        conversation = Conversation(True)
        said, _, _, asked = await conversation.say(scripts["ask"])
        facts.expect(asked and "Which colour?" in str(asked.args), f"asked {asked!r}, said {said!r}")
        said, _, _, _ = await conversation.say("say green it is", asked)
        facts.expect("green it is" in said, f"said {said!r}")
    async with facts.fact("file"):
        _, files, _, _ = await Conversation(True).say(scripts["file"])
        facts.expect(len(files) == 1 and files[0].inline_data.data == b"content", f"{files!r}")
    async with facts.fact("silence"):
        said, _, _, _ = await Conversation(True).say(scripts["silence"])
        facts.expect("awake" in said, f"said {said!r}")


asyncio.run(main())
