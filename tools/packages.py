#!/usr/bin/env python3
"""Packs the program for people who have a package manager of Python or Node.js: a wheel and npm packages around the
binary of a release. Nothing of them is code that runs at installation. The same binary and commit give the same bytes.

Usage: tools/packages.py machine BINARY ARCH DIR   a wheel, and the npm package with the binary of this machine
       tools/packages.py npm DIR                   the npm package `pilothouse`, which needs one of those

ARCH is x86_64 or aarch64. SOURCE_DATE_EPOCH gives the time of all files, REPOSITORY the address of the sources, if the
packages are to name it. LINUX_ALONE=1 makes a wheel for systems like this one, of a binary that is not static.
"""
import base64
import gzip
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
REPOSITORY = os.environ.get("REPOSITORY")
# A machine as the kernel calls it -> as Node.js does.
MACHINES = {"x86_64": "x64", "aarch64": "arm64"}
LICENCES = ["LICENSE", "LICENSE-APACHE", "LICENSE-MIT"]
ABOUT = """\
Pilothouse runs any CLI coding agent (Claude Code, Codex, Gemini CLI, any command) as a sandboxed, self-hosted
[A2A](https://a2a-protocol.org) agent. This package holds the program `pilothouse` for Linux, built statically; it runs
nothing when it is installed.

    pilothouse            # serves; says which agent, and what its sandbox is worth
    pilothouse send hello # in another terminal

`pilothouse doctor` says what is missing on a machine, such as bubblewrap for the sandbox.
"""
LAUNCHER = """\
#!/usr/bin/env node
"use strict";
// Runs the program for this machine; it is in a package of its own, which is an optional dependency of this one.
const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const machine = `pilothouse-${process.platform}-${process.arch}`;
let program;
try {
  program = require.resolve(`${machine}/bin/pilothouse`);
} catch {
  console.error(`pilothouse: the package ${machine} is not installed; there are packages for Linux on x64 and arm64, ` +
    "and npm leaves them out where optional dependencies are switched off (--omit=optional)");
  process.exit(1);
}
const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
// What a terminal sends goes to the program as well as to this process; only other signals are passed on.
const fromTerminal = process.stdin.isTTY ? ["SIGINT", "SIGQUIT"] : [];
for (const signal of ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => { if (!fromTerminal.includes(signal)) child.kill(signal); });
}
child.on("error", (error) => {
  console.error(`pilothouse: ${program} cannot be started: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : code));
"""


def project():
    """The table of the workspace and that of the package, where version, licence and description stand."""
    manifest = tomllib.loads(Path("Cargo.toml").read_text(encoding="utf-8"))
    return manifest["workspace"]["package"], manifest["package"]


def python_version(version):
    """1.2.3-rc.4 as Python writes it: 1.2.3rc4."""
    release, _, pre = version.partition("-")
    if not pre:
        return release
    kind = re.fullmatch(r"(alpha|beta|rc)\.?(\d+)", pre)
    if not kind:
        sys.exit(f"packages: {version} cannot be written as a version of Python; use -alpha.N, -beta.N or -rc.N")
    return release + {"alpha": "a", "beta": "b", "rc": "rc"}[kind[1]] + kind[2]


def wheel(binary, arch, directory):
    shared, own = project()
    version = python_version(shared["version"])
    if os.environ.get("LINUX_ALONE"):
        tags = [f"linux_{arch}"]
    else:
        # Static, so that it is for every C library.
        tags = [f"manylinux_2_17_{arch}", f"manylinux2014_{arch}", f"musllinux_1_1_{arch}"]
    info = f"pilothouse-{version}.dist-info"
    metadata = [
        "Metadata-Version: 2.4",
        "Name: pilothouse",
        f"Version: {version}",
        f"Summary: {own['description']}",
        f"License-Expression: {shared['license']}",
        *(f"License-File: {name}" for name in LICENCES),
        *([f"Project-URL: Source, {REPOSITORY}"] if REPOSITORY else []),
        "Classifier: Operating System :: POSIX :: Linux",
        "Requires-Python: >=3.7",
        "Description-Content-Type: text/markdown",
    ]
    described = ["Wheel-Version: 1.0", "Generator: pilothouse", "Root-Is-Purelib: false"]
    files = {
        f"pilothouse-{version}.data/scripts/pilothouse": Path(binary).read_bytes(),
        f"{info}/METADATA": ("\n".join(metadata) + "\n\n" + ABOUT).encode(),
        f"{info}/WHEEL": ("\n".join(described + [f"Tag: py3-none-{tag}" for tag in tags]) + "\n").encode(),
    }
    for name in LICENCES:
        files[f"{info}/licenses/{name}"] = Path(name).read_bytes()

    def line(path, data):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"{path},sha256={digest},{len(data)}\n"

    record = f"{info}/RECORD"
    files[record] = ("".join(line(*file) for file in sorted(files.items())) + f"{record},,\n").encode()
    target = directory / f"pilothouse-{version}-py3-none-{'.'.join(tags)}.whl"
    # The form begins with the year 1980.
    moment = time.gmtime(max(EPOCH, 315532800))[:6]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, moment)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if "/scripts/" in path else 0o100644) << 16
            archive.writestr(entry, data)
    print(target)


def npm(manifest, programs, target):
    """One npm package; `programs` are the files that can be run."""
    shared, own = project()
    manifest = {
        "name": manifest.pop("name"),
        "version": shared["version"],
        "description": own["description"],
        "license": f"({shared['license']})",
        **({"repository": {"type": "git", "url": f"git+{REPOSITORY}.git"}} if REPOSITORY else {}),
        "os": ["linux"],
        **manifest,
    }
    files = {"package.json": (json.dumps(manifest, indent=2) + "\n").encode(), "README.md": f"# pilothouse\n\n{ABOUT}".encode()}
    files |= {name: Path(name).read_bytes() for name in LICENCES} | programs
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size, entry.mtime = len(data), EPOCH
            entry.mode = 0o755 if path in programs else 0o644
            archive.addfile(entry, io.BytesIO(data))
    with open(target, "wb") as out, gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as zipped:
        zipped.write(packed.getvalue())
    print(target)


def npm_machine(binary, arch, directory):
    cpu, version = MACHINES[arch], project()[0]["version"]
    manifest = {"name": f"pilothouse-linux-{cpu}", "cpu": [cpu], "files": ["bin"]}
    npm(manifest, {"bin/pilothouse": Path(binary).read_bytes()}, directory / f"pilothouse-npm-linux-{cpu}-{version}.tgz")


def npm_launcher(directory):
    version = project()[0]["version"]
    manifest = {
        "name": "pilothouse",
        "cpu": sorted(MACHINES.values()),
        "engines": {"node": ">=18"},
        "bin": {"pilothouse": "bin/pilothouse.js"},
        "files": ["bin"],
        "optionalDependencies": {f"pilothouse-linux-{cpu}": version for cpu in sorted(MACHINES.values())},
    }
    npm(manifest, {"bin/pilothouse.js": LAUNCHER.encode()}, directory / f"pilothouse-npm-{version}.tgz")


def main(arguments):
    arguments[1:] = [argument if argument in MACHINES else os.path.abspath(argument) for argument in arguments[1:]]
    os.chdir(Path(__file__).resolve().parent.parent)
    match arguments:
        case ["machine", binary, arch, directory] if arch in MACHINES:
            Path(directory).mkdir(parents=True, exist_ok=True)
            wheel(binary, arch, Path(directory))
            npm_machine(binary, arch, Path(directory))
        case ["npm", directory]:
            Path(directory).mkdir(parents=True, exist_ok=True)
            npm_launcher(Path(directory))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
