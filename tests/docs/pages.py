"""The pages of the documentation: their blocks, and what the comment before each says about running it.

A block of `sh` or `console` is run. Otherwise a comment right before it says why not:

    <!-- not run: REASON -->            nobody runs it (also `not run as it stands: ...`)
    <!-- run by SCRIPT -->              another test does; the script, or what it reads, names the block
    <!-- needs claude -->               it is run where that agent is at hand (also `codex`), with a scripted model
    <!-- yaml of WHAT -->               (before `yaml`) is no configuration of the server

A comment `<!-- the blocks of this page are run by SCRIPT -->` says it for all blocks of the page that have no
comment of their own. A block is called as tests/install/blocks.sh calls it: by its heading and its number there.
"""

import re
from dataclasses import dataclass

MARK = re.compile(r"^\s*<!-- (.*) -->$")
FENCE = re.compile(r"^(\s*)```(\w*)$")
WHOLE = re.compile(r"^the blocks of this page are run by (\S+)$")


@dataclass
class Block:
    page: str
    name: str
    line: int
    kind: str
    mark: str
    text: str

    def title(self):
        first = next((line for line in self.text.splitlines() if line.strip()), "")
        return f"{self.page}:{self.line} {first[:70]}"


def slug(heading):
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


def blocks(page, text):
    """The blocks of a page; and the script that runs those without a mark, where the page names one."""
    found, whole, mark, heading, count, inside = [], "", "", "", 0, None
    for number, line in enumerate(text.splitlines(), 1):
        if inside is not None:
            if line.strip() == "```":
                found.append(inside)
                inside, mark = None, ""
            else:
                inside.text += line[len(indent) :] + "\n" if line.startswith(indent) else line + "\n"
            continue
        fence, comment = FENCE.match(line), MARK.match(line)
        if fence:
            indent, kind = fence.groups()
            # Blocks inside of lists have no number, because blocks.sh does not see them.
            count += not indent and kind == "sh"
            name = f"{heading}-{count}" if not indent else f"{heading}-in-{number}"
            inside = Block(page, name, number, kind, mark, "")
        elif comment:
            said = WHOLE.match(comment[1])
            if said:
                whole = said[1]
            else:
                mark = comment[1]
        elif line.startswith("#"):
            heading, count, mark = slug(line.lstrip("#").strip()), 0, ""
        elif line.strip():
            mark = ""
    if inside is not None:
        raise ValueError(f"{page}: a block is never closed")
    return found, whole


def anchors(text):
    """The anchors of a page, as the usual forges make them."""
    found, inside = set(), False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif line.startswith("#") and not inside:
            heading = re.sub(r"[`*\[\]]|\(.*?\)", "", line.lstrip("#").strip())
            name = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
            while name in found:
                name += "-1"
            found.add(name)
    return found


def links(text):
    """The links of a page to other files, without those inside of blocks."""
    text = re.sub(r"```.*?```", "", text, flags=re.S)
    return [to for to in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", to)]
