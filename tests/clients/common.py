"""What the clients share: the scripts that the agent plays, and the lines that say what came of a fact."""

import contextlib
import json
import os
import traceback

# A library may write to standard output whenever it likes; lines of facts are not mixed with that.
OUT = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

# The agent plays its prompt (`tests/agent`).
scripts = {
    "pieces": "say one; status working; say two; status working; say three",
    "ask": "ask Which colour? | red | green",
    "file": "file note.bin content; say done",
    "silence": "repeat 2 4000 awake",
    "long": "repeat 40 500 more",
}


class Facts:
    """Prints a JSON line for each fact: its name, whether it holds, and a word about it."""

    def __init__(self):
        self.word = ""

    def expect(self, holds, word):
        if not holds:
            raise AssertionError(word)

    def note(self, word):
        self.word = word

    @contextlib.asynccontextmanager
    async def fact(self, name):
        self.word = ""
        try:
            yield
            print(json.dumps({"fact": name, "holds": True, "word": self.word}), file=OUT, flush=True)
        except Exception as error:  # noqa: BLE001: whatever a library raises is what its user gets
            traceback.print_exc()
            word = f"{type(error).__name__}: {error}"
            print(json.dumps({"fact": name, "holds": False, "word": word[:300]}), file=OUT, flush=True)
