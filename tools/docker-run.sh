#!/bin/sh
# Runs the agent image here: takes in .env, works in ./workspace, prints the token and a curl line, shows the log.
# Ctrl-C ends it; running turns get their last word.
# Usage: tools/docker-run.sh [OPTIONS OF serve]
#   IMAGE=pilothouse-agent:latest  NAME=pilothouse  PORT=2222  VOLUME=pilothouse-state
#   NETWORK=...   instead of a published port: host, or container:NAME
#   DETACH=1      leaves it running in the background
#   DOCKER=docker or podman
set -eu
image=${IMAGE:-pilothouse-agent:latest}
name=${NAME:-pilothouse}
port=${PORT:-2222}
volume=${VOLUME:-pilothouse-state}
docker=${DOCKER:-docker}
user=$(id -u)
url=http://127.0.0.1:$port

fail() { echo "docker-run: $*" >&2; exit 1; }

$docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image; make docker-build builds it"
mkdir -p workspace
# As the one who calls, so that the files in ./workspace are his; with group 0, which may write the image's folders.
if [ "$user" -eq 0 ]; then
    user=10001
    [ "$(stat -c %u workspace)" -eq $user ] || [ -n "$(ls -A workspace)" ] || chown $user:0 workspace
    [ "$(stat -c %u workspace)" -eq $user ] || fail "the image's user cannot write ./workspace; chown -R $user ./workspace, or run this as an ordinary user"
fi

set -- serve --host 0.0.0.0 --port 2222 --workspace /workspace --state-dir /var/lib/pilothouse "$@"
set -- "$image" "$@"
# Mounted, not passed as variables: the server reads .env by its own rules, and a variable of this shell stays out.
for file in .env pilothouse.yaml .claude-code-agent.yaml .init-session.sh; do
    [ -f "$file" ] || continue
    if [ "$user" -ne "$(stat -c %u "$file")" ] && [ -z "$(find "$file" -prune -perm -004)" ]; then
        fail "the image's user cannot read $file; chown $user $file, or run this as an ordinary user"
    fi
    set -- -v "$PWD/$file:/etc/pilothouse/$file:ro" "$@"
done
# Those files are of this folder, not of the image: `PILOTHOUSE_TRUST_FOLDER=1 make docker-run` accepts what weakens.
set -- -e "PILOTHOUSE_TRUST_FOLDER=${PILOTHOUSE_TRUST_FOLDER:-}" "$@"
for variable in ANTHROPIC_API_KEY ANTHROPIC_AUTH_TOKEN ANTHROPIC_BASE_URL API_TOKEN; do
    eval "value=\${$variable:-}"
    [ -z "$value" ] || set -- -e "$variable" "$@"
done
if [ -n "${NETWORK:-}" ]; then
    set -- --network "$NETWORK" "$@"
    url=http://127.0.0.1:2222
else
    set -- -p "127.0.0.1:$port:2222" "$@"
fi

$docker rm "$name" >/dev/null 2>&1 || true
$docker run -d --name "$name" --user "$user:0" --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \
    --pids-limit 2048 --stop-timeout 30 -v "$PWD/workspace:/workspace" -v "$volume:/var/lib/pilothouse" "$@" >/dev/null

# A signal is only noted, so that a second one cannot leave the container behind.
over=
trap 'over=1' INT TERM
end() {
    trap - EXIT
    $docker stop "$name" >/dev/null 2>&1 || true
    $docker rm -f "$name" >/dev/null 2>&1 || true
}
trap end EXIT

tries=0
until $docker exec "$name" pilothouse healthcheck >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ "$($docker inspect -f '{{.State.Running}}' "$name")" != true ] || [ $tries -gt 120 ]; then
        $docker logs "$name" >&2
        fail "it did not start"
    fi
    [ -z "$over" ] || exit 130
    sleep 0.25
done
token=$($docker logs "$name" 2>&1 | sed -n 's/^ *TOKEN=//p' | tail -n 1)
# It is told when it is made; later it stands in the state folder alone.
[ -n "$token" ] || token=$($docker exec "$name" cat /var/lib/pilothouse/token 2>/dev/null || true)
if [ -n "$token" ]; then
    echo "TOKEN=$token"
else
    echo "the token is the configured one (API_TOKEN, or auth.token)"
fi
echo "curl -s $url/ -H \"Authorization: Bearer \$TOKEN\" -H 'Content-Type: application/json' -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"SendMessage\",\"params\":{\"message\":{\"messageId\":\"m1\",\"role\":\"ROLE_USER\",\"parts\":[{\"text\":\"hello\"}]}}}'"
if [ -n "${DETACH:-}" ]; then
    trap - EXIT
    echo "it runs as container $name; $docker stop $name ends it"
    exit 0
fi
# In the background, because a shell obeys no signal while it waits for a program in front.
$docker logs -f "$name" &
[ -n "$over" ] || wait $! || true
[ -z "$over" ] || echo "docker-run: ending running turns" >&2
