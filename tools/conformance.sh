#!/bin/sh
# Runs a public conformance kit against a server of its own with the scripted agent, and sums up (docs/conformance.md).
# Usage: make conformance TCK=CHECKOUT PYTHON=PYTHON [KIT=1.0|0.3] [ARGS="pytest arguments"]
#   PILOTHOUSE  the server to test; without it a release build is made
#   TRANSPORTS  kit 0.3: the bindings that each category runs over ("jsonrpc rest grpc")
#   TIMEOUT     seconds a test may take (60)
#   OUT         folder for the logs and reports; without it a temporary one, kept where something failed
# Exit code: 0 where the kit ran and nothing failed but what tests/conformance/known-KIT.txt lists; else 1, or 64 for a mistake in the call.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
tck=${TCK:-} python=${PYTHON:-python3} kit=${KIT:-1.0} timeout=${TIMEOUT:-60}
transports=${TRANSPORTS:-jsonrpc rest grpc}
cargo=${CARGO:-cargo} target=${CARGO_TARGET_DIR:-target}
server=

misused() { echo "conformance: $*" >&2; exit 64; }
fail() { echo "conformance: $*" >&2; exit 1; }

[ -n "$tck" ] || misused "TCK must name a checkout of the kit"
[ -d "$tck/tests" ] || misused "$tck has no folder tests; is it a checkout of the kit?"
case $kit in
    1.0) [ -d "$tck/tests/compatibility" ] || misused "$tck is no kit 1.0 (no tests/compatibility)" ;;
    0.3) [ -d "$tck/tests/mandatory" ] || misused "$tck is no kit 0.3 (no tests/mandatory)" ;;
    *) misused "KIT must be 1.0 or 0.3" ;;
esac
"$python" -c 'import pytest, pytest_timeout' 2>/dev/null || misused "$python lacks pytest or pytest-timeout; see docs/conformance.md"

# The server and the agent.
if [ -z "${PILOTHOUSE:-}" ]; then
    "$cargo" build --release --quiet || fail "the server does not build"
    PILOTHOUSE=$target/release/pilothouse
fi
"$cargo" build --quiet -p conformance-agent || fail "the scripted agent does not build"
agent=$(cd "$target/debug" && pwd)/conformance-agent
[ -x "$PILOTHOUSE" ] || misused "$PILOTHOUSE is no program"
PILOTHOUSE=$(cd "$(dirname "$PILOTHOUSE")" && pwd)/$(basename "$PILOTHOUSE")

scratch=$(mktemp -d) || exit 1
stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; server=; }
    rm -rf "$scratch"
}
trap stop EXIT
trap 'exit 130' INT TERM
out=${OUT:-$(mktemp -d)}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1

# What the kits presuppose: no authentication, a webhook on loopback, as many requests as they like.
# Kit 1.0 refuses a card with members it does not know; kit 0.3 looks for the older ones.
# The tests of kit 0.3 speak again to every task, and most of them as soon as it has answered.
if [ "$kit" = 1.0 ]; then
    card=v1 agent_args='[]' v03='{}'
else
    card=hybrid agent_args='[--leave-open]' v03='{blocking_default: false, grpc_urls: true}'
fi
cat >"$scratch/pilothouse.yaml" <<END
server: {port: 0}
isolation: {backend: none}
auth: {required: false}
state_dir: "$scratch/state"
workspace: {path: "$scratch/workspace"}
limits: {rate: 0}
log: {console: false}
audit: off
card: {default: $card, bindings: [JSONRPC, HTTP+JSON, GRPC]}
push: {allow: ["127.0.0.0/8", "::1"]}
compat: {v03: $v03}
agent: tck
agents:
  tck:
    driver: command
    program: "$agent"
    args: $agent_args
    input: stdin
    format: events
    replies: message
END
# An empty environment and a folder of its own: nothing of the user's settings takes part.
mkdir "$scratch/home"
(cd "$scratch/home" && exec env -i PATH="$PATH" HOME="$scratch/home" "$PILOTHOUSE" serve --config "$scratch/pilothouse.yaml") \
    >"$out/server.log" 2>&1 &
server=$!
url=
tries=0
while [ -z "$url" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$out/server.log" >&2; fail "the server ended"; }
    url=$(sed -nE 's|^pilothouse: serving tck at (http://[^ ]*[^ /])/?$|\1|p' "$out/server.log")
    [ -n "$url" ] && break
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { cat "$out/server.log" >&2; fail "the server does not say where it serves"; }
    sleep 0.1
done

# pytest_run NAME ARGUMENTS...: one run of the kit, its report in $out/NAME.xml.
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export PYTHONDONTWRITEBYTECODE=1 TCK_STREAMING_TIMEOUT="${TCK_STREAMING_TIMEOUT:-5.0}"
reports=
pytest_run() {
    name=$1; shift
    reports="$reports $name"
    # The arguments of the caller are split into words on purpose.
    # shellcheck disable=SC2086
    (cd "$tck" && exec "$python" -m pytest "$@" --tb=short -q --timeout="$timeout" -p no:cacheprovider \
        -o junit_family=xunit1 --junitxml="$out/$name.xml" ${ARGS:-}) >"$out/$name.log" 2>&1
    code=$?
    # 0 all passed, 1 some failed, 5 none selected; the rest means that pytest itself did not get through.
    case $code in
        0 | 1 | 5) ;;
        *) tail -n 20 "$out/$name.log" >&2; fail "the kit did not run to its end ($name, pytest says $code)" ;;
    esac
}

if [ "$kit" = 1.0 ]; then
    pytest_run compatibility tests/compatibility/ --sut-host="$url" --compatibility-report="$out/compatibility"
else
    for transport in $transports; do
        set -- --sut-url="$url/" --test-scope=all --transports="$transport"
        # What is said of JSON-RPC itself is tested over JSON-RPC alone.
        if [ "$transport" = jsonrpc ]; then
            pytest_run "mandatory-$transport" tests/mandatory/ -m "mandatory_jsonrpc or mandatory_protocol" "$@"
        else
            pytest_run "mandatory-$transport" tests/mandatory/protocol/ -m mandatory_protocol "$@"
        fi
        pytest_run "capabilities-$transport" tests/optional/capabilities/ "$@"
        pytest_run "quality-$transport" tests/optional/quality/ "$@"
        pytest_run "features-$transport" tests/optional/features/ "$@"
    done
    pytest_run equivalence tests/optional/multi_transport/ -m transport_equivalence --sut-url="$url/" --test-scope=all
fi

kill -0 "$server" 2>/dev/null || { tail -n 20 "$out/server.log" >&2; fail "the server ended during the kit"; }

# shellcheck disable=SC2086
"$python" - "$out" "$root/tests/conformance/known-$kit.txt" $reports <<'END'
import pathlib
import sys
import xml.etree.ElementTree as xml

out, known_file = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
lines = known_file.read_text().splitlines() if known_file.exists() else []
known = {line.strip() for line in lines if line.strip() and not line.startswith("#")}
total = {"passed": 0, "failed": 0, "skipped": 0}
failed, unmet, passed = [], [], set()


def name_of(case):
    file = case.get("file", "")
    inside = case.get("classname", "").removeprefix(file.removesuffix(".py").replace("/", "."))
    return "::".join([file, *filter(None, inside.split(".")), case.get("name", "")])


reports = [out / f"{name}.xml" for name in sys.argv[3:]]
for report in reports:
    counts = dict.fromkeys(total, 0)
    for case in xml.parse(report).iter("testcase"):
        name = name_of(case) if len(reports) == 1 else f"{report.stem} {name_of(case)}"
        skip = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
            failed.append(name)
        elif skip is None:
            counts["passed"] += 1
            passed.add(name)
        else:
            counts["skipped"] += 1
            if skip.get("type") == "pytest.xfail":
                unmet.append(name)
    for key in total:
        total[key] += counts[key]
    if len(reports) > 1:
        print(f"  {report.stem:<24}", ", ".join(f"{counts[key]:3} {key}" for key in total))

for name in unmet:
    print("NOT MET (the kit tolerates it)", name)
for name in failed:
    print("KNOWN" if name in known else "FAILED", name)
for name in sorted(known & passed):
    print("no longer fails, strike it from", f"{known_file.parent.name}/{known_file.name}:", name)
new = [name for name in failed if name not in known]
if failed:
    print(f"{len(failed) - len(new)} of the failures are known, {len(new)} are not")
print(", ".join(f"{total[key]} {key}" for key in total))
sys.exit(1 if new or not any(total.values()) else 0)
END
code=$?
if [ -z "${OUT:-}" ] && [ "$code" -eq 0 ]; then rm -rf "$out"; else echo "logs and reports: $out" >&2; fi
exit "$code"
