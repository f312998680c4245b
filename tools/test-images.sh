#!/usr/bin/env bash
# Builds both images on a base that is made here, with an engine that is started here, and runs what they promise.
# Needs root on Debian (it installs the engine's packages where they are missing) and what the binary is compiled with.
# No packet leaves loopback but for the packages. Usage: tools/test-images.sh
#   PILOTHOUSE_IMAGES_BINARY=FILE  a static binary that is there already
#   PILOTHOUSE_IMAGES_MODEL=FILE   the static program of tests/model
#   PILOTHOUSE_IMAGES_SUITE=trixie the Debian of the base image
#   PILOTHOUSE_IMAGES_DIR=DIR      where the engine keeps its data; kept, so that the next run finds its layers
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
suite=${PILOTHOUSE_IMAGES_SUITE:-trixie}
passed=0 failed=0 skipped=0 table=
hard=(--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --pids-limit 2048)

fail() { echo "test-images: $*" >&2; exit 1; }
say() { printf '\n== %s\n' "$*"; }
ok() { passed=$((passed + 1)); echo "  ok   $1"; }
bad() { failed=$((failed + 1)); echo "  FAIL $1"; shift; [ $# -eq 0 ] || printf '%s\n' "$@" | tail -n 30 | sed 's/^/       /'; }
skip() { skipped=$((skipped + 1)); echo "  skip $1"; }
# is WHAT WANTED SEEN: one fact.
is() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "wanted: $2" "seen:   $3"; fi; }
# has WHAT PATTERN TEXT
has() { if grep -qE -- "$2" <<<"$3"; then ok "$1"; else bad "$1" "wanted: $2" "seen:   $3"; fi; }
note() { table+=$(printf '  %-52s %s' "$1" "$2")$'\n'; }
now() { date +%s%N; }
since() { awk -v n=$(($(now) - $1)) 'BEGIN {printf "%.2f s", n / 1e9}'; }

[ "$(id -u)" -eq 0 ] || fail "needs root: it starts a container engine"
[ -f /etc/debian_version ] || fail "needs Debian: it makes the base image with debootstrap"

# === the engine ===

packages=()
command -v dockerd >/dev/null || packages+=(docker.io)
command -v docker >/dev/null || packages+=(docker.io)
command -v docker-compose >/dev/null || packages+=(docker-compose)
command -v debootstrap >/dev/null || packages+=(debootstrap)
command -v nsenter >/dev/null || packages+=(util-linux)
command -v python3 >/dev/null || packages+=(python3)
command -v curl >/dev/null || packages+=(curl)
if [ ${#packages[@]} -gt 0 ]; then
    say "packages: ${packages[*]}"
    apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        fail "the packages could not be installed"
fi

work=$(mktemp -d /var/tmp/pilothouse-images.XXXXXX) || exit 1
data=${PILOTHOUSE_IMAGES_DIR:-$work/data}
mkdir -p "$data" "$work/exec"
export DOCKER_HOST=unix://$work/docker.sock DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0
unset DOCKER_CONTEXT
helpers=()

clean() {
    trap - EXIT INT TERM
    for helper in "${helpers[@]}"; do kill "$helper" 2>/dev/null; done
    if [ -n "${engine:-}" ] && kill -0 "$engine" 2>/dev/null; then
        # Containers and volumes go, images stay where the data stays.
        containers=$(docker ps -aq 2>/dev/null)
        # shellcheck disable=SC2086 # several
        [ -z "$containers" ] || docker rm -f $containers >/dev/null 2>&1
        volumes=$(docker volume ls -q 2>/dev/null)
        # shellcheck disable=SC2086 # several
        [ -z "$volumes" ] || docker volume rm $volumes >/dev/null 2>&1
        kill "$engine"
        for _ in $(seq 100); do kill -0 "$engine" 2>/dev/null || break; sleep 0.2; done
    fi
    grep -oE " $work/[^ ]*" /proc/self/mounts | sort -r | while read -r mount; do umount "$mount" 2>/dev/null; done
    # One file system: a mount that would not go is not emptied.
    rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

say "engine"
cat >"$work/daemon.json" <<EOF
{"data-root": "$data", "exec-root": "$work/exec", "pidfile": "$work/docker.pid", "hosts": ["unix://$work/docker.sock"],
 "bridge": "none", "iptables": false, "ip-forward": false}
EOF
dockerd --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 &
engine=$!
for _ in $(seq 150); do
    docker info >/dev/null 2>&1 && break
    kill -0 "$engine" 2>/dev/null || { tail -n 20 "$work/dockerd.log"; fail "the engine ended"; }
    sleep 0.2
done
docker info >/dev/null 2>&1 || { tail -n 20 "$work/dockerd.log"; fail "the engine did not answer in 30 s"; }
docker version --format '  engine {{.Server.Version}}, client {{.Client.Version}}, kernel {{.Server.KernelVersion}}'
docker info --format '  security: {{.SecurityOptions}}; cgroups: {{.CgroupVersion}} ({{.CgroupDriver}}); storage: {{.Driver}}' 2>/dev/null

# === the base and the images ===

if ! docker image inspect pilothouse-base:test >/dev/null 2>&1; then
    say "base image: Debian $suite"
    began=$(now)
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" >"$work/debootstrap.log" 2>&1 ||
        { tail -n 5 "$work/debootstrap.log"; fail "debootstrap failed"; }
    # The authorities that this machine trusts beside the usual ones: packages may come through them.
    if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
        cp /usr/local/share/ca-certificates/*.crt "$work/root/usr/local/share/ca-certificates/"
        chroot "$work/root" update-ca-certificates >/dev/null 2>&1
    fi
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    tar -C "$work/root" -c . | docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' --change 'CMD ["bash"]' - pilothouse-base:test >/dev/null ||
        fail "the base could not be imported"
    rm -rf --one-file-system "$work/root"
    note "base image made" "$(since "$began")"
fi

say "binary"
began=$(now)
BINARY=${PILOTHOUSE_IMAGES_BINARY:-} tools/docker-build.sh binary || fail "the static binary could not be built"
[ -n "${PILOTHOUSE_IMAGES_BINARY:-}" ] || note "static binary built" "$(since "$began")"
cp target/image/pilothouse "$work/pilothouse"
bin=$work/pilothouse
if [ -n "${PILOTHOUSE_IMAGES_MODEL:-}" ]; then
    cp "$PILOTHOUSE_IMAGES_MODEL" "$work/model"
else
    target=$(uname -m)-unknown-linux-gnu
    RUSTFLAGS="-C target-feature=+crt-static" ${CARGO:-cargo} build --release --locked --target "$target" -p fake-model || fail "the model could not be built"
    cp "${CARGO_TARGET_DIR:-target}/$target/release/fake-model" "$work/model"
fi
chmod 0755 "$work/model"
note "static binary" "$(stat -c %s "$bin" | awk '{printf "%.1f MB", $1 / 1e6}')"

for image in server agent; do
    say "build: pilothouse-$image, legacy builder"
    began=$(now)
    if BINARY=$bin TAG=test BASE=pilothouse-base:test timeout 900 tools/docker-build.sh "$image" --network host >"$work/build.log" 2>&1; then
        ok "pilothouse-$image is built"
        note "pilothouse-$image built" "$(since "$began")"
    else
        bad "pilothouse-$image is built" "$(tail -n 30 "$work/build.log")"
        fail "without images there is nothing to run"
    fi
    size=$(docker image inspect -f '{{.Size}}' "pilothouse-$image:test")
    note "pilothouse-$image" "$(awk -v n="$size" 'BEGIN {printf "%.1f MB", n / 1e6}')"
done
note "base image" "$(docker image inspect -f '{{.Size}}' pilothouse-base:test | awk '{printf "%.1f MB", $1 / 1e6}')"
size=$(docker image inspect -f '{{.Size}}' pilothouse-server:test)
if [ "$size" -le 25000000 ]; then ok "the server image has at most 25 MB"; else bad "the server image has at most 25 MB" "$size bytes"; fi

# === helpers for running containers ===

pid() { docker inspect -f '{{.State.Pid}}' "$1"; }
# inside COMMAND...: a program of this machine in the containers' network, which is loopback alone.
inside() { timeout 120 nsenter -t "$(pid net)" -n -- "$@"; }
client() { inside "$bin" "$@" --url http://127.0.0.1:2222 --token tok; }
# await SECONDS COMMAND...: until it succeeds.
await() {
    local end=$(($(date +%s) + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.1
    done
}
answers() { inside "$bin" healthcheck --url http://127.0.0.1:2222; }
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$1")" = healthy ]; }
# start NAME OPTIONS...: a container as users are told to run it, until it answers; its time is noted.
start() {
    local name=$1 from; shift
    from=$(now)
    docker run -d --name "$name" "${hard[@]}" --network container:net --health-interval 1s --stop-timeout 30 -e API_TOKEN=tok "$@" >/dev/null ||
        { bad "$name starts"; return 1; }
    if await 30 answers; then ok "$name starts and answers"; else bad "$name starts and answers" "$(docker logs "$name" 2>&1)"; return 1; fi
    note "$name: docker run to answer" "$(since "$from")"
    return 0
}
# wall NAME: that it runs with nothing that it does not need, as the kernel says it.
wall() {
    local name=$1 process status root
    process=$(pid "$name")
    status=$(cat "/proc/$process/status")
    is "$name runs as 10001" "10001 10001 10001 10001" "$(awk '/^Uid:/ {print $2, $3, $4, $5}' <<<"$status")"
    is "$name has no capability" "0" "$(awk '/^Cap/ {print $2}' <<<"$status" | sort -u | sed 's/^0*$/0/')"
    is "$name gets no new privileges" "1" "$(awk '/^NoNewPrivs:/ {print $2}' <<<"$status")"
    is "$name is under the engine's seccomp filter" "2" "$(awk '/^Seccomp:/ {print $2}' <<<"$status")"
    root=$(awk '$5 == "/" {print $6}' "/proc/$process/mountinfo")
    has "$name has a read-only root" '^ro(,|$)' "$root"
}
# zombies NAME: those of the container's process namespace. `docker top` does not show them.
zombies() {
    local space process count=0
    space=$(readlink "/proc/$(pid "$1")/ns/pid")
    for process in /proc/[0-9]*; do
        [ "$(readlink "$process/ns/pid" 2>/dev/null)" = "$space" ] || continue
        grep -q '^State:.Z' "$process/status" 2>/dev/null && count=$((count + 1))
    done
    echo "$count"
}
settled() { [ "$(zombies "$1")" = 0 ]; }
# ark ARGUMENTS...: the Ark-like client; its counts are ours.
ark() {
    local out counts
    printf 'Bearer tok\n' >"$work/secret"
    out=$(inside python3 tests/images/ark_client.py http://127.0.0.1:2222 --header-file "Authorization=$work/secret" "$@" 2>&1)
    sed 's/^/  /' <<<"$out" | grep -vE '^ *ark client:'
    counts=$(sed -nE 's/^ark client: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' <<<"$out")
    if [ -z "$counts" ]; then bad "the Ark-like client runs to its end"; return; fi
    passed=$((passed + ${counts% *})) failed=$((failed + ${counts#* }))
}
# fifty CONTAINER AGENT: fifty turns, five at a time; then nothing is left unreaped.
fifty() {
    local name=$1 agent=$2 from done_turns
    from=$(now)
    done_turns=$(seq 50 | timeout 300 xargs -P 5 -I{} nsenter -t "$(pid net)" -n -- \
        sh -c '"$1" send --url http://127.0.0.1:2222 --token tok --agent "$2" "turn {}" >/dev/null 2>&1 && echo completed' sh "$bin" "$agent" | grep -c completed)
    is "fifty turns of $agent complete" 50 "$done_turns"
    note "$name: fifty turns of $agent, five at a time" "$(since "$from")"
    if await 10 settled "$name"; then ok "no zombie after them"; else bad "no zombie after them" "$(zombies "$name")"; fi
}
child() { awk '{print $1}' "/proc/$1/task/$1/children"; }
# orphaned NAME: a supervisor of a running turn is killed from outside; what was below it falls to process 1.
orphaned() {
    local name=$1 supervisor agent
    client send --no-wait --agent demo "$(seq 1 150 | tr '\n' ' ')" >/dev/null 2>&1
    sleep 0.4
    # tini, pilothouse, the launcher, the supervisor, the agent.
    supervisor=$(child "$(child "$(child "$(pid "$name")")")")
    agent=$(child "$supervisor")
    if ! kill -9 "$supervisor" || [ ! -d "/proc/$agent" ]; then bad "a supervisor of $name is killed" "$(ps -ef --forest)"; return; fi
    # The demo agent talks for about two seconds more, then it has ended and was waited for.
    if await 15 test ! -d "/proc/$agent"; then ok "what a killed supervisor of $name leaves is taken in"; else bad "what a killed supervisor of $name leaves is taken in" "$(head -n 8 "/proc/$agent/status")"; fi
}
id_of() { grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' <<<"$1" | head -n 1; }

# The network of all: loopback and nothing else. The model holds it open, so that containers may come and go.
docker run -d --name net "${hard[@]}" --network none -v "$work/model:/model:ro" --entrypoint /model pilothouse-server:test --port 8900 --max-seconds 3000 >/dev/null ||
    fail "the model does not start"

# === the server image ===

say "the server image: the demo agent, pilothouse as process 1"
if start server -v server-state:/var/lib/pilothouse -v server-workspace:/workspace pilothouse-server:test; then
    wall server
    is "process 1 is pilothouse" "pilothouse" "$(cat "/proc/$(pid server)/comm")"
    if docker exec server /bin/sh -c true >/dev/null 2>&1; then bad "it has no shell"; else ok "it has no shell"; fi
    if await 20 healthy server; then ok "its health check says healthy"; else bad "its health check says healthy" "$(docker inspect -f '{{json .State.Health}}' server)"; fi
    out=$(docker exec server pilothouse send hello 2>&1)
    has "a client inside finds server and token by itself" '^You said: hello' "$out"
    ark --large --ask ask
    fifty server demo
    task=$(id_of "$(client send --no-wait "$(seq 1 200 | tr '\n' ' ')" 2>/dev/null)")
    sleep 0.5
    began=$(now)
    docker stop server >/dev/null
    note "server: docker stop with a running turn" "$(since "$began")"
    is "docker stop ends it in order" "0" "$(docker inspect -f '{{.State.ExitCode}}' server)"
    docker start server >/dev/null
    await 30 answers
    out=$(client tasks get --json "$task" 2>&1)
    has "the turn that was running is failed, and says why" 'server stopped while this task was running' "$out"
    for signal in INT HUP; do
        docker kill -s $signal server >/dev/null
        is "SIG$signal ends it in order" "0" "$(timeout 30 docker wait server)"
        docker start server >/dev/null
        await 30 answers
    done
    docker kill server >/dev/null
    docker start server >/dev/null
    if await 30 answers; then ok "it starts again after SIGKILL"; else bad "it starts again after SIGKILL" "$(docker logs --tail 20 server 2>&1)"; fi
    out=$(client tasks list --limit 500 2>&1 | grep -c completed)
    if [ "$out" -ge 50 ]; then ok "its tasks are still there"; else bad "its tasks are still there" "$out completed"; fi
fi
docker rm -f server >/dev/null 2>&1
if start server --init pilothouse-server:test; then orphaned server; fi
docker rm -fv server >/dev/null 2>&1

say "names: the static binary's resolver"
docker run -d --name names "${hard[@]}" --network none --add-host hosts.test:127.0.0.1 --dns 127.0.0.1 \
    -e PILOTHOUSE_SERVER_ALLOWED_HOSTS=hosts.test,dns.test pilothouse-server:test >/dev/null
# With an end of its own, so that nothing stays if this script is killed.
nsenter -t "$(pid names)" -n -- python3 tests/images/names.py dns.test 127.0.0.1 60 >"$work/names.log" 2>&1 &
helpers+=("$!")
await 10 grep -q ready "$work/names.log"
await 20 docker exec names pilothouse healthcheck
for name in hosts dns; do
    out=$(docker exec names pilothouse healthcheck --url "http://$name.test:2222" 2>&1)
    is "a name from $([ $name = hosts ] && echo /etc/hosts || echo a name server) is found" "0: " "$?: $out"
done
out=$(docker exec names pilothouse healthcheck --url http://other.test:2222 2>&1)
has "an unknown name is said to be one" 'other.test' "$out"
docker rm -f names >/dev/null

# === the agent image ===

say "the agent image: Claude Code and the demo agent, tini as process 1"
claude_options=(-v agent-state:/var/lib/pilothouse -v agent-workspace:/workspace -v "$PWD/tests/images/pilothouse.yaml:/etc/pilothouse/pilothouse.yaml:ro"
    -e ANTHROPIC_API_KEY=sk-ant-dummy -e ANTHROPIC_BASE_URL=http://127.0.0.1:8900 -e PILOTHOUSE_AGENT=claude)
if start agent "${claude_options[@]}" pilothouse-agent:test; then
    wall agent
    is "process 1 is tini" "tini" "$(cat "/proc/$(pid agent)/comm")"
    if await 20 healthy agent; then ok "its health check says healthy"; else bad "its health check says healthy" "$(docker inspect -f '{{json .State.Health}}' agent)"; fi
    for tool in claude curl gh git jq rg tini; do
        out=$(docker exec agent $tool --version 2>&1 | head -n 1)
        has "it has $tool ($out)" '[0-9]+\.[0-9]+' "$out"
    done
    out=$(docker exec agent sh -c 'for dir in / /etc /usr/local/bin /etc/pilothouse; do touch $dir/x 2>/dev/null && echo $dir; done; for dir in /workspace /var/lib/pilothouse /tmp; do touch $dir/x && rm $dir/x || echo not $dir; done; exit 0' 2>&1)
    is "what may be written is /workspace, /var/lib/pilothouse and /tmp" "" "$out"
    say "the real Claude Code, with the project's model on loopback"
    ark --say "say hello from the model" --expect "hello from the model" --ask "ask Which colour? | red | green"
    out=$(client send "bash: id -u; pwd" 2>&1)
    has "a tool of Claude runs as 10001" '(^|done: )10001$' "$out"
    has "in a folder of its session" '^/workspace' "$out"
    out=$(client send "write kept.txt"$'\n'"say remembered" 2>&1)
    kept=$(grep -oE 'context [0-9a-f-]+' <<<"$out" | cut -d' ' -f2)
    has "a turn that writes a file completes" '✓ completed' "$out"
    say "the wall inside the container"
    out=$(timeout 60 docker exec agent pilothouse doctor 2>&1)
    has "it is Landlock's, with what the image requires" 'isolation.*landlock' "$out"
    out=$(client send "bash: cat /var/lib/pilothouse/pilothouse.db /etc/pilothouse/pilothouse.yaml; ls /var/lib/pilothouse; echo end" 2>&1)
    is "Claude cannot read the server's state and configuration" "3" "$(grep -c 'Permission denied' <<<"$out")"
    out=$(client send 'bash: env; tr "\0" "\n" </proc/1/environ; echo end' 2>&1)
    has "its environment can be listed" 'PATH=' "$out"
    if grep -qE 'sk-ant-dummy|API_TOKEN=tok' <<<"$out"; then bad "neither key nor token is in it" "$out"; else ok "neither key nor token is in it"; fi
    out=$(client send "bash: curl -sS -m 5 http://127.0.0.1:8900/__model/requests; echo code \$?" 2>&1)
    has "it reaches no port but the proxy's" 'code [1-9]' "$out"
    say "the demo agent in the same server"
    out=$(client send --agent demo hello 2>&1)
    has "it answers" '^You said: hello' "$out"
    out=$(client send --agent leaver x 2>&1)
    has "an agent that leaves processes behind answers" '^left' "$out"
    docker exec agent sh -c '(sleep 0.3 &)'
    fifty agent leaver
    fifty agent demo
    orphaned agent
    before=$(client tasks list --limit 500 2>/dev/null | grep -c .)
    say "docker stop with a running turn of Claude, and a new start"
    task=$(id_of "$(client send --no-wait "hang 120" 2>/dev/null)")
    asked() { inside python3 -c 'import sys, urllib.request; sys.exit(b"hang 120" not in urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://127.0.0.1:8900/__model/requests").read())'; }
    if await 30 asked; then ok "the model has the question"; else bad "the model has the question"; fi
    began=$(now)
    docker stop agent >/dev/null
    note "agent: docker stop with a running turn of Claude" "$(since "$began")"
    is "it ends in order" "0" "$(docker inspect -f '{{.State.ExitCode}}' agent)"
    docker rm agent >/dev/null
    if start "agent" "${claude_options[@]}" pilothouse-agent:test; then
        out=$(client tasks get "$task" 2>&1)
        has "the turn that was running is failed, and says why" 'server stopped while this task was running' "$out"
        after=$(client tasks list --limit 500 2>/dev/null | grep -c .)
        is "a new container on the same volumes has the same tasks" "$((before + 1))" "$after"
        out=$(client send -c "$kept" history 2>&1)
        has "a session goes on where it was" 'turns=2' "$out"
        out=$(client send -c "$kept" "bash: ls" 2>&1)
        has "with its files" 'kept.txt' "$out"
        say "without warning"
        task=$(id_of "$(client send --no-wait "hang 121" 2>/dev/null)")
        sleep 1
        docker kill agent >/dev/null
        docker start agent >/dev/null
        await 30 answers
        out=$(client tasks get "$task" 2>&1)
        has "after docker kill the running turn is failed" '✗ failed' "$out"
    fi
fi
docker rm -f agent >/dev/null 2>&1

say "what cannot be had"
out=$(timeout 30 docker run --rm "${hard[@]}" --network none -e PILOTHOUSE_ISOLATION_BACKEND=bubblewrap pilothouse-agent:test 2>&1)
code=$?
has "the server does not start without the wall that is asked for (exit code $code)" 'no isolation gives|bwrap' "$out"
if [ "$code" -ne 0 ] && [ "$code" -ne 124 ]; then ok "and its exit code says so"; else bad "and its exit code says so" "$code" "$out"; fi
out=$(timeout 5 docker run --rm "${hard[@]}" --network none -e PILOTHOUSE_ISOLATION_BACKEND=none -e PILOTHOUSE_ISOLATION_REQUIRE='[]' pilothouse-agent:test 2>&1)
has "with both keys it starts without one" 'serving' "$out"

say "any user number with group 0, and the image without a read-only root"
docker run -d --name other --cap-drop ALL --security-opt no-new-privileges --user 123456:0 --network container:net -e API_TOKEN=tok pilothouse-agent:test serve --agent demo >/dev/null
await 30 answers
out=$(client send hello 2>&1)
has "user 123456 serves" '^You said: hello' "$out"
docker rm -fv other >/dev/null

# === the two ways to run it ===

say "tools/docker-run.sh"
mkdir -p "$work/project"
printf 'API_TOKEN=tok\nHOST=127.0.0.1\nAGENT_DESCRIPTION="from the file"\n' >"$work/project/.env"
chmod 0644 "$work/project/.env"
chmod 0755 "$work" "$work/project"
out=$(cd "$work/project" && DETACH=1 IMAGE=pilothouse-agent:test NETWORK=container:net NAME=run VOLUME=run-state timeout 60 "$OLDPWD/tools/docker-run.sh" --agent demo 2>&1)
has "it says which token" 'the token is the configured one' "$out"
line=$(grep '^curl' <<<"$out")
out=$(cd "$work" && TOKEN=tok inside env TOKEN=tok bash -c "$line" 2>&1)
has "its curl line answers" 'You said: ' "$out"
has "and .env was read" 'from the file' "$(inside "$bin" card http://127.0.0.1:2222 2>&1)"
is "sessions work in ./workspace" "1" "$(find "$work/project/workspace" -mindepth 1 -maxdepth 1 -type d | wc -l)"
wall run
docker rm -f run >/dev/null 2>&1
rm "$work/project/.env"
(cd "$work/project" && IMAGE=pilothouse-agent:test NETWORK=container:net NAME=run VOLUME=run-state exec "$OLDPWD/tools/docker-run.sh" --agent demo) >"$work/run.log" 2>&1 &
running=$!
helpers+=("$running")
await 30 grep -q '^curl' "$work/run.log"
has "without one it prints the token that it made" '^TOKEN=.{20,}' "$(grep ^TOKEN "$work/run.log")"
kill -TERM "$running" 2>/dev/null
wait "$running" 2>/dev/null
is "ended by a signal it leaves no container" "" "$(docker ps -aq --filter name=run)"

say "compose.yaml"
# A copy without published ports, in the network of the tests.
compose=$work/compose.yaml
sed -e '/^    ports:/,/^    environment:/{/^    environment:/!d}' -e 's/^    image: .*/&\n    network_mode: container:'"$(docker inspect -f '{{.Id}}' net)"'/' compose.yaml >"$compose"
if docker-compose -f compose.yaml config -q 2>"$work/compose.log"; then ok "it is valid"; else bad "it is valid" "$(cat "$work/compose.log")"; fi
if TAG=test API_TOKEN=tok timeout 120 docker-compose -p ph -f "$compose" up -d --no-build >"$work/compose.log" 2>&1 && await 30 answers; then
    ok "it starts"
    name=$(docker ps --filter label=com.docker.compose.project=ph --format '{{.Names}}')
    wall "$name"
    out=$(client send hello 2>&1)
    has "it answers, with the token of the environment" '^You said: hello' "$out"
    is "its grace is longer than the server's drain" "30" "$(docker inspect -f '{{.Config.StopTimeout}}' "$name")"
else
    bad "it starts" "$(cat "$work/compose.log"; docker ps -a)"
fi
timeout 60 docker-compose -p ph -f "$compose" down -v >/dev/null 2>&1

# === extending ===

say "extending, as docs/containers.md says"
if BINARY=$bin TAG=more BASE=pilothouse-base:test PACKAGES=tree CLAUDE_VERSION="" timeout 600 tools/docker-build.sh agent --network host >"$work/build.log" 2>&1; then
    out=$(docker run --rm "${hard[@]}" --network none --entrypoint tree pilothouse-agent:more --version 2>&1)
    has "PACKAGES adds a tool" '^tree v' "$out"
    if docker run --rm "${hard[@]}" --network none --entrypoint claude pilothouse-agent:more --version >/dev/null 2>&1; then
        bad "an empty CLAUDE_VERSION leaves Claude out"
    else
        ok "an empty CLAUDE_VERSION leaves Claude out"
    fi
else
    bad "the agent image is built with PACKAGES and without Claude" "$(tail -n 20 "$work/build.log")"
fi
# The Dockerfile that the page shows, on the image that was built here.
awk '/^```dockerfile$/ {on = 1; next} /^```$/ {on = 0} on' docs/containers.md | sed 's/^FROM .*/FROM pilothouse-agent:test/' >"$work/Dockerfile"
mkdir -p "$work/context"
if [ -s "$work/Dockerfile" ] && timeout 600 docker build --network host -t pilothouse-own:test -f "$work/Dockerfile" "$work/context" >"$work/build.log" 2>&1; then
    is "the page's Dockerfile keeps the user" "10001:0" "$(docker inspect -f '{{.Config.User}}' pilothouse-own:test)"
    out=$(docker run --rm "${hard[@]}" --network none --entrypoint python3 pilothouse-own:test --version 2>&1)
    has "and adds what it names" '^Python 3' "$out"
else
    bad "the page's Dockerfile is built" "$(tail -n 20 "$work/build.log")"
fi

printf '\n%s' "$table"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
