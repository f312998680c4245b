"""One file of values and what is expected of it, as the comments at its beginning say.

# Expect: renders                      or   # Expect: refused: TEXT
# Flags: further arguments of helm template
# Has: KIND[/NAME] PATH = VALUE        the document has this value there (YAML; null: nothing there)
# Config: KEY = VALUE                  the same of pilothouse.yaml
# None: KIND, KIND                     there is no document of these kinds
"""

import yaml

import chart


class Case:
    def __init__(self, path):
        self.path, self.name = path, path.stem
        self.expect, self.flags, self.facts, self.absent = None, [], [], []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("# "):
                continue
            word, _, rest = line[2:].partition(": ")
            if word == "Expect":
                self.expect = rest
            elif word == "Flags":
                self.flags = rest.split()
            elif word in ("Has", "Config"):
                where, equals, value = rest.partition(" = ")
                if not equals:
                    raise ValueError(f"{path.name}: no value in `{line}`")
                self.facts.append((word, where, yaml.safe_load(value)))
            elif word == "None":
                self.absent += [kind.strip() for kind in rest.split(",")]
        if self.expect is None:
            raise ValueError(f"{path.name}: no `# Expect:`")

    def render(self):
        return chart.render(*self.flags, "-f", self.path)

    def problems(self):
        """(what is wrong, the documents): documents only where it is expected to render."""
        verb, _, text = self.expect.partition(": ")
        try:
            docs = self.render()
        except chart.Refused as error:
            if verb != "refused":
                return [f"refused: {error}"], None
            if text not in str(error):
                return [f"refused, but with other words: {error}"], None
            return [], None
        if verb == "refused":
            return [f"rendered, though it cannot work: {text}"], None
        return [problem for fact in self.facts for problem in self.missing(docs, *fact)] + [
            f"there is a {doc['kind']}" for doc in docs if doc["kind"] in self.absent
        ], docs

    def missing(self, docs, word, where, value):
        if word == "Config":
            found = chart.at(chart.config_of(docs), where)
        else:
            kind, _, path = where.partition(" ")
            kind, _, name = kind.partition("/")
            doc = chart.one(docs, kind, name or None)
            if doc is None:
                return [f"there is no {kind} {name}"]
            found = chart.at(doc, path)
        return [] if found == value else [f"{where} is {found!r}, not {value!r}"]
