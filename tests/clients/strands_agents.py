"""Strands: `strands_agents.py URL TOKEN`. `A2AAgent` by the address of the server; it always streams."""

import asyncio
import sys

import httpx
from a2a.client import ClientConfig
from common import Facts, scripts
from strands.agent.a2a_agent import A2AAgent

URL, TOKEN = sys.argv[1:3]


def text(result):
    return "".join(block.get("text", "") for block in result.message["content"])


async def main():
    facts = Facts()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        agent = A2AAgent(endpoint=URL, client_config=ClientConfig(httpx_client=http))
        async with facts.fact("send"):
            said = text(await agent.invoke_async("say hello"))
            facts.expect(said.strip() == "hello", f"said {said!r}")
        async with facts.fact("stream"):
            said = text(await agent.invoke_async(scripts["pieces"]))
            facts.expect(said.strip() == "onetwothree", f"said {said!r}")
        async with facts.fact("ask"):
            said = text(await agent.invoke_async(scripts["ask"]))
            facts.expect("Which colour?" in said, f"asked {said!r}")
        async with facts.fact("silence"):
            said = text(await agent.invoke_async(scripts["silence"]))
            facts.expect("awake\nawake" in said, f"said {said!r}")


asyncio.run(main())
