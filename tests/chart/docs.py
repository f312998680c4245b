"""The commands of the documentation: each is run, or says why it is not.

A block of `sh` is run from the top of the repository, with helm on PATH and OUT naming a folder. After the
comment `<!-- cluster -->` it is run against the stand-in of cluster.py, which lives as long as the page. One
that cannot be run stands after the comment `<!-- not run: REASON -->`.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from chart import TOP, helm
from cluster import Cluster

PAGES = ("docs/kubernetes.md", "deploy/helm/pilothouse/README.md")
BLOCK = re.compile(
    r"(?:<!-- (?:not run: (?P<reason>.+?)|(?P<cluster>cluster)) -->\n)?```(?P<kind>\w*)\n(?P<text>.*?)\n```",
    re.S,
)


def check(report):
    report.section("commands of the documentation")
    for page in PAGES:
        text = (TOP / page).read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, Cluster(folder, ark=True) as cluster:
            # `helm` by its name, whatever the file is called.
            os.symlink(shutil.which(helm()), os.path.join(folder, "helm"))
            run = 0
            for block in BLOCK.finditer(text):
                if block["kind"] not in ("sh", "console"):
                    continue
                name = f"{page}: {block['text'].strip().splitlines()[0]}"
                if block["reason"]:
                    report.skip(name, block["reason"])
                elif "kubectl" in block["text"] and not shutil.which("kubectl"):
                    report.skip(name, "kubectl is not installed")
                else:
                    run += 1
                    report.check(name, failure(block["text"], folder, cluster if block["cluster"] else None))
            report.check(f"{page}: {run} blocks of commands were run", run == 0 and "none")


def failure(script, folder, cluster):
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "HOME": folder,
        "TMPDIR": folder,
        "OUT": folder,
        "ANTHROPIC_API_KEY": "sk-example",
        # Without a cluster nothing may be asked of one, not even of one that this machine knows.
        "KUBECONFIG": str(cluster.kubeconfig) if cluster else str(Path(folder) / "none"),
    }
    done = subprocess.run(
        ["sh", "-euc", script], cwd=TOP, env=environment, capture_output=True, text=True, timeout=120
    )
    return (
        ""
        if done.returncode == 0
        else f"exit {done.returncode}\n{script}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
