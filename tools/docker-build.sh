#!/bin/sh
# Builds the images: a static binary of this tree, then the Dockerfiles of deploy/docker around it.
# Usage: tools/docker-build.sh [agent|server|all|binary] [OPTIONS OF docker build]
#   TAG=...              pilothouse-agent:TAG and pilothouse-server:TAG; the default is two tags, latest and the version
#   BASE=...             another base image than the Dockerfiles name
#   CLAUDE_VERSION=...   another Claude Code than the Dockerfile names; empty: none
#   PACKAGES="..."       further Debian packages for the agent image
#   BINARY=FILE          a static binary that is there already
#   TARGET=...           what to compile for; the default is this machine's glibc target
#   DOCKER=docker        or podman
set -eu
cd "$(dirname "$0")/.."
which=${1:-all}
[ $# -eq 0 ] || shift
docker=${DOCKER:-docker}
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)

fail() { echo "docker-build: $*" >&2; exit 1; }

# Statically linked, so that one binary fits both images, whatever they are based on.
is_static() { LC_ALL=C ldd "$1" 2>&1 | grep -qE 'statically linked|not a dynamic executable'; }

binary() {
    if [ -z "${BINARY:-}" ]; then
        [ "$(uname -s)" = Linux ] || fail "compiles on Linux alone; give it a Linux binary with BINARY=FILE"
        if command -v npm >/dev/null; then
            tools/ui.sh || fail "the page of the dashboard could not be built"
        else
            echo "docker-build: no npm, so the binary has no dashboard" >&2
        fi
        target=${TARGET:-$(uname -m)-unknown-linux-gnu}
        # With --target the flags are not those of build scripts and macros, which must stay dynamic.
        RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" ${CARGO:-cargo} build --release --locked --target "$target" --bin pilothouse
        BINARY=${CARGO_TARGET_DIR:-target}/$target/release/pilothouse
    fi
    [ -f "$BINARY" ] || fail "there is no $BINARY"
    is_static "$BINARY" || fail "$BINARY is not static; leave BINARY out and it is built"
    mkdir -p target/image
    # Copied beside and renamed, so that a build that runs reads a whole file.
    cp "$BINARY" target/image/pilothouse.new
    chmod 0755 target/image/pilothouse.new
    mv target/image/pilothouse.new target/image/pilothouse
}

image() {
    name=$1; shift
    [ -z "${BASE:-}" ] || set -- --build-arg "BASE=$BASE" "$@"
    if [ "$name" = agent ]; then
        [ -z "${CLAUDE_VERSION+set}" ] || set -- --build-arg "CLAUDE_VERSION=$CLAUDE_VERSION" "$@"
        [ -z "${PACKAGES:-}" ] || set -- --build-arg "PACKAGES=$PACKAGES" "$@"
    fi
    # The other format of podman has no health check.
    case $docker in *podman*) set -- --format docker "$@" ;; esac
    for tag in ${TAG:-latest "$version"}; do set -- -t "pilothouse-$name:$tag" "$@"; done
    $docker build --label "org.opencontainers.image.version=$version" -f "deploy/docker/$name.Dockerfile" "$@" .
}

case $which in
binary) binary ;;
agent | server) binary; image "$which" "$@" ;;
all) binary; image server "$@"; image agent "$@" ;;
*) fail "agent, server, all or binary" ;;
esac
