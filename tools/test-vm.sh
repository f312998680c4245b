#!/usr/bin/env bash
# Tests in an emulated machine what needs systemd as the first process, delegated cgroups and an older kernel:
# a small Debian 12 without any network card under QEMU's own emulation (no KVM needed), two cores, 1 GiB.
# What is tested stands in tests/vm/guest.sh.
#
# Usage: tools/test-vm.sh [PART...]    PILOTHOUSE_BIN=FILE takes that binary in place of a debug build
#        tools/test-vm.sh clean        forgets the image
# Parts: restrictions cgroups service wall limits refusals ends operations removal; all of them when none is named.
#
# The first run makes the image in .tools/vm (about a minute, needs root and Debian's packages); later
# runs take the time of one boot and of the tests. Ends with counts.
set -euo pipefail
cd "$(dirname "$0")/.."
LIMIT=${PILOTHOUSE_VM_SECONDS:-900} # for the whole life of the machine
SUITE=bookworm
# No udev, no kernel modules, no initial RAM disk: NVMe and ext4 are built into Debian's cloud kernel.
PACKAGES=systemd-sysv,dbus,bubblewrap,procps,sudo,curl,sqlite3,python3
# Units of no use here; each costs emulated seconds.
MASKED="apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    getty.target proc-sys-fs-binfmt_misc.automount systemd-logind.service systemd-pstore.service systemd-random-seed.service
    systemd-update-utmp.service"
vm=$PWD/.tools/vm

fail() { echo "test-vm: $*" >&2; exit 1; }
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.1f s", b - a}'; }
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

if [ "${1:-}" = clean ]; then as_root rm -rf "$vm"; exit 0; fi
all="restrictions cgroups service wall limits refusals ends operations removal"
for part in "$@"; do case " $all " in *" $part "*) ;; *) fail "unknown part $part; there are $all" ;; esac; done
[ "$(uname -m)" = x86_64 ] || fail "written for x86_64; emulation of another machine was not tried"

need=()
command -v qemu-system-x86_64 >/dev/null || need+=(qemu-system-x86)
command -v mke2fs >/dev/null || [ -x /sbin/mke2fs ] || need+=(e2fsprogs)
image_key=$( (echo "$SUITE $PACKAGES $MASKED"; cat tests/vm/vm-guest.service; sed -n '/^# BEGIN image/,/^# END image/p' "$0") | sha256sum | cut -c1-12)
image=$vm/$image_key
[ -e "$image/ready" ] || command -v debootstrap >/dev/null || [ -x /usr/sbin/debootstrap ] || need+=(debootstrap)
if [ ${#need[@]} -gt 0 ]; then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${need[@]}" >/dev/null
fi
export PATH=$PATH:/usr/sbin:/sbin

# BEGIN image
make_image() {
    root=$image/root
    as_root rm -rf "$vm"
    mkdir -p "$image"
    as_root debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$root" >"$image/debootstrap.log" 2>&1 ||
        { tail -n 20 "$image/debootstrap.log"; fail "debootstrap did not finish"; }
    # The kernel alone; its package would bring the tools for an initial RAM disk.
    # shellcheck disable=SC2016
    as_root chroot "$root" sh -ec '
        cd /tmp
        kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n "s/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p" | head -n 1)
        apt-get download -qq "$kernel" 2>/dev/null
        dpkg-deb --fsys-tarfile linux-image-*.deb | tar -x --wildcards "./boot/vmlinuz-*"' >"$image/kernel.log" 2>&1 ||
        { cat "$image/kernel.log"; fail "the kernel could not be had"; }
    as_root sh -ec "cp $root/tmp/boot/vmlinuz-* $image/vmlinuz; chmod a+r $image/vmlinuz
        rm -rf $root/tmp/* $root/var/cache/apt/* $root/var/lib/apt/lists/* $root/usr/share/doc $root/usr/share/locale
        mkdir -p $root/payload $root/etc/systemd/system/multi-user.target.wants
        echo vm > $root/etc/hostname; echo '127.0.0.1 localhost vm' > $root/etc/hosts
        cp tests/vm/vm-guest.service $root/etc/systemd/system/
        ln -s ../vm-guest.service $root/etc/systemd/system/multi-user.target.wants/
        for unit in $(echo $MASKED); do ln -sf /dev/null $root/etc/systemd/system/\$unit; done
        truncate -s 1G $image/root.ext4
        mke2fs -q -t ext4 -O ^has_journal -d $root $image/root.ext4
        chmod a+r $image/root.ext4
        rm -rf $root"
    touch "$image/ready"
}
# END image

began=$(now)
if [ -e "$image/ready" ]; then
    echo "image: cached"
else
    make_image
    echo "image: made in $(since "$began"), $(du -h "$image/root.ext4" | cut -f1)"
fi

# --- what goes in: a second disk, made anew for each run ---
began=$(now)
if [ -z "${PILOTHOUSE_BIN:-}" ]; then
    cargo build --quiet
    PILOTHOUSE_BIN=target/debug/pilothouse
fi
[ -x "$PILOTHOUSE_BIN" ] || fail "no binary at $PILOTHOUSE_BIN"
run=$(mktemp -d "$vm/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
mkdir "$run/payload"
strip -o "$run/payload/pilothouse" "$PILOTHOUSE_BIN" 2>/dev/null || cp "$PILOTHOUSE_BIN" "$run/payload/pilothouse"
RELEASE_DYNAMIC=1 tools/release.sh package "$run/payload/pilothouse" "$run/payload" >/dev/null
rm "$run/payload/pilothouse"
cp tests/vm/guest.sh "$run/payload/"
for document in installation operations; do tests/install/blocks.sh "docs/$document.md" "$run/payload/docs/$document"; done
if [ $# -eq 0 ]; then echo "$all" >"$run/payload/parts"; touch "$run/payload/all"; else echo "$*" >"$run/payload/parts"; fi
chmod -R go+rX "$run/payload"
mke2fs -q -t ext4 -O ^has_journal -E root_owner=0:0 -d "$run/payload" "$run/payload.ext4" 128M >/dev/null 2>"$run/mke2fs.log" ||
    { cat "$run/mke2fs.log"; fail "the second disk could not be made"; }
echo "payload: $(du -h "$run/payload"/*.tar.gz | cut -f1), $PILOTHOUSE_BIN, $(since "$began")"

# --- the machine ---
began=$(now)
: >"$run/results"
timeout --kill-after=5 "$LIMIT" qemu-system-x86_64 \
    -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
    -nic none -display none -monitor none -no-reboot \
    -kernel "$image/vmlinuz" -append "root=/dev/nvme0n1 rw console=ttyS0 panic=-1 quiet systemd.show_status=auto" \
    -drive "file=$image/root.ext4,format=raw,if=none,id=root,snapshot=on" -device nvme,drive=root,serial=root \
    -drive "file=$run/payload.ext4,format=raw,if=none,id=payload,readonly=on" -device nvme,drive=payload,serial=payload \
    -serial "file:$run/console" -serial "file:$run/results" >"$run/qemu" 2>&1 &
machine=$!
trap 'kill "$machine" 2>/dev/null; rm -rf "$run"' EXIT
# Shows the results as they come; ends with the machine.
tail -n +1 -f --pid="$machine" "$run/results" 2>/dev/null | stdbuf -oL tr -d '\r'
code=0; wait "$machine" || code=$?
trap 'rm -rf "$run"' EXIT
mkdir -p "$vm/last"; cp "$run/console" "$run/results" "$vm/last/"
tr -d '\r' <"$run/results" >"$run/text"
count() { grep -c "^$1 " "$run/text" || true; }
passed=$(count "✓") failed=$(count "✗") skipped=$(count "-")
if ! grep -q '^guest: done' "$run/text"; then
    echo "✗ the machine did not run to its end (code $code of qemu, 124 is the limit of $LIMIT s); its console:"
    cat "$run/qemu"; tail -n 40 "$run/console"
    failed=$((failed + 1))
fi
echo "machine: $(since "$began") from power on to power off, emulated"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
