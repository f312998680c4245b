#!/usr/bin/env bash
# tools/install.sh, tools/release.sh, tools/packages.py, tools/check-version.sh and tools/sbom.py, with a release made
# on this disk: a good one, broken ones, and machines that there is none for. Nothing leaves the machine. Ends with counts.
#
# PILOTHOUSE_BIN=FILE, a static binary (with RELEASE_DYNAMIC=1 another one), goes into the release and is run once
# installed; without one a small static program that is compiled here takes its place.
set -u
cd "$(dirname "$0")/../.." || exit 1
here=$PWD
passed=0 failed=0 skipped=0
ok() { echo "✓ $1"; passed=$((passed + 1)); }
bad() { echo "✗ $1"; failed=$((failed + 1)); [ $# -lt 2 ] || printf '%s\n' "$2" | sed 's/^/    /'; }
skip() { echo "- $1: $2"; skipped=$((skipped + 1)); }
check() {
    local name=$1 output; shift
    if output=$("$@" 2>&1); then ok "$name"; else bad "$name" "$output"; fi
}
work=$(mktemp -d) || exit 1
server= registry=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; [ -z "$registry" ] || kill "$registry" 2>/dev/null; rm -rf "$work"' EXIT
unset PILOTHOUSE_BASE_URL PILOTHOUSE_VERSION PILOTHOUSE_PREFIX
export HOME=$work/home
mkdir "$HOME"

version=$(tools/check-version.sh --print)
arch=$(uname -m)
binary=${PILOTHOUSE_BIN:-$work/stand-in}
if [ -z "${PILOTHOUSE_BIN:-}" ]; then
    # All that a release asks of a program: its man pages (`man DIR`).
    ${CC:-cc} -static -x c -o "$binary" - <<'C' || { echo "needs PILOTHOUSE_BIN, or a C compiler with a static library" >&2; exit 1; }
#include <stdio.h>
int main(int count, char **words) {
    char path[4096];
    if (count != 3) return 0;
    snprintf(path, sizeof path, "%s/pilothouse.1", words[2]);
    FILE *page = fopen(path, "w");
    return page == NULL || fclose(page);
}
C
fi
file=pilothouse-$version-linux-$arch.tar.gz

# --- the release ---
release=$work/releases/download/v$version
made=$(tools/release.sh package "$binary" "$release" 2>&1) || { bad "a release can be made" "$made"; echo "$passed passed, $failed failed, $skipped skipped"; exit 1; }
tools/release.sh installer "file://$work/releases" "$release"
tools/release.sh sums "$release" >/dev/null
mkdir -p "$work/releases/latest"
ln -s "../download/v$version" "$work/releases/latest/download"
check "a release: archive, installer, version, and a checksum of each" sh -c "cd '$release' && [ \"\$(ls | tr '\n' ' ')\" = 'SHA256SUMS VERSION install.sh $file ' ] && [ \$(wc -l <SHA256SUMS) -eq 3 ] && sha256sum --quiet -c SHA256SUMS"
tools/release.sh package "$binary" "$work/again" >/dev/null
check "the same commit gives the same bytes" cmp "$release/$file" "$work/again/$file"
check "the archive has the licences, the example and the unit" sh -c "tar -tzf '$release/$file' | sort >'$work/list' && for f in LICENSE-MIT LICENSE-APACHE pilothouse.example.yaml systemd/pilothouse.service apparmor/bwrap man/pilothouse.1 pilothouse; do grep -qx 'pilothouse-$version-linux-$arch/'\$f '$work/list' || exit 1; done"
dynamic=$(command -v sh)
check "a dynamic binary is refused" sh -c "! env -u RELEASE_DYNAMIC tools/release.sh package '$dynamic' '$work/dynamic' 2>'$work/said' && grep -q 'not static' '$work/said' && [ ! -e '$work/dynamic' ]"
check "what is no program is refused" sh -c "! tools/release.sh package Cargo.toml '$work/dynamic' 2>'$work/said' && grep -q 'no ELF' '$work/said'"

# --- installing ---
install=$here/tools/install.sh
# installs NAME [ARGS...]: from $from into $work/NAME; output in $said, code returned.
from=file://$work/releases
installs() {
    local name=$1; shift
    said=$(sh "$install" --base-url "$from" --version "$version" --prefix "$work/$name" "$@" 2>&1)
}
# refused CODE NAME WORDS: the code is not 0, it said why, and nothing is in $work/NAME.
refused() {
    [ "$1" -ne 0 ] && grep -q -- "$3" <<<"$said" && [ -z "$(find "$work/$2" -type f 2>/dev/null)" ] || { echo "code $1; $said"; find "$work/$2" 2>/dev/null; return 1; }
}
installs good; code=$?
check "a good one is installed" sh -c "[ $code -eq 0 ] && cmp '$binary' '$work/good/bin/pilothouse' && [ \$(stat -c %a '$work/good/bin/pilothouse') = 755 ]"
check "and nothing else is" sh -c "[ \"\$(cd '$work/good' && find . | sort | tr '\n' ' ')\" = '. ./bin ./bin/pilothouse ' ]"
says() { local words; for words in "$@"; do grep -qE -- "$words" <<<"$said" || { echo "$said"; return 1; }; done; }
check "it says the checksum, the place, and that it is not in PATH" says "SHA-256 [0-9a-f]{64}, as the release says" "is $work/good/bin/pilothouse" "is not in PATH"
if [ -n "${PILOTHOUSE_BIN:-}" ]; then
    check "the installed program runs and is that version" sh -c "[ \"\$('$work/good/bin/pilothouse' --version)\" = 'pilothouse $version' ]"
else
    skip "the installed program runs" "no PILOTHOUSE_BIN"
fi
said=$(sh "$release/install.sh" 2>&1); code=$?
check "the release's own installer needs no arguments: newest to ~/.local" sh -c "[ $code -eq 0 ] && cmp '$binary' '$HOME/.local/bin/pilothouse'"
said=$(sh "$install" --base-url "$from" --prefix "$work/newest" 2>&1); code=$?
check "without a version the newest is taken" sh -c "[ $code -eq 0 ] && cmp '$binary' '$work/newest/bin/pilothouse'"
said=$(PILOTHOUSE_BASE_URL=$from PILOTHOUSE_VERSION=v$version PILOTHOUSE_PREFIX=$work/variables sh "$install" 2>&1); code=$?
check "variables do as well as options" sh -c "[ $code -eq 0 ] && cmp '$binary' '$work/variables/bin/pilothouse'"
check "standard input will do (curl ... | sh)" sh -c "sh -s -- --base-url '$from' --version $version --prefix '$work/piped' <'$install' && cmp '$binary' '$work/piped/bin/pilothouse'"

# --- a server that runs keeps its program ---
mkdir -p "$work/busy/bin"
cp "$(command -v sleep)" "$work/busy/bin/pilothouse"
"$work/busy/bin/pilothouse" 60 & running=$!
installs busy; code=$?
check "a program that runs is replaced, and runs on" sh -c "[ $code -eq 0 ] && cmp '$binary' '$work/busy/bin/pilothouse' && kill -0 $running"
kill $running 2>/dev/null; wait $running 2>/dev/null

# --- broken releases: a copy of the good one, broken in one way ---
# broken NAME: makes it and points $from at it; the folder is $broken.
broken() {
    from=file://$work/broken-$1 broken=$work/broken-$1/download/v$version
    mkdir -p "$work/broken-$1/download"
    cp -r "$release" "$broken"
}
broken changed; printf 'x' | dd of="$broken/$file" bs=1 seek=5000 conv=notrunc 2>/dev/null
installs changed; check "one changed byte: refused" refused $? changed "is not what the release says"
broken short; truncate -s -1 "$broken/$file"
installs short; check "one missing byte: refused" refused $? short "is not what the release says"
broken old; truncate -s -1 "$broken/$file"; mkdir -p "$work/old/bin"; echo old >"$work/old/bin/pilothouse"
installs old; code=$?
check "and what was installed before stays" sh -c "[ $code -ne 0 ] && [ \"\$(cat '$work/old/bin/pilothouse')\" = old ] && [ \$(ls -A '$work/old/bin' | wc -l) -eq 1 ]"
broken nosums; rm "$broken/SHA256SUMS"
installs nosums; check "no SHA256SUMS: refused" refused $? nosums "without checksums nothing is installed"
broken noline; sed -i "/$file/d" "$broken/SHA256SUMS"
installs noline; check "no line for this file: refused" refused $? noline "has no checksum of $file"
broken othername; sed -i "s/  $file/  x$file/" "$broken/SHA256SUMS"
installs othername; check "a line for a file whose name only ends like it: refused" refused $? othername "has no checksum of $file"
broken twice; line=$(grep "$file" "$broken/SHA256SUMS"); echo "0000${line:4}" >>"$broken/SHA256SUMS"
installs twice; check "two lines for it: refused" refused $? twice "has no checksum of $file"
broken md5; echo "$(md5sum <"$broken/$file" | cut -d' ' -f1)  $file" >"$broken/SHA256SUMS"
installs md5; check "a checksum of another length: refused" refused $? md5 "has no checksum of $file"
broken gone; rm "$broken/$file"
installs gone; check "no archive: refused" refused $? gone "cannot be had"
broken link; mkdir -p "$work/l/pilothouse-$version-linux-$arch"; ln -s /bin/sh "$work/l/pilothouse-$version-linux-$arch/pilothouse"
tar -C "$work/l" -czf "$broken/$file" "pilothouse-$version-linux-$arch"; (cd "$broken" && sha256sum "$file" >SHA256SUMS)
installs link; check "an archive with a link in its place: refused" refused $? link "not a plain file"
broken empty; tar -czf "$broken/$file" -T /dev/null; (cd "$broken" && sha256sum "$file" >SHA256SUMS)
installs empty; check "an archive without it: refused" refused $? empty "holds no"
from=file://$work/releases

# --- other machines, other arguments ---
# as KERNEL MACHINE: a `uname` that says so, first in PATH.
as() { mkdir -p "$work/uname"; printf '#!/bin/sh\ncase $1 in -s) echo %s ;; -m) echo %s ;; esac\n' "$1" "$2" >"$work/uname/uname"; chmod 755 "$work/uname/uname"; }
elsewhere() { said=$(PATH=$work/uname:$PATH sh "$install" --base-url "$from" --version "$version" --prefix "$work/$1" 2>&1); }
as Linux riscv64; elsewhere riscv; check "an unknown machine: refused, by name" refused $? riscv "riscv64: there are releases for x86_64 and aarch64"
as Darwin arm64; elsewhere mac; check "another system: refused, by name" refused $? mac "Darwin: releases are for Linux"
as Linux aarch64; [ "$arch" = aarch64 ] && as Linux x86_64
elsewhere other; check "the other machine asks for its own archive" refused $? other "has no checksum of pilothouse-$version-linux-$([ "$arch" = aarch64 ] && echo x86_64 || echo aarch64).tar.gz"
as Linux arm64; [ "$arch" = aarch64 ] && as Linux amd64
elsewhere alias; check "and so it does under its other name" refused $? alias "has no checksum of pilothouse-$version-linux-"
said=$(sh "$install" --base-url "$from" --version ../../x --prefix "$work/up" 2>&1); check "a version that is none: refused" refused $? up "is no version"
said=$(sh "$install" --base-url "$from" --version 1/../2 --prefix "$work/up" 2>&1); check "nor one with a path in it" refused $? up "is no version"
said=$(sh "$install" --version "$version" --prefix "$work/up" 2>&1); check "no address: refused, with the way to name one" refused $? up "base-url"
said=$(sh "$install" --prefixx "$work/up" 2>&1); check "an unknown argument: refused" refused $? up "unknown argument --prefixx"
# A curl and a wget that only note that they were called: nothing may leave the machine here.
mkdir "$work/noted"
for tool in curl wget; do printf '#!/bin/sh\necho "$0 $*" >>%s/called\nexit 7\n' "$work" >"$work/noted/$tool"; chmod 755 "$work/noted/$tool"; done
for url in http://releases.example http://127.0.0.1.example/x http://localhost.example ftp://releases.example /tmp; do
    said=$(PATH=$work/noted:$PATH sh "$install" --base-url "$url" --version "$version" --prefix "$work/plain" 2>&1)
    check "$url: refused" refused $? plain "only https, file, and http on loopback"
done
check "without asking there first" test ! -e "$work/called"
said=$(PATH=$work/noted:$PATH sh "$install" --base-url https://releases.example/x --version "$version" --prefix "$work/plain" 2>&1)
check "https is asked for with https alone, redirections included" grep -q -- "--proto =https .*https://releases.example/x/download/v$version/SHA256SUMS" "$work/called"
touch "$work/afile"
said=$(sh "$install" --base-url "$from" --version "$version" --prefix "$work/afile/p" 2>&1); check "a place that cannot be made: refused" refused $? afile/p "choose another with --prefix"
# Only these programs.
mkdir "$work/few"; for tool in sh awk cat cp cut env head mkdir mktemp mv rm tar gzip uname chmod sed; do ln -s "$(command -v $tool)" "$work/few/$tool"; done
said=$(PATH=$work/few sh "$install" --base-url "$from" --version "$version" --prefix "$work/nohash" 2>&1); check "nothing to compute a checksum with: refused" refused $? nohash "is needed to check"
printf '#!/bin/sh\nshift 2\nexec %s "$@"\n' "$(command -v sha256sum)" >"$work/few/shasum"; chmod 755 "$work/few/shasum"
check "shasum will do" sh -c "PATH=$work/few sh '$install' --base-url '$from' --version $version --prefix '$work/shasum' && cmp '$binary' '$work/shasum/bin/pilothouse'"

# --- a script that was cut off does nothing ---
size=$(stat -c %s "$install") cut_off=0
for i in $(seq 1 40); do
    head -c $((size * i / 41)) "$install" | sh -s -- --base-url "$from" --version "$version" --prefix "$work/cut" >/dev/null 2>&1
    [ ! -e "$work/cut" ] || cut_off=1
done
check "cut off at 40 places it does nothing" test $cut_off -eq 0
check "no temporary folder is left" sh -c "mkdir '$work/tmp' && TMPDIR='$work/tmp' sh '$install' --base-url '$from' --version $version --prefix '$work/tidy' && [ -z \"\$(ls -A '$work/tmp')\" ]"

# --- over HTTP on loopback ---
if command -v python3 >/dev/null; then
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    (cd "$work/releases" && exec timeout 60 python3 -m http.server --bind 127.0.0.1 "$port" >/dev/null 2>&1) & server=$!
    for _ in $(seq 50); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
    from=http://127.0.0.1:$port
    for tool in curl wget; do
        if command -v $tool >/dev/null; then
            few=$work/few-$tool; cp -r "$work/few" "$few"; ln -s "$(command -v $tool)" "$few/$tool"
            check "over HTTP with $tool" sh -c "PATH=$few sh '$install' --base-url '$from' --version $version --prefix '$work/http-$tool' && cmp '$binary' '$work/http-$tool/bin/pilothouse'"
            said=$(PATH=$few sh "$install" --base-url "$from" --version 9.9.9 --prefix "$work/http404" 2>&1)
            check "a version that is not there, with $tool: refused" refused $? http404 "without checksums nothing is installed"
        else
            skip "over HTTP with $tool" "$tool is not installed"
        fi
    done
    kill "$server" 2>/dev/null; server=
else
    skip "over HTTP" "no python3"
fi

# --- versions ---
check "the versions of this tree agree" tools/check-version.sh
copy=$work/tree
mkdir "$copy"
tar -cf - --exclude=./target --exclude=./.tools --exclude=./.git --exclude=./node_modules . | tar -xf - -C "$copy"
tells() { ! ROOT=$copy tools/check-version.sh "${@:2}" >"$work/said" 2>&1 && grep -q -- "^✗ $1" "$work/said" || { cat "$work/said"; return 1; }; }
if [ -e "$copy/deploy/helm/pilothouse/Chart.yaml" ]; then
    sed -i 's/^appVersion:.*/appVersion: "0.0.9"/' "$copy/deploy/helm/pilothouse/Chart.yaml"
    check "a chart with another appVersion is told" tells "chart, appVersion: 0.0.9, not $version"
    cp deploy/helm/pilothouse/Chart.yaml "$copy/deploy/helm/pilothouse/"
else
    skip "a chart with another appVersion is told" "there is no chart"
fi
echo "docker pull pilothouse-server:0.0.9" >>"$copy/docs/installation.md"
check "another version in the docs is told" tells "names in docs.*: 0.0.9"
check "a tag of another version is told" tells "tag: v0.0.9, not $version" v0.0.9
check "a tag without a section in CHANGELOG.md is told" sh -c "sed -i '/^## \[[0-9]/d' '$copy/CHANGELOG.md'; ROOT='$copy' tools/check-version.sh v$version | grep -q '^✗ CHANGELOG.md has no section'"
cp -r tools "$copy/"
printf '# Changelog\n\n## [Unreleased]\n\n## [%s] - 2026-01-02\n\n### Added\n\n- This.\n\n## [0.0.1] - 2025-01-01\n\n- That.\n' "$version" >"$copy/CHANGELOG.md"
check "the notes of a release are its section alone" sh -c "[ \"\$('$copy/tools/release.sh' notes)\" = '### Added

- This.' ]"
printf '# Changelog\n\n## [Unreleased]\n\n- This.\n' >"$copy/CHANGELOG.md"
check "no section: no notes" sh -c "! '$copy/tools/release.sh' notes"

# --- bill of materials ---
target=$arch-unknown-linux-gnu
if command -v cargo >/dev/null && command -v python3 >/dev/null; then
    export HOME=${REAL_HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)} # cargo's own settings
    check "the bill of materials is made" sh -c "tools/sbom.py $target >'$work/sbom.json'"
    check "it has every crate once, with checksum and licence, and no reference into nothing" python3 - "$work/sbom.json" "$version" <<'P'
import json, re, sys
bill, version = json.load(open(sys.argv[1])), sys.argv[2]
root, parts = bill["metadata"]["component"], bill["components"]
assert (root["name"], root["version"]) == ("pilothouse", version), root
refs = [part["bom-ref"] for part in parts] + [root["bom-ref"]]
assert len(refs) == len(set(refs))
known = set(refs)
assert {d["ref"] for d in bill["dependencies"]} == known
assert all(set(d["dependsOn"]) <= known for d in bill["dependencies"])
ours = {part["name"] for part in parts if "hashes" not in part}
assert ours == {"pilothouse-a2a", "pilothouse-agents", "pilothouse-egress", "pilothouse-sandbox"}, ours
assert all(re.fullmatch("[0-9a-f]{64}", part["hashes"][0]["content"]) for part in parts if "hashes" in part)
assert all("licenses" in part for part in parts), [p["name"] for p in parts if "licenses" not in p]
lock = set(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', open("Cargo.lock").read()))
assert all((part["name"], part["version"]) in lock for part in parts)
scope = {part["name"]: part["scope"] for part in parts}
assert scope["tokio"] == scope["rusqlite"] == scope["libsqlite3-sys"] == "required" and scope["serde_derive"] == "excluded"
assert "insta" not in scope and "proptest" not in scope and len(parts) > 100
P
    check "and is the same each time" sh -c "tools/sbom.py $target | cmp - '$work/sbom.json'"
    venv=$here/.tools/sbom
    if [ -x "$venv/bin/python" ] || { python3 -m venv "$venv" && "$venv/bin/pip" install --quiet 'cyclonedx-python-lib[json-validation]==11.*'; } >"$work/venv" 2>&1; then
        check "CycloneDX's own schema takes it" "$venv/bin/python" -c "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
wrong = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open('$work/sbom.json').read())
sys.exit(str(wrong) if wrong else 0)"
    else
        rm -rf "$venv"
        skip "CycloneDX's own schema takes it" "its checker could not be installed"
    fi
else
    skip "the bill of materials" "needs cargo and python3"
fi

# --- the packages of Python and npm ---
# With the program of PILOTHOUSE_BIN, from a registry on loopback, by the commands that people type, in a fresh home.
packed=$work/packed
check "a wheel and npm packages are made" sh -c "tools/release.sh packages '$binary' '$packed' && tools/release.sh npm '$packed' && [ \$(ls '$packed' | wc -l) -eq 3 ]"
tools/release.sh packages "$binary" "$work/packed-again" >/dev/null; tools/release.sh npm "$work/packed-again" >/dev/null
check "the same commit gives the same packages" diff -r "$packed" "$work/packed-again"
check "no package is made of a dynamic binary" sh -c "! env -u RELEASE_DYNAMIC tools/release.sh packages '$dynamic' '$work/dynamic' 2>'$work/said' && grep -q 'not static' '$work/said' && [ ! -e '$work/dynamic' ]"
check "the list of a wheel has each file with its checksum" python3 - "$packed" <<'P'
import base64, hashlib, sys, zipfile
from pathlib import Path
[wheel] = Path(sys.argv[1]).glob("*.whl")
archive = zipfile.ZipFile(wheel)
[record] = [name for name in archive.namelist() if name.endswith("/RECORD")]
listed = dict(line.rsplit(",", 2)[:2] for line in archive.read(record).decode().splitlines())
assert set(listed) == set(archive.namelist()), listed
for name, digest in listed.items():
    want = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
    assert name == record or digest == f"sha256={want}", name
P
# answers FOLDER COMMAND...: the program that this command starts serves and answers, and ends with the command.
answers() {
    local at=$1 port began; shift
    mkdir -p "$at"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    (cd "$at" && export PILOTHOUSE_SERVER_PORT="$port" && exec timeout 120 "$@" serve --agent demo) >"$at/served" 2>&1 & server=$!
    began=$SECONDS
    until (cd "$at" && PILOTHOUSE_SERVER_PORT=$port "$@" healthcheck >/dev/null 2>&1); do
        [ $((SECONDS - began)) -lt 60 ] && kill -0 "$server" || { cat "$at/served"; return 1; }
    done
    (cd "$at" && PILOTHOUSE_SERVER_PORT=$port "$@" send hello) | grep -q 'You said: hello' || { cat "$at/served"; return 1; }
    kill "$server"; wait "$server"; server=
    ! (cd "$at" && PILOTHOUSE_SERVER_PORT=$port "$@" healthcheck >/dev/null 2>&1)
}
if [ -n "${PILOTHOUSE_BIN:-}" ]; then
    "$here/tests/install/registry.py" "$packed" >"$work/registry" & registry=$!
    until [ -s "$work/registry" ] || ! kill -0 "$registry"; do sleep 0.1; done
    registry_at=$(cat "$work/registry")
    mkdir "$work/user"
    command -v bwrap >/dev/null || export PILOTHOUSE_ISOLATION_BACKEND=none
    fresh=(env -u XDG_STATE_HOME -u XDG_CACHE_HOME -u XDG_DATA_HOME "HOME=$work/user")
    "${fresh[@]}" python3 -m venv "$work/user/python"
    check "pip installs the wheel" "${fresh[@]}" "$work/user/python/bin/pip" install --quiet --index-url "$registry_at/simple" pilothouse
    check "and it is the program, which serves and answers" answers "$work/user/at-pip" "${fresh[@]}" "$work/user/python/bin/pilothouse"
    check "and removes it" sh -c "HOME='$work/user' '$work/user/python/bin/pip' uninstall --quiet --yes pilothouse && [ ! -e '$work/user/python/bin/pilothouse' ]"
    pipx=$here/.tools/pipx
    export PIPX_SHARED_LIBS=$pipx/shared # its own pip, which is no part of this
    if [ -d "$pipx/shared" ] || { python3 -m venv "$pipx" && "$pipx/bin/pip" install --quiet 'pipx==1.*' && "$pipx/bin/pipx" upgrade-shared; } >"$work/venv" 2>&1; then
        check "pipx run pilothouse --version" sh -c "cd '$work/user' && [ \"\$(HOME='$work/user' '$pipx/bin/pipx' run --index-url '$registry_at/simple' pilothouse --version)\" = 'pilothouse $version' ]"
    else
        rm -rf "$pipx"
        skip "pipx run" "pipx could not be installed"
    fi
    if command -v npx >/dev/null; then
        from_npm=("${fresh[@]}" "npm_config_registry=$registry_at" npm_config_update_notifier=false npm_config_audit=false npm_config_fund=false)
        check "npx pilothouse serves and answers, and ends with npx" answers "$work/user/at-npx" "${from_npm[@]}" npx --yes pilothouse
        check "npm installs it" "${from_npm[@]}" npm install --silent --global --prefix "$work/user/node" pilothouse
        check "and the program of this machine alone, which is that of the release" sh -c "cmp '$binary' '$work/user/node/lib/node_modules/pilothouse/node_modules/'pilothouse-linux-*/bin/pilothouse"
        "$work/user/node/bin/pilothouse" tasks get 00000000 --url http://127.0.0.1:1/ --token none >/dev/null 2>&1; code=$?
        "$PILOTHOUSE_BIN" tasks get 00000000 --url http://127.0.0.1:1/ --token none >/dev/null 2>&1
        check "its exit code is that of the program ($code)" test $? -eq $code -a $code -ne 0
        check "and npm removes it" sh -c "HOME='$work/user' npm uninstall --silent --global --prefix '$work/user/node' pilothouse && [ ! -e '$work/user/node/bin/pilothouse' ]"
        mkdir "$work/lonely"; tar -xzf "$packed/pilothouse-npm-$version.tgz" -C "$work/lonely"
        check "without the package of the machine it says which is missing" sh -c "! HOME='$work/user' node '$work/lonely/package/bin/pilothouse.js' 2>'$work/said' && grep -q 'the package pilothouse-linux-.* is not installed' '$work/said'"
    else
        skip "npx, npm" "npx is not installed"
    fi
    kill "$registry"; wait "$registry" 2>/dev/null; registry=
else
    skip "pip, pipx, npx, npm" "no PILOTHOUSE_BIN"
fi

# --- the documents: their blocks as they stand there ---
for document in installation releasing; do tests/install/blocks.sh docs/$document.md "$work/blocks/$document"; done
# Those of `systemd` and below are run in an emulated machine by tools/test-vm.sh.
blocks=$(cd "$work/blocks" && find . -name '*.sh' ! -name 'systemd-*' ! -name 'remove-it-*' | sort | tr '\n' ' ')
check "the blocks that may be run are those that are run here" test "$blocks" = \
    "./installation/a-first-message-1.sh ./installation/a-released-binary-2.sh ./installation/a-released-binary-3.sh ./installation/which-agent-1.sh ./releasing/making-one-1.sh "
# doc DOCUMENT BLOCK: in a home and a folder of its own.
doc() { (cd "$work/at" && timeout 60 bash -e -o pipefail "$work/blocks/$1/$2.sh"); }
if [ -n "${PILOTHOUSE_BIN:-}" ] && [ "$arch" = x86_64 ]; then
    export HOME=$work/reader
    mkdir -p "$HOME" "$work/at"
    cp "$release"/* "$work/at/"
    PATH=$HOME/.local/bin:$PATH
    unset XDG_STATE_HOME
    PILOTHOUSE_SERVER_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export PILOTHOUSE_SERVER_PORT
    # Whether there is a wall here is not the matter of these blocks.
    command -v bwrap >/dev/null || export PILOTHOUSE_ISOLATION_BACKEND=none
    check "docs/installation.md: by hand" doc installation a-released-binary-2
    check "docs/installation.md: completions" doc installation a-released-binary-3
    check "and they are completions" grep -q 'complete .*pilothouse' "$HOME/.local/share/bash-completion/completions/pilothouse"
    (cd "$work/at" && exec timeout 120 pilothouse serve --agent demo) >"$work/served" 2>&1 & server=$!
    for _ in $(seq 100); do pilothouse healthcheck 2>/dev/null && break; sleep 0.2; done
    check "docs/installation.md: a first message" doc installation a-first-message-1
    check "docs/installation.md: doctor" doc installation which-agent-1
    check "the server was there" kill -0 "$server"
    kill "$server" && wait "$server"; server=
    export HOME=${REAL_HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
    export BINARY=$PILOTHOUSE_BIN OUT=$work/out
    check "docs/releasing.md: the steps" bash -e -o pipefail "$work/blocks/releasing/making-one-1.sh"
    check "and what they made fits together" sh -c "cd '$OUT' && sha256sum --quiet -c SHA256SUMS && [ \$(wc -l <SHA256SUMS) -eq 7 ]"
else
    skip "docs/installation.md and docs/releasing.md, their blocks" "needs PILOTHOUSE_BIN, for x86_64"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
