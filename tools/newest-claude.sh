#!/bin/sh
# Runs the newest Claude Code of the registry beside the pinned one: prints what it says differently of itself and
# which tests end differently. Fails where a test that passes with the pinned one fails with the newest.
# Usage: tools/newest-claude.sh
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

pinned=$(tools/claude.sh)
newest=$(tools/claude.sh newest)
version() { "$1" --version | cut -d' ' -f1; }
if [ "$(version "$pinned")" = "$(version "$newest")" ]; then
    echo "Claude Code $(version "$pinned") is pinned and the newest"
    exit
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# What a version says of itself: its options, its commands and subagents, its capabilities; and how each test ends.
describe() {
    mkdir "$folder/home"
    "$1" --help | grep -oE -- '--[a-z][a-z-]+' | sed 's/^/option /'
    echo '{"type":"control_request","request_id":"ahead","request":{"subtype":"initialize"}}' |
        env -i PATH="$PATH" HOME="$folder/home" CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 \
            "$1" -p --input-format stream-json --output-format stream-json --verbose |
        node -e '
            const lines = require("fs").readFileSync(0, "utf8").trim().split("\n").map((line) => JSON.parse(line));
            const said = lines.find((line) => line.type === "control_response").response.response;
            for (const { name } of said.commands) console.log("command " + name);
            for (const { name } of said.agents) console.log("subagent " + name);
            for (const name of said.capabilities ?? []) console.log("capability " + name);
            for (const name of Object.keys(said)) console.log("answers " + name);'
    rm -rf "$folder/home"
    PILOTHOUSE_TEST_CLAUDE=$1 "$cargo" test --quiet -p pilothouse --test it -- claude:: --format=pretty 2>"$folder/errors" |
        sed -nE 's/^test (claude::[^ ]+) \.\.\. (ok|FAILED).*/test \1 \2/p'
}

"$cargo" build --quiet -p fake-agent
for program in "$pinned" "$newest"; do
    echo "== Claude Code $(version "$program")" >&2
    describe "$program" | sort -u >"$folder/$(version "$program")"
done
cd "$folder"
echo "Claude Code $(version "$pinned") is pinned, $(version "$newest") is the newest"
diff "$(version "$pinned")" "$(version "$newest")" | sed -n -e 's/^< /gone: /p' -e 's/^> /new:  /p' || true
grep -q '^test ' "$(version "$newest")" || { cat errors >&2; exit 1; }
! comm -13 "$(version "$pinned")" "$(version "$newest")" | grep -q '^test .* FAILED$'
