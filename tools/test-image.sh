#!/bin/sh
# Writes a small root file system as a tar archive to standard output: a shell, the usual commands, and the
# libraries that programs built on this machine need. For `docker import` and `podman import`.
# Usage: tools/test-image.sh PROGRAM...   (programs whose libraries are needed too)
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
busybox=$(command -v busybox) || { echo "busybox is missing" >&2; exit 1; }
shell=$(command -v bash) || { echo "bash is missing" >&2; exit 1; }
chmod 755 "$root" # mktemp lets nobody else in
mkdir -p "$root/usr/bin" "$root/etc" "$root/home/agent" "$root/workspace" "$root/run" "$root/var" \
    "$root/tmp" "$root/var/tmp" "$root/proc" "$root/sys" "$root/dev"
chmod 1777 "$root/tmp" "$root/var/tmp"
ln -s usr/bin "$root/bin"
cp -L "$busybox" "$root/usr/bin/busybox"
cp -L "$shell" "$root/usr/bin/bash"
for name in $("$busybox" --list); do
    [ "$name" = busybox ] || [ "$name" = bash ] || ln -s busybox "$root/usr/bin/$name"
done
# Programs of this machine that scripts of the tests use and that busybox has in a smaller form or not at all.
also=$(PATH=/usr/bin:/bin; for name in find grep head nohup python3 setsid; do command -v "$name" || true; done)
for program in $also; do
    rm -f "$root/usr/bin/${program##*/}"
    cp -L "$program" "$root/usr/bin/${program##*/}"
done
for library in /usr/lib/python3.*; do
    [ -d "$library/lib-dynload" ] || continue
    mkdir -p "$root/usr/lib"
    tar -C /usr/lib --exclude='__pycache__' --exclude='test' --exclude='dist-packages' -c "${library##*/}" | tar -C "$root/usr/lib" -x
    also="$also $(echo "$library"/lib-dynload/*.so)"
done
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
for program in "$busybox" "$shell" $also "$@"; do
    # Not every program has libraries.
    for library in $(ldd "$program" 2>/dev/null | grep -o '/[^ ]*' || true); do
        mkdir -p "$root$(dirname "$library")"
        [ -e "$root$library" ] || cp -L "$library" "$root$library"
    done
done
tar -C "$root" --numeric-owner --owner=0 --group=0 -c .
