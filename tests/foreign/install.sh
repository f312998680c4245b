#!/bin/sh
# Installs the foreign clients, pinned, into `.tools/foreign-*` of the checkout; says nothing and is
# quick where that was done before. Prints the folder that holds them.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tools=$(cd "$here/../.." && pwd)/.tools
mkdir -p "$tools"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fail() { echo "foreign clients: $*" >&2; exit 1; }

need() { command -v "$1" >/dev/null || fail "$1 is missing; install $2, or run 'make test-fast'"; }

# quiet COMMAND...: its output only when it fails.
quiet() { "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "'$*' failed"; }; }

# fresh NAME FILE...: false when NAME was installed from exactly these files; else an empty folder for it.
fresh() {
    name=$1; shift
    stamp=$(cat "$@" | cksum)
    [ "$(cat "$tools/$name/stamp" 2>/dev/null)" != "$stamp" ] || return 1
    rm -rf "${tools:?}/$name"
    mkdir -p "$tools/$name"
}

done_with() { printf '%s\n' "$stamp" >"$tools/$name/stamp"; }

for version in 1 0_3; do
    pins=$here/python/requirements_$version.txt
    if fresh "foreign-python-$version" "$pins"; then
        need python3 "Python with its venv module"
        quiet python3 -m venv "$tools/$name/venv"
        quiet "$tools/$name/venv/bin/pip" install --disable-pip-version-check -r "$pins"
        done_with
    fi
done

for version in v1 v0.3; do
    from=$here/js/$version
    if fresh "foreign-js-$version" "$from/package.json" "$from/package-lock.json"; then
        need npm "Node.js"
        cp "$from/package.json" "$from/package-lock.json" "$tools/$name/"
        quiet npm ci --no-audit --no-fund --ignore-scripts --loglevel=error --prefix "$tools/$name"
        done_with
    fi
    # A program finds its packages beside itself.
    cp "$from/client.mjs" "$tools/foreign-js-$version/"
done

rust=$here/rust
if fresh foreign-rust "$rust/Cargo.toml" "$rust/Cargo.lock" "$rust/src/main.rs"; then
    need cargo "Rust"
    quiet env CARGO_TARGET_DIR="$tools/$name/target" cargo build --locked --quiet --manifest-path "$rust/Cargo.toml"
    cp "$tools/$name/target/debug/foreign-rust" "$tools/$name/"
    rm -rf "$tools/$name/target"
    done_with
fi

echo "$tools"
