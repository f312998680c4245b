#!/bin/sh
# Runs the tests of the container backend with engines of its own, and ends with counts. Those of the other sandboxes
# (`walls`) that try what holds behind any of them run with containers here. Where this is root, an ordinary user
# (nobody) uses Docker's socket, and a Podman of its own.
# Usage: tools/test-containers.sh [docker|podman]   (both where none is named)
#
# Docker: its own dockerd with its own data and socket, without networks, as root; else one that this user
# can reach. Podman: its own storage. The image is made from files of this machine, nothing is pulled.
set -u
cd "$(dirname "$0")/.." || exit 1
only=${1:-}
passed=0 failed=0 skipped=0 ran=0
work=$(mktemp -d /var/tmp/pilothouse-containers.XXXXXX) || exit 1
image=localhost/pilothouse-test:1
daemon=
nobody=65534
filters='containers:: walls::attacks walls::egress walls::hostile walls::inside walls::limits walls::modes walls::networks
    walls::own walls::promises walls::survivors'

fail() { echo "test-containers: $*" >&2; exit 1; }

cleaned() {
    if [ -n "$daemon" ]; then
        kill "$daemon" 2>/dev/null
        for _ in $(seq 100); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
    fi
    if [ -e "$work/podman.conf" ]; then
        CONTAINERS_CONF=$work/podman.conf CONTAINERS_STORAGE_CONF=$work/storage.conf podman rm -af >/dev/null 2>&1
    fi
    [ ! -e "$work/ordinary/storage.conf" ] || ordinarily rm >/dev/null 2>&1
    grep -o " $work/[^ ]*" /proc/mounts | sort -r | while read -r mount; do umount "$mount" 2>/dev/null; done
    rm -rf "$work"
}
trap cleaned EXIT
trap 'exit 1' INT TERM

# installed PROGRAM PACKAGE...: installs packages where the program is missing and that is possible.
installed() {
    program=$1; shift
    command -v "$program" >/dev/null && return 0
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    echo "installing $*"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } >/dev/null 2>&1
    command -v "$program" >/dev/null
}

# left_out ENGINE WHY: its tests have not run.
left_out() {
    echo "== $1: NOT RUN: $2"
    # shellcheck disable=SC2086
    skipped=$((skipped + $(cargo test -q -p pilothouse --test it -- $filters --list 2>/dev/null | grep -c ': test$')))
}

# ordinary COMMAND...: as nobody, who has ranges of users for a Podman of its own, in a mount namespace alone.
ordinary() { with_ranges setpriv --reuid $nobody --regid $nobody --clear-groups "$@"; }

with_ranges() {
    unshare --mount sh -c 'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"' "$work/ordinary/ranges" "$@"
}

# The folder of the ordinary user's engine.
prepared() {
    mkdir -p "$work/ordinary/home" "$work/ordinary/run"
    echo "nobody:200000:65536" >"$work/ordinary/ranges"
    chown -R $nobody:$nobody "$work/ordinary"
    chmod 711 "$work"
}

# tested ENGINE: the tests, with this engine.
tested() {
    echo "== $1"
    began=$(date +%s)
    around=
    [ "$(id -u)" -ne 0 ] || around=with_ranges
    # shellcheck disable=SC2086
    $around env PILOTHOUSE_TEST_ENGINE="$1" PILOTHOUSE_TEST_IMAGE="$image" PILOTHOUSE_TEST_CLAUDE="$claude" \
        PILOTHOUSE_TEST_HOME="$HOME" PILOTHOUSE_TEST_ORDINARY="$work/ordinary" PILOTHOUSE_TEST_RUNTIME=another \
        cargo test -p pilothouse --test it -- $filters --nocapture --test-threads=2 >"$work/log" 2>&1
    code=$?
    grep '^a turn in a new container' "$work/log"
    set -- "$1" $(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored.*/\1 \2 \3/p' "$work/log")
    passed=$((passed + ${2:-0})) failed=$((failed + ${3:-0})) skipped=$((skipped + ${4:-0})) ran=1
    printf '  %-10s %5d passed %3d failed %4d s\n' "$1" "${2:-0}" "${3:-0}" $(($(date +%s) - began))
    if [ "$code" -ne 0 ]; then
        tail -n 200 "$work/log"
        [ "${3:-0}" -gt 0 ] || failed=$((failed + 1))
    fi
}

imported() { "$1" import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' --change 'ENV FROM_THE_IMAGE=1' "$work/image.tar" "$image"; }

# stored FOLDER: where a Podman keeps its images there.
stored() {
    printf '[storage]\ndriver = "overlay"\nrunroot = "%s/run"\ngraphroot = "%s/storage"\n' "$1" "$1" >"$1/storage.conf"
}

# The image in the storage of the ordinary user's Podman; `ordinarily rm` removes what is left there.
ordinarily() (
    HOME=$work/ordinary/home XDG_RUNTIME_DIR=$work/ordinary/run
    CONTAINERS_CONF=$work/ordinary/podman.conf CONTAINERS_STORAGE_CONF=$work/ordinary/storage.conf
    export HOME XDG_RUNTIME_DIR CONTAINERS_CONF CONTAINERS_STORAGE_CONF
    cd /
    case $1 in
    import) ordinary podman import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin' --change 'ENV FROM_THE_IMAGE=1' "$work/image.tar" "$image" ;;
    rm) ordinary podman rm -af ;;
    esac
)

with_docker() {
    installed dockerd docker.io runc || command -v docker >/dev/null || { left_out docker "install docker.io"; return; }
    if [ "$(id -u)" -eq 0 ]; then
        cat >"$work/daemon.json" <<END
{"data-root": "$work/data", "exec-root": "$work/exec", "pidfile": "$work/pid", "hosts": ["unix://$work/socket"],
 "group": "$(getent group $nobody | cut -d: -f1)",
 "runtimes": {"another": {"path": "$(command -v runc)"}},
 "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false}
END
        setsid dockerd --config-file "$work/daemon.json" >"$work/dockerd.log" 2>&1 &
        daemon=$!
        DOCKER_HOST=unix://$work/socket
        export DOCKER_HOST
        for _ in $(seq 300); do docker info >/dev/null 2>&1 && break; sleep 0.1; done
    fi
    docker info >/dev/null 2>&1 || {
        tail -n 5 "$work/dockerd.log" 2>/dev/null
        left_out docker "no engine can be started or reached"
        return
    }
    imported docker >/dev/null 2>"$work/said" || { left_out docker "$(cat "$work/said")"; return; }
    tested docker
    [ -n "$daemon" ] || docker rmi -f "$image" >/dev/null 2>&1
}

with_podman() {
    installed podman podman runc uidmap || { left_out podman "install podman"; return; }
    runtime=
    # The other runtime wants control groups of the second version alone.
    if [ "$(stat -fc %T /sys/fs/cgroup)" != cgroup2fs ] && command -v runc >/dev/null; then
        runtime='runtime = "runc"'
    fi
    printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n%s\n[engine.runtimes]\nanother = ["%s"]\n' \
        "$runtime" "$(command -v runc || command -v crun)" >"$work/podman.conf"
    stored "$work"
    CONTAINERS_CONF=$work/podman.conf CONTAINERS_STORAGE_CONF=$work/storage.conf
    export CONTAINERS_CONF CONTAINERS_STORAGE_CONF
    { imported podman && podman run --rm --network none "$image" true; } >/dev/null 2>"$work/said" ||
        { left_out podman "$(tail -n 1 "$work/said")"; return; }
    if [ "$(id -u)" -eq 0 ]; then
        cp "$work/podman.conf" "$work/ordinary"
        stored "$work/ordinary"
        chmod 644 "$work/image.tar" "$work/ordinary"/*.conf
        ordinarily import >/dev/null 2>"$work/said" || { left_out podman "rootless: $(tail -n 1 "$work/said")"; return; }
    fi
    tested podman
}

[ "$(id -u)" -ne 0 ] || prepared
installed busybox busybox-static || installed busybox busybox || fail "busybox is missing; install the package busybox-static"
claude=$(tools/claude.sh) || fail "Claude Code could not be installed"
echo "== build"
cargo build --quiet -p fake-agent -p pilothouse && cargo test --quiet -p pilothouse --test it --no-run || fail "it does not build"
target=${CARGO_TARGET_DIR:-target}
tools/test-image.sh "$target/debug/fake-agent" "$target/debug/pilothouse" "$claude" >"$work/image.tar" || fail "the image could not be made"
case $only in
docker) with_docker ;;
podman) with_podman ;;
'') with_docker; with_podman ;;
*) fail "no such engine: $only" ;;
esac
[ "$ran" -eq 1 ] || failed=$((failed + 1))
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
