"""Microsoft Agent Framework: `maf.py URL TOKEN`. `A2AAgent` by the address of the server."""

import asyncio
import sys
import warnings

import httpx
from common import Facts, scripts

warnings.filterwarnings("ignore")
from a2a.client import A2ACardResolver  # noqa: E402
from agent_framework_a2a import A2AAgent, A2AAgentSession  # noqa: E402

URL, TOKEN = sys.argv[1:3]


async def main():
    facts = Facts()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        card = await A2ACardResolver(http, URL).get_agent_card()
        agent = A2AAgent(name="remote", agent_card=card, http_client=http)
        async with facts.fact("send"):
            response = await agent.run(scripts["pieces"])
            facts.expect(response.text == "onetwothree", f"said {response.text!r}")
        async with facts.fact("stream"):
            stream = agent.run(scripts["pieces"], stream=True)
            updates = [update async for update in stream]
            response = await stream.get_final_response()
            facts.expect(response.text == "onetwothree", f"said {response.text!r}")
            facts.note(f"{len(updates)} updates")
        async with facts.fact("ask"):
            session = A2AAgentSession()
            response = await agent.run(scripts["ask"], session=session)
            facts.expect("Which colour?" in str(response.to_dict()), f"asked {response.text!r}")
            response = await agent.run("say green it is", session=session)
            facts.expect("green it is" in response.text, f"said {response.text!r}")
        async with facts.fact("file"):
            response = await agent.run(scripts["file"])
            files = [c for m in response.messages for c in m.contents if c.type == "data"]
            facts.expect(len(files) == 1, f"{[c.type for m in response.messages for c in m.contents]}")
        async with facts.fact("silence"):
            response = await agent.run(scripts["silence"])
            facts.expect("awake\nawake" in response.text, f"said {response.text!r}")


asyncio.run(main())
