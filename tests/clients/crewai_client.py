"""CrewAI: `crewai_client.py URL TOKEN`. What an agent with an `A2AClientConfig` does when it delegates, without the model
that decides to."""

import asyncio
import os
import sys
import warnings

os.environ["CREWAI_DISABLE_TELEMETRY"] = os.environ["OTEL_SDK_DISABLED"] = "true"

from a2a.types import TaskState  # noqa: E402
from common import Facts, scripts  # noqa: E402
from crewai.a2a.auth.client_schemes import BearerTokenAuth  # noqa: E402
from crewai.a2a.updates import PollingConfig, StreamingConfig  # noqa: E402
from crewai.a2a.utils.delegation import aexecute_a2a_delegation  # noqa: E402

warnings.filterwarnings("ignore")
URL, TOKEN = sys.argv[1:3]


async def say(text, updates, **more):
    """What a delegation comes to."""
    return await aexecute_a2a_delegation(
        endpoint=f"{URL}/.well-known/agent-card.json",
        auth=BearerTokenAuth(token=TOKEN),
        timeout=60,
        task_description=text,
        updates=updates,
        **more,
    )


async def main():
    facts = Facts()
    for name, updates in (("send", PollingConfig(interval=0.2)), ("stream", StreamingConfig())):
        async with facts.fact(name):
            done = await say(scripts["pieces"], updates)
            facts.expect(done["status"] == TaskState.completed, f"{done!r}")
            # Its model is given all texts that it saw, with blanks between: statuses too, and the answer of the history.
            facts.expect("onetwothree" in done["result"], f"said {done['result']!r}")
    async with facts.fact("ask"):
        asked = await say(scripts["ask"], StreamingConfig())
        facts.expect(asked["status"] == TaskState.input_required, f"{asked!r}")
        facts.expect("Which colour?" in asked["error"], f"{asked['error']!r}")
        last = asked["history"][-1]
        done = await say(
            "say green it is",
            StreamingConfig(),
            task_id=last.task_id,
            context_id=last.context_id,
            conversation_history=asked["history"],
        )
        facts.expect(done["status"] == TaskState.completed and "green it is" in done["result"], f"{done!r}")
    async with facts.fact("silence"):
        done = await say(scripts["silence"], StreamingConfig())
        facts.expect(done["status"] == TaskState.completed and "awake" in done["result"], f"{done!r}")


asyncio.run(main())
