"""The Kustomize base, made from the chart: `make()` gives each file's text."""

import yaml

import chart

FOLDER = chart.TOP / "deploy/kustomize"
NAMESPACE = "pilothouse"
HEAD = "# Made from the Helm chart by `tools/test-chart.sh kustomize`; do not edit.\n"
HELMS = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance")


class Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, lists indented, no aliases."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data):
        return True


def _text(dumper, data):
    style = "|" if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


Dumper.add_representer(str, _text)


def documents():
    """What the chart renders for Kustomize, without what is Helm's own."""
    docs = chart.render(
        "-f",
        FOLDER / "values.yaml",
        "--set",
        "a2aserver.enabled=true",
        release="pilothouse",
        namespace=NAMESPACE,
    )
    # The pod of `helm test` has no place here.
    return [plain(doc) for doc in docs if "helm.sh/hook" not in (doc["metadata"].get("annotations") or {})]


def plain(doc):
    """A document without Helm's labels and annotations."""
    pod = chart.pod_of(doc)
    selectors = [doc["metadata"].get("labels")]
    if pod is not None:
        selectors += [pod[0].get("labels"), doc["spec"]["selector"]["matchLabels"]]
    elif doc["kind"] == "Service":
        selectors.append(doc["spec"]["selector"])
    elif doc["kind"] == "NetworkPolicy":
        selectors.append(doc["spec"]["podSelector"]["matchLabels"])
    for labels in filter(None, selectors):
        for name in HELMS:
            labels.pop(name, None)
    for metadata in [doc["metadata"]] + ([pod[0]] if pod else []):
        annotations = metadata.get("annotations") or {}
        for name in [n for n in annotations if n.startswith(("helm.sh/", "checksum/"))]:
            annotations.pop(name)
        if not annotations:
            metadata.pop("annotations", None)
    return doc


def make():
    """{path: text} of the files that are made."""
    docs = documents()
    groups = {
        FOLDER / "base/pilothouse.yaml": [d for d in docs if d["kind"] != "A2AServer"],
        FOLDER / "ark/a2aserver.yaml": [d for d in docs if d["kind"] == "A2AServer"],
    }
    return {
        path: HEAD + yaml.dump_all(group, Dumper=Dumper, sort_keys=False, width=120, explicit_start=True)
        for path, group in groups.items()
    }


def main():
    for path, text in make().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(chart.TOP)}")


if __name__ == "__main__":
    main()
