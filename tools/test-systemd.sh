#!/usr/bin/env bash
# Checks the unit and its pair (deploy/systemd) by systemd's own tools; systemd need not be running. What the
# unit really permits is tried in an emulated machine by tools/test-vm.sh. Ends with counts.
set -u
cd "$(dirname "$0")/../deploy/systemd" || exit 1
MOST=3.0 # exposure, as systemd-analyze counts it: 0 is closed, 10 is open
passed=0 failed=0 skipped=0
ok() { echo "✓ $1"; passed=$((passed + 1)); }
bad() { echo "✗ $1"; failed=$((failed + 1)); [ $# -lt 2 ] || printf '%s\n' "$2" | sed 's/^/    /'; }
skip() { echo "- $1: $2"; skipped=$((skipped + 1)); }
# check NAME COMMAND...: passed when the command succeeds.
check() {
    local name=$1 said; shift
    if said=$("$@" 2>&1); then ok "$name"; else bad "$name" "$said"; fi
}

if ! command -v systemd-analyze >/dev/null || ! command -v systemd-sysusers >/dev/null; then
    as_root=(); [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd >/dev/null
fi
echo "$(systemctl --version | head -n 1)"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# --- exposure ---
exposure() { systemd-analyze security --offline=true "$1" 2>/dev/null | sed -nE 's/.*Overall exposure level for .*: ([0-9.]+) .*/\1/p'; }
level=$(exposure ./pilothouse.service)
if [ -n "$level" ] && awk -v a="$level" -v b=$MOST 'BEGIN {exit !(a <= b)}'; then
    ok "exposure $level, at most $MOST"
else
    bad "exposure ${level:-not told}, at most $MOST" "$(systemd-analyze security --offline=true ./pilothouse.service 2>&1 | tail -n 100)"
fi
# That the measure measures: without the lines that close the unit it must be far above.
mkdir "$work/open"
sed -E '/^(Protect|Private|Restrict|SystemCall|Capability|NoNew|Lock|Device|UMask)/d' pilothouse.service >"$work/open/pilothouse.service"
open=$(exposure "$work/open/pilothouse.service")
if awk -v a="${open:-0}" -v b=$MOST 'BEGIN {exit !(a > b + 3)}'; then ok "without these lines it is $open"; else bad "without these lines it is ${open:-not told}"; fi

# --- what isolation needs ---
# has DIRECTIVE VALUE, hasnt DIRECTIVE: as they stand in the unit; why, is said there.
has() { grep -qE "^$1=(.* )?$2( .*)?$" pilothouse.service; }
hasnt() { ! grep -qE "^$1=" pilothouse.service; }
check "namespaces are not restricted" hasnt RestrictNamespaces
check "/proc is whole" hasnt ProcSubset
check "the server sees its own processes" has ProtectProc default
check "writable code is allowed (Node.js)" hasnt MemoryDenyWriteExecute
check "the host name of a namespace can be set" has ProtectHostname no
check "AF_NETLINK is allowed" has RestrictAddressFamilies AF_NETLINK
check "@mount is allowed" has SystemCallFilter @mount
for call in sethostname seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self; do check "$call is allowed" has SystemCallFilter $call; done
for controller in cpu memory pids; do check "the cgroup controller $controller is delegated" has Delegate $controller; done
check "and its files can be written" has ProtectControlGroups no

# --- times ---
seconds() { sed -nE "s/^ *$2[=:] *([0-9]+)s?$/\1/p" "$1" | head -n 1; }
stop=$(seconds pilothouse.service TimeoutStopSec) shutdown=$(seconds ../../pilothouse.example.yaml shutdown)
check "TimeoutStopSec ($stop s) is longer than timeouts.shutdown ($shutdown s)" test "${stop:-0}" -gt "${shutdown:-9999}"

# --- the files themselves ---
mkdir -p "$work/unit"
sed 's#^ExecStart=/usr/local/bin/pilothouse#ExecStart=/bin/true#' pilothouse.service >"$work/unit/pilothouse.service"
verify() { # nothing may be said, and the code be 0; an unknown directive is only said
    local said code; said=$(systemd-analyze verify --man=no "$1" 2>&1); code=$?
    said=$(grep -vE "^$" <<<"$said"); [ $code -eq 0 ] && [ -z "$said" ] || { echo "code $code: $said"; return 1; }
}
check "systemd-analyze verify finds nothing" verify "$work/unit/pilothouse.service"
mkdir "$work/wrong"; { cat "$work/unit/pilothouse.service"; printf '[Service]\nProtectEverything=yes\n'; } >"$work/wrong/pilothouse.service"
if verify "$work/wrong/pilothouse.service" >/dev/null; then bad "and would find an unknown directive"; else ok "and would find an unknown directive"; fi

# The pair, in an empty root folder: the user and the folders are made there and nowhere else.
root=$work/root
mkdir -p "$root/etc/sysusers.d" "$root/etc/tmpfiles.d" "$root/var/lib"
cp pilothouse.sysusers "$root/etc/sysusers.d/pilothouse.conf"
cp pilothouse.tmpfiles "$root/etc/tmpfiles.d/pilothouse.conf"
if [ "$(id -u)" -eq 0 ]; then
    check "systemd-sysusers makes the user" sh -c "systemd-sysusers --root='$root' 2>&1 && grep -q '^pilothouse:x:.*:/var/lib/pilothouse:/usr/sbin/nologin$' '$root/etc/passwd'"
    check "systemd-tmpfiles makes the folders" sh -c "systemd-tmpfiles --root='$root' --create 2>&1 && [ \"\$(stat -c %a '$root/var/lib/pilothouse' '$root/etc/pilothouse' | tr '\n' ' ')\" = '700 750 ' ]"
    user=$(cut -d: -f3 "$root/etc/passwd" | tail -n 1)
    check "and gives them to whom they belong" sh -c "[ \"\$(stat -c %u '$root/var/lib/pilothouse' '$root/etc/pilothouse' | tr '\n' ' ')\" = '$user 0 ' ]"
else
    skip "systemd-sysusers and systemd-tmpfiles in a root folder of their own" "needs root"
fi
check "the configuration that is shipped with it has keys of the example alone" python3 - <<'P'
import re, sys
# Keys by their path; the files are simple enough for two spaces a level.
def keys(path):
    stack, found = [], set()
    for line in open(path):
        m = re.match(r"^( *)(?:# )?([a-z_0-9]+):(?: |$)", line)
        if m and not (line.lstrip().startswith("#") and m.group(1) == ""):
            stack[len(m.group(1)) // 2:] = [m.group(2)]
            found.add(".".join(stack))
    return found
extra = keys("pilothouse.yaml") - keys("../../pilothouse.example.yaml")
sys.exit(f"unknown: {sorted(extra)}" if extra else 0)
P

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
