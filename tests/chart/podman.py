"""Podman with storage of its own, so that no other container of the machine is touched."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from chart import run


class Podman:
    """Its commands; `remove` takes away all that they left."""

    def __init__(self):
        # Short, because the names of unix sockets below it are bounded.
        self.folder = Path(tempfile.mkdtemp(prefix="php-"))
        self.environment = dict(os.environ)

    def command(self, *words):
        places = ("--root", self.folder / "s", "--runroot", self.folder / "r", "--tmpdir", self.folder / "t")
        return ["podman", *map(str, places), "--cgroup-manager", "cgroupfs", *map(str, words)]

    def __call__(self, *words, check=True, timeout=300, **options):
        done = subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            **options,
        )
        if check and done.returncode != 0:
            raise Trouble(f"podman {' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
        return done

    def accept_this_machine(self):
        """Settings for machines where podman's own do not work: cgroups of version 1, no CAP_SYS_RESOURCE."""
        file = self.folder / "containers.conf"
        file.write_text(
            '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n'
            '[engine]\nruntime = "runc"\n'
        )
        self.environment["CONTAINERS_CONF"] = str(file)

    def remove(self):
        for words in (("pod", "rm", "-fa"), ("volume", "rm", "-fa"), ("rmi", "-fa")):
            self(*words, check=False)
        run(["umount", "-l", self.folder / "s/overlay"])
        shutil.rmtree(self.folder, ignore_errors=True)


class Trouble(Exception):
    """Podman refused."""


def archive(image, folder):
    """The image as a tar file: it is one, or docker or podman has it. None: nobody does."""
    if Path(image).is_file():
        return Path(image)
    file = folder / "image.tar"
    for engine in ("docker", "podman"):
        if shutil.which(engine) and run([engine, "image", "inspect", image]).returncode == 0:
            done = run([engine, "save", "-o", file, image])
            if done.returncode != 0:
                raise Trouble(f"{engine} save {image}: {done.stderr}")
            return file
    return None
