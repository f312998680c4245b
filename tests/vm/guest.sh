#!/bin/bash
# Runs as root inside the machine of tools/test-vm.sh, as a unit of systemd. A line of results begins with
# ✓ (passed), ✗ (failed) or - (skipped, with the reason). There is no network but loopback.
set -u
export PATH=/usr/local/bin:/usr/sbin:/usr/bin LC_ALL=C.UTF-8
pilothouse=/usr/local/bin/pilothouse
export HOME=/root
state=/var/lib/pilothouse
out=/run/guest
mkdir -p $out /run/systemd/system

ok() { echo "✓ $1"; }
bad() { echo "✗ $1"; [ $# -lt 2 ] || printf '%s\n' "$2" | tail -n 25 | sed 's/^/    /'; }
skip() { echo "- $1: $2"; }
section() { echo "== $1 ($(clock) s)"; }
told() { echo "  $*"; }
# check NAME COMMAND...: passed when the command succeeds; its output is shown otherwise.
check() {
    local name=$1 output; shift
    if output=$("$@" 2>&1); then ok "$name"; else bad "$name" "$output"; fi
}
# has TEXT PATTERN: an extended regular expression; says the text where it is missing.
has() { grep -qE -- "$2" <<<"$1" || { echo "no match for: $2"; echo "in: $1"; return 1; }; }
all() { local text=$1 one; shift; for one in "$@"; do has "$text" "$one" || return 1; done; }
hasnt() { ! has "$1" "$2" >/dev/null || { echo "unwanted: $2"; echo "in: $1"; return 1; }; }
clock() { cut -d' ' -f1 /proc/uptime; }
since() { awk -v a="$1" -v b="$(clock)" 'BEGIN {printf "%.1f", b - a}'; }
# until_true SECONDS COMMAND...: tries it several times a second.
until_true() {
    local end; end=$(($(date +%s) + $1)); shift
    until "$@" >/dev/null 2>&1; do [ "$(date +%s)" -lt $end ] || return 1; sleep 0.2; done
}
# in_unit NAME [DIRECTIVE...] < SCRIPT: runs the script as the shipped unit would run the server, with further
# lines for the unit; what it prints is in $said, its exit code is returned.
in_unit() {
    local name=$1; shift
    cat >"$out/$name.sh"
    mkdir -p "/run/systemd/system/$name.service.d"
    cp /etc/systemd/system/pilothouse.service "/run/systemd/system/$name.service"
    {
        echo "[Service]"
        printf '%s\n' Type=oneshot Restart=no ExecStart= "ExecStart=/bin/bash $out/$name.sh" TimeoutStartSec=120
        echo "StandardOutput=truncate:$out/$name.out"
        echo "StandardError=append:$out/$name.out"
        printf '%s\n' "$@"
    } >"/run/systemd/system/$name.service.d/test.conf"
    chmod 755 $out; chmod 644 "$out/$name.sh"
    systemctl daemon-reload
    systemctl start "$name.service" 2>/dev/null
    local code=$?
    said=$(cat "$out/$name.out" 2>/dev/null)
    return $code
}
healthy() { $pilothouse healthcheck --state-dir $state; }
send() { timeout 60 $pilothouse send --state-dir $state "$@" 2>&1; }
# Starts and stops of these tests do not count for StartLimitBurst=.
fresh() { systemctl reset-failed pilothouse 2>/dev/null; }
main_pid() { systemctl show -p MainPID --value pilothouse; }
stopped() { ! systemctl is-active --quiet pilothouse; }
# No process of the service's user.
nobody_left() { local left; left=$(ps -u pilothouse -o pid=,args=) || true; [ -z "$left" ] || { echo "$left"; return 1; }; }

echo "guest: up after $(clock) s; $(uname -r), $(systemctl --version | head -n 1 | cut -d' ' -f1-2), $(bwrap --version)"

# doc DOCUMENT BLOCK: runs one block of commands of docs/DOCUMENT.md as it stands there, in /root; what it printed is
# in $said. Each block that may be run must be, see the end.
doc() {
    echo "$1/$2.sh" >>$out/blocks
    said=$(cd /root && timeout 180 bash -e -o pipefail "/payload/docs/$1/$2.sh" 2>&1)
    local code=$?
    fresh
    if [ $code -eq 0 ]; then ok "docs/$1.md, $2"; else bad "docs/$1.md, $2" "code $code; $said"; fi
    return $code
}

# pilothouse_in NAME COMMAND [DIRECTIVE...] < CONFIGURATION: `pilothouse COMMAND` as the unit would run the server, with
# that configuration behind the shipped one.
pilothouse_in() {
    local name=$1 command=$2; shift 2
    { cat /etc/pilothouse/pilothouse.yaml; cat; } >"$out/$name.yaml"
    chmod 644 "$out/$name.yaml"
    # No shell and no `timeout` beside it: limits need a control group that is the server's alone.
    in_unit "$name" "$@" <<<"exec $pilothouse $command --config $out/$name.yaml"
}
# doctor NAME [DIRECTIVE...] < CONFIGURATION: its findings on isolation, printed as one line each:
# BACKEND GUARANTEE STATE WHY, BACKEND attack NAME RESULT.
doctor() {
    local name=$1; shift
    pilothouse_in "$name" "doctor --json" "$@"
    said=$(python3 -c '
import json, sys
text = open(sys.argv[1]).read()
for wall in json.loads(text[text.index("{"):])["isolation"]:
    for name, held in wall["guarantees"].items():
        print(wall["backend"], name, held["state"], held.get("why", held.get("how", "")), sep="  ")
    for attack in wall["attacks"]:
        print(wall["backend"], "attack", attack["name"], attack["result"], sep="  ")' "$out/$name.out" 2>&1 || head -c 3000 "$out/$name.out")
}
default="env fs.read fs.write peer-sessions server-memory processes net.egress net.loopback unix-sockets kill-tree"


install_it() {
    section "docs/installation.md, systemd"
    cp /payload/pilothouse-*.tar.gz /root/
    doc installation systemd-1
    check "the user has no shell and no password" sh -c 'getent passwd pilothouse | grep -q ":/usr/sbin/nologin$" && grep -q "^pilothouse:[!*]" /etc/shadow'
    check "folders: state for the service alone, configuration for root and readable for the service" \
        sh -c '[ "$(stat -c "%U:%G:%a" /var/lib/pilothouse /etc/pilothouse | tr "\n" " ")" = "pilothouse:pilothouse:700 root:pilothouse:750 " ]'
    check "systemd-analyze verify finds nothing" sh -c 'said=$(systemd-analyze verify /etc/systemd/system/pilothouse.service 2>&1) && [ -z "$said" ] || { echo "$said"; exit 1; }'
    check "the binary runs here" $pilothouse --version
}

restrictions() {
    section "inside the unit's restrictions"
    # Everything that the backend asks of bubblewrap; each of the directives below is known to break it.
    wall='bwrap --unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup-try --unshare-net --disable-userns
        --die-with-parent --new-session --uid 1000 --gid 1000 --hostname agent --clearenv --cap-drop ALL --ro-bind /usr /usr --symlink usr/bin /bin --symlink usr/lib /lib
        --symlink usr/lib64 /lib64 --proc /proc --dev /dev --tmpfs /tmp --bind /var/lib/pilothouse /workspace --chdir /workspace'
    wall=$(echo $wall)
    in_unit bubblewrap <<<"$wall /bin/sh -c 'set -- /proc/[0-9]*; echo processes seen: \$#; grep -c lo: /proc/net/dev; echo x >/workspace/made && rm /workspace/made && echo written'"
    code=$?
    check "bubblewrap works: own processes, network, /proc, and the workspace" sh -c "[ $code -eq 0 ] && grep -q written $out/bubblewrap.out && grep -qE 'seen: [1-3]$' $out/bubblewrap.out || { echo code $code; cat $out/bubblewrap.out; exit 1; }"
    breaks() { # breaks NAME WORDS DIRECTIVE...: bubblewrap must fail, not the unit, and in that way
        local name=$1 words=$2; shift 2
        in_unit breaks "$@" <<<"$wall /usr/bin/true"
        if has "$said" "^bwrap: .*$words" >/dev/null; then ok "$name breaks bubblewrap, as the unit says: ${said##*bwrap: }"; else bad "$name breaks bubblewrap, as the unit says" "$said"; fi
    }
    breaks "RestrictNamespaces=yes" "No permissions to create" RestrictNamespaces=yes
    breaks "ProcSubset=pid" /proc/sys ProcSubset=pid
    breaks "ProtectKernelTunables=yes without the exception" max_user_namespaces ReadWritePaths=
    breaks "ProtectHostname=yes" "set hostname" ProtectHostname=yes
    breaks "no sethostname" "set hostname" SystemCallFilter=~sethostname
    breaks "no AF_NETLINK" NETLINK RestrictAddressFamilies= "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    breaks "no @mount" "Operation not permitted" SystemCallFilter=~@mount
    in_unit landlock <<<"perl -e 'print syscall(444, 0, 0, 1), qq(\n)'"
    check "Landlock answers through the filter, and is the old one of this kernel (ABI 2)" has "$said" '^2$'
    in_unit nofilter "SystemCallFilter=~landlock_create_ruleset" <<<"perl -e 'print syscall(444, 0, 0, 1), qq(\n)'"
    check "and does not where the filter leaves it out" has "$said" '^-1$'
    in_unit seccomp <<<"perl -e '\$action = pack(q(L), 0x7fff0000); print syscall(317, 2, 0, \$action), qq(\n)'"
    check "a filter of system calls can be put up inside" has "$said" '^0$'
    in_unit rights <<<'id -u; grep -E "CapEff|NoNewPrivs|Seccomp:" /proc/self/status; for f in /etc/pilothouse/x /usr/x /x /home /root /sys/fs/cgroup/x; do [ ! -w "$f" ] && ! touch "$f" 2>/dev/null || echo "writable: $f"; done; ls /dev | tr "\n" " "'
    check "no capabilities, no new privileges, a filter, nothing writable but the state" sh -c "grep -q 'CapEff:.0000000000000000' $out/rights.out && grep -q 'NoNewPrivs:.1' $out/rights.out && grep -q 'Seccomp:.2' $out/rights.out && ! grep -q writable: $out/rights.out && ! grep -q nvme $out/rights.out || { cat $out/rights.out; exit 1; }"
}

cgroups() {
    section "delegated cgroups (the mechanism, without Pilothouse)"
    cat >$out/delegated <<'S'
own=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
mkdir "$own/server" && echo $$ >"$own/server/cgroup.procs" && echo "+cpu +memory +pids" >"$own/cgroup.subtree_control" || exit 1
echo "controllers: $(cat "$own/cgroup.subtree_control")"
mkdir "$own/s" && echo 64 >"$own/s/pids.max" && echo 128M >"$own/s/memory.max" && echo 1 >"$own/s/memory.oom.group" || exit 1
# Each child goes into the cgroup before it does anything.
bash -c 'echo $BASHPID >'"$own"'/s/cgroup.procs; for i in $(seq 100); do sleep 60 & done' 2>/dev/null
echo "fork bomb: pids.events $(cat "$own/s/pids.events"), $(wc -l <"$own/s/cgroup.procs") processes"
setsid sleep 60 & # not of this cgroup; must live
other=$!
echo 1 >"$own/s/cgroup.kill"
for i in $(seq 50); do grep -q "populated 0" "$own/s/cgroup.events" && break; sleep 0.1; done
echo "after cgroup.kill: $(head -n 1 "$own/s/cgroup.events")"
kill -0 $other && echo "the other one lives" && kill $other
bash -c 'echo $BASHPID >'"$own"'/s/cgroup.procs; exec perl -e "my \$x = q(x) x (400 << 20); print qq(survived\n)"'
echo "memory hog: code $?, $(grep oom_kill "$own/s/memory.events" | head -n 1)"
rmdir "$own/s"
S
    in_unit delegated <$out/delegated
    check "Delegate= gives the service cpu, memory and pids" has "$said" "controllers: cpu memory pids"
    check "pids.max stops a fork bomb" has "$said" 'fork bomb: pids.events max [1-9][0-9]*, 6[0-4] processes'
    check "cgroup.kill ends them all, and nobody else" sh -c "grep -q 'after cgroup.kill: populated 0' $out/delegated.out && grep -q 'other one lives' $out/delegated.out || { cat $out/delegated.out; exit 1; }"
    check "memory.max ends a memory hog" has "$said" 'memory hog: code 137, oom_kill [1-9]'
    in_unit undelegated Delegate=no <$out/delegated
    check "without Delegate= none of it can be done" has "$said" "^mkdir: cannot create directory .*: Permission denied"
}

service() {
    section "the service with the demo agent"
    began=$(clock)
    doc installation systemd-2
    if until_true 40 healthy; then ok "serves after $(since "$began") s"; else bad "serves" "$(systemctl status pilothouse 2>&1; journalctl -u pilothouse --no-pager 2>&1)"; fi
    doc installation systemd-3
    began=$(clock)
    answer=$(send "hello from the machine")
    check "a turn through \`pilothouse send\`" has "$answer" "You said: hello from the machine"
    told "it took $(since "$began") s; $(tail -n 1 <<<"$answer")"
    context=$(grep -oE 'context [0-9a-f-]{36}' <<<"$answer" | cut -d' ' -f2)
    check "a second turn in the same session" has "$(send -c "$context" again)" "turn 2 of this session"
    check "the journal has the start, and nothing of what was said" sh -c "journalctl -u pilothouse --no-pager -o cat | grep -q 'serving' && ! journalctl -u pilothouse --no-pager -o cat | grep -q 'hello from'"
    check "the state is readable for the service alone" sh -c '[ -z "$(find /var/lib/pilothouse -perm /077 ! -type l)" ] || { find /var/lib/pilothouse -perm /077 ! -type l; exit 1; }'
    began=$(clock)
    check "systemctl stop" systemctl stop pilothouse
    told "it took $(since "$began") s"
    check "nothing is left of it" nobody_left
    check "it ended well" has "$(systemctl show -p Result --value pilothouse)" success
}

wall() {
    section "the wall, in the unit (doctor)"
    systemctl stop pilothouse
    doctor usual </dev/null
    held() { local one; for one in $2; do has "$said" "^$1  $one  in force" || return 1; done; }
    check "auto takes bubblewrap" has "$(head -n 1 <<<"$said")" "^bubblewrap  "
    check "all that is required by default is in force: $default" held bubblewrap "$default"
    check "no attack got through" hasnt "$said" "^bubblewrap  attack  .*  succeeded"
    told "$(grep -c "^bubblewrap  attack  .*  stopped" <<<"$said") attacks stopped; $(grep "^bubblewrap  attack" <<<"$said" | grep -vc "  stopped") others: $(grep "^bubblewrap  attack" <<<"$said" | grep -v "  stopped" | cut -c21- | tr '\n' ';')"
    doctor limits <<'S'
isolation:
  require: [env, fs.read, fs.write, peer-sessions, server-memory, processes, net.egress, net.loopback, unix-sockets, kill-tree, pids, memory]
  limits: {pids: 64, memory: 128MiB}
S
    told "$(grep -E '^bubblewrap  (pids|memory|disk)' <<<"$said" | tr '\n' ';')"
    check "with limits: pids and memory are in force, the fork bomb and the memory hog stopped" \
        all "$said" '^bubblewrap  pids  in force' '^bubblewrap  memory  in force' '^bubblewrap  attack  limits.forks  stopped' '^bubblewrap  attack  limits.memory  stopped'
}

limits() {
    section "limits that the kernel keeps, with a real agent"
    cp /etc/pilothouse/pilothouse.yaml $out/shipped.yaml
    cat >>/etc/pilothouse/pilothouse.yaml <<'S'
isolation:
  require: [env, fs.read, fs.write, peer-sessions, server-memory, processes, net.egress, net.loopback, unix-sockets, kill-tree, pids, memory]
  limits: {pids: 64, memory: 128MiB, cpu: 0.5}
agent: shell
agents:
  shell: {driver: command, program: sh, args: [-c, 'eval "$1"', sh]}
S
    fresh; systemctl start pilothouse
    if until_true 40 healthy; then ok "the server starts where pids and memory are required"; else bad "the server starts where pids and memory are required" "$(journalctl -u pilothouse -n 30 --no-pager)"; fi
    told "$(curl -s http://127.0.0.1:2222/ready)"
    said=$(send 'i=0; while [ $i -lt 200 ]; do sleep 60 & i=$((i + 1)); done; echo never')
    check "a fork bomb of an agent is stopped" has "$said" "[Cc]annot fork|Resource temporarily unavailable|fork"
    check "and none of it is left" until_true 10 sh -c '! ps -u pilothouse -o args= | grep -q "^sleep 60"'
    said=$(send 'head -c 300M /dev/zero | tail -c 300M | wc -c; echo survived')
    check "a memory hog of an agent is ended" hasnt "$said" "survived|^314572800"
    told "$(tail -n 3 <<<"$said" | tr '\n' ' ')"
    check "the server is none the worse for it" has "$(send 'echo alive')" "alive"
    task=$(send --no-wait 'sleep 77 & setsid sleep 77 & (setsid sleep 77 &); sleep 77' | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' | head -n 1)
    if until_true 40 sh -c '[ "$(ps -u pilothouse -o args= | grep -c "^sleep 77")" -ge 4 ]'; then
        pid=$(pgrep -u pilothouse -f '^sleep 77' | head -n 1)
        group=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$pid/cgroup")
        check "the kernel has the limits: pids, memory, processor time" has "$(cat "$group/pids.max" "$group/memory.max" "$group/cpu.max" | tr '\n' ' ')" "^64 134217728 50000 100000 "
        began=$(clock)
        $pilothouse tasks --state-dir $state cancel "$task" >/dev/null 2>&1
        check "cancel: all four are gone within 8 s" until_true 8 sh -c '! ps -u pilothouse -o args= | grep -q "^sleep 77"'
        told "it took $(since "$began") s"
        check "and their control group with them" until_true 8 test ! -e "$group"
    else
        bad "an agent with a tree runs" "$(ps -u pilothouse -o pid,args)"
    fi
    check "systemctl restart, with groups of sessions below the unit's" sh -c 'systemctl restart pilothouse'
    check "serves again" until_true 40 healthy
    systemctl stop pilothouse
    cp $out/shipped.yaml /etc/pilothouse/pilothouse.yaml
}

refusals() {
    section "what the server refuses"
    # refuses NAME: it must end by itself, with a code that is not 0.
    pilothouse_in undelegated "serve --port 0" Delegate=no <<'S'
isolation: {require: [pids], limits: {pids: 64}}
S
    code=$?
    check "without Delegate=, pids required: no start" test $code -ne 0 -a "$(systemctl show -p ExecMainStatus --value undelegated)" != 124
    check "the message names the guarantee, the cause and the key" all "$said" 'does not give .pids' 'not delegated' 'isolation\.require'
    told "$(grep -m1 pids <<<"$said")"
    pilothouse_in oldkernel "serve --port 0" <<<'isolation: {backend: landlock}'
    code=$?
    check "backend landlock on this kernel (ABI 2): no start" test $code -ne 0 -a "$(systemctl show -p ExecMainStatus --value oldkernel)" != 124
    # What it cannot do here: Landlock learned truncate with ABI 3, signals with 6; and never /proc.
    for one in fs.write peer-sessions processes; do
        check "it does not give $one, and says so" has "$said" "landlock: does not give .$one"
    done
    check "and not that it lacks what it has" hasnt "$said" "landlock: does not give .(env|fs.read|kill-tree|net.egress|net.loopback)"
    told "$(tail -n 2 <<<"$said" | tr '\n' ' ')"
    doctor landlock <<<'isolation: {backend: landlock, require: [env, fs.read, kill-tree]}'
    check "with what it has, it is in force" held landlock "env fs.read kill-tree"
    # Landlock has no rules for TCP here; supervisors, which this kernel notifies of connect, do without.
    check "and the network is kept by the supervisors" held landlock "net.egress net.loopback"
    told "in force: $(awk '$1 == "landlock" && $3 " " $4 == "in force" {printf "%s ", $2}' <<<"$said")"
    pilothouse_in nonamespaces "serve --port 0" RestrictNamespaces=yes </dev/null
    code=$?
    check "no namespaces for the service: no start, and bubblewrap's own words" sh -c "[ $code -ne 0 ] && grep -q 'bubblewrap: .*namespace' $out/nonamespaces.out || { cat $out/nonamespaces.out; exit 1; }"
    pilothouse_in nobwrap "serve --port 0" InaccessiblePaths=/usr/bin/bwrap </dev/null
    code=$?
    check "no bwrap: no start, and what to do" sh -c "[ $code -ne 0 ] && grep -q 'bubblewrap' $out/nobwrap.out || { cat $out/nobwrap.out; exit 1; }"
    told "$(grep -m1 bubblewrap: <<<"$said")"
    systemctl start pilothouse; until_true 40 healthy
}

ends() {
    section "ends in the middle of a turn"
    fresh; systemctl start pilothouse; until_true 40 healthy
    context=$(send hello | grep -oE 'context [0-9a-f-]{36}' | cut -d' ' -f2)
    systemctl stop pilothouse
    # An agent with a tree: a child, one that left the group, one that is nobody's child any more.
    cp /etc/pilothouse/pilothouse.yaml $out/shipped.yaml
    cat >>/etc/pilothouse/pilothouse.yaml <<'S'
agent: tree
agents:
  tree:
    driver: command
    program: sh
    args: [-c, 'sleep 301 & setsid sleep 302 & (setsid sleep 303 &) ; sleep 304', sh]
S
    trees() { [ "$(ps -u pilothouse -o args= | grep -cE '^sleep 30[1-4]')" -ge 4 ]; }
    no_trees() { ! ps -u pilothouse -o args= | grep -qE '^sleep 30[1-4]'; }
    start_tree() { # the id of the task in $task
        until_true 40 healthy || return 1
        task=$(send --no-wait "go" | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' | tail -n 1)
        until_true 40 trees
    }
    fresh; systemctl start pilothouse
    if start_tree; then
        began=$(clock)
        systemctl stop pilothouse
        told "stop with a running turn took $(since "$began") s"
        check "stop: the agent's whole tree is gone" nobody_left
        check "stop: within timeouts.shutdown, so nobody had to be killed" has "$(systemctl show -p Result --value pilothouse)" success
        systemctl start pilothouse; until_true 40 healthy
        check "stop: the task says what became of it" has "$($pilothouse tasks --state-dir $state get "$task" 2>&1)" "(CANCELED|FAILED|canceled|failed)"
    else
        bad "the agent with a tree runs" "$(ps -u pilothouse -o pid,args; journalctl -u pilothouse -n 30 --no-pager)"
    fi
    if start_tree; then
        old=$(main_pid)
        kill -KILL "$old"
        check "SIGKILL of the server: the agent's whole tree is gone within 5 s" until_true 5 no_trees
        if until_true 40 healthy && [ "$(main_pid)" != "$old" ]; then ok "SIGKILL of the server: systemd starts it again"; else bad "SIGKILL of the server: systemd starts it again" "$(systemctl status pilothouse)"; fi
        check "SIGKILL of the server: the task failed, with the reason" has "$($pilothouse tasks --state-dir $state get "$task" 2>&1)" "(FAILED|failed)"
    else
        bad "the agent with a tree runs again" "$(ps -u pilothouse -o pid,args; journalctl -u pilothouse -n 30 --no-pager)"
    fi
    check "and it goes on as if nothing had been" sh -c "systemctl stop pilothouse; cp $out/shipped.yaml /etc/pilothouse/pilothouse.yaml; systemctl start pilothouse"
    until_true 40 healthy
    check "the session of before goes on after all of that" has "$(send -c "$context" --agent demo again)" "turn 2 of this session"
    systemctl stop pilothouse; fresh
    echo "listen: 12" >>/etc/pilothouse/pilothouse.yaml
    systemctl start pilothouse; until_true 20 stopped
    check "a wrong configuration is not tried again and again" has "$(systemctl show -p ExecMainStatus -p NRestarts -p Result pilothouse | tr '\n' ' ')" "NRestarts=0 .*ExecMainStatus=78|ExecMainStatus=78 .*NRestarts=0|Result=exit-code NRestarts=0 ExecMainStatus=78"
    check "and says what is wrong in the journal" has "$(journalctl -u pilothouse -n 8 -o cat --no-pager)" "listen"
    cp $out/shipped.yaml /etc/pilothouse/pilothouse.yaml; fresh
}

operations() {
    section "docs/operations.md"
    systemctl start pilothouse; until_true 40 healthy
    before=$(send "said before the backup")
    context=$(grep -oE 'context [0-9a-f-]{36}' <<<"$before" | cut -d' ' -f2)
    doc operations look-at-it-1
    doc operations look-at-it-2
    (for i in $(seq 20); do send "meanwhile $i" >/dev/null 2>&1; done) & load=$!
    sleep 1
    doc operations backup-1
    check "the backup is whole and has that task" sh -c "[ \"\$(sqlite3 /var/backups/pilothouse/pilothouse.db 'PRAGMA integrity_check')\" = ok ] && sqlite3 /var/backups/pilothouse/pilothouse.db 'SELECT context_id FROM tasks' | grep -q '$context'"
    check "a copy of the file alone would not have had it" sh -c "cp $state/pilothouse.db $out/alone.db; ! sqlite3 $out/alone.db 'SELECT context_id FROM tasks' 2>/dev/null | grep -q '$context'"
    check "it is readable for root and the service alone" sh -c '[ -z "$(find /var/backups/pilothouse -perm /077)" ]'
    wait $load
    # The other way to make it, over the first one.
    doc operations backup-2
    after=$(send "said after the backup")
    after=$(grep -oE 'context [0-9a-f-]{36}' <<<"$after" | cut -d' ' -f2)
    # The store must stay the server's while others read it, or what it writes from then on is lost with a crash.
    check "the server goes on in the same files" sh -c "! ls -l /proc/$(main_pid)/fd | grep 'pilothouse.db.*(deleted)'"
    kill -KILL "$(main_pid)"; sleep 1; until_true 40 healthy
    check "after a backup and a SIGKILL nothing is missing" has "$(sqlite3 -readonly $state/pilothouse.db 'SELECT context_id FROM tasks')" "$after"
    token=$(cat $state/token)
    doc operations restore-1
    until_true 40 healthy
    check "restored: what was said before the backup" has "$(send -c "$context" again)" "turn 2 of this session"
    check "restored: and nothing later" hasnt "$(sqlite3 -readonly $state/pilothouse.db 'SELECT context_id FROM tasks')" "$after"
    check "restored: the same token" test "$token" = "$(cat $state/token)"
    check "restored: owners and modes as they were" sh -c '[ -z "$(find /var/lib/pilothouse ! -user pilothouse -o -perm /077 ! -type l)" ] || { find /var/lib/pilothouse ! -user pilothouse -o -perm /077 ! -type l; exit 1; }'
    rm -rf /var/lib/pilothouse.before

    # A turn of some seconds, through the time of the upgrade.
    cat >>/etc/pilothouse/pilothouse.yaml <<'S'
agents:
  slow: {driver: command, program: sh, args: [-c, 'sleep 12; echo done', sh]}
S
    systemctl restart pilothouse; until_true 40 healthy
    task=$(send --no-wait --agent slow go | grep -oE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' | head -n 1)
    old=$(main_pid)
    cp $pilothouse $out/new; mv $out/new $pilothouse
    check "a new file in the program's place does not touch the server" healthy
    doc operations upgrade-1
    until_true 40 healthy
    check "the upgrade has waited for the turn" has "$($pilothouse tasks --state-dir $state get "$task" 2>&1)" completed
    check "and has then restarted the server" sh -c "[ '$old' != '$(main_pid)' ]"
    doc operations disk-1
    until_true 40 healthy
    doc operations disk-2
    doc operations logs-1
    check "the audit log tells who called, and not what" all "$said" '"action":"SendStreamingMessage"'
    check "nor does the log" hasnt "$said" "meanwhile"
}

removal() {
    section "the end"
    doc installation remove-it-1
    check "nothing is left of it" sh -c '! id pilothouse 2>/dev/null && ! find / -xdev -name "*pilothouse*" ! -path "/payload/*" ! -path "/root/*" ! -path "/var/log/*" ! -path "/var/backups/*" ! -path "/run/*" ! -path "/tmp/*" ! -path "/usr/lib/*" | grep .'
    left=$(cd /payload/docs && ls installation/systemd-*.sh installation/remove-it-*.sh operations/*.sh | grep -vxFf $out/blocks)
    if [ -e /payload/all ]; then check "every block of these documents has been run" test -z "$left"; [ -z "$left" ] || told "$left"; fi
}

install_it
for part in $(cat /payload/parts); do $part; done
echo "guest: done after $(clock) s"
sync
