//! Machines on which a wall cannot be put up: the server does not start, says why, and what accepts less.

use super::{USUAL, Wall};
use crate::building::{Builder, Failure};
use crate::world::World;
use serde_json::{Value, json};

/// Something outside failed.
const UNAVAILABLE: Option<i32> = Some(69);

/// The server in a user namespace of an ordinary user's that allows none below it: what `sysctl user.max_user_namespaces=0` does
/// to a machine.
const NO_NAMESPACES: [&str; 5] = [
    "unshare",
    "--map-root-user",
    "sh",
    "-c",
    "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"",
];

/// The server in a mount namespace in which there is no program at the path of `bwrap`.
const NO_BWRAP: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mount --bind /dev/null \"$(command -v bwrap)\" && exec \"$0\" \"$@\"",
];

/// The server under a filter that answers `landlock_create_ruleset` with an error: 38 (`ENOSYS`) is what a
/// kernel before 5.13 says, and what an old container engine's filter may; 95 (`EOPNOTSUPP`) what one says
/// that has Landlock but was not started with it.
const FILTERED: &str = r"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def step(code, yes, no, value):
    return struct.pack('HBBI', code, yes, no, value)
# Load the number of the call; is it landlock_create_ruleset? Then this error, else go on.
steps = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 444) + step(0x06, 0, 0, 0x50000 | int(sys.argv[1])) + step(0x06, 0, 0, 0x7fff0000)
held = ctypes.create_string_buffer(steps)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 4, ctypes.addressof(held)))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit('the filter could not be put up: %d' % ctypes.get_errno())
os.execv(sys.argv[2], sys.argv[2:])
";

/// The server under a filter that lets nobody have a filter with notifications, as on kernels before 5.0 and where
/// the engine of a container has one itself.
const NO_NOTIFICATIONS: &str = r"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def step(code, yes, no, value):
    return struct.pack('HBBI', code, yes, no, value)
number = {'x86_64': 317, 'aarch64': 277}[os.uname().machine]
# Is it seccomp, and does it ask for notifications (8)? Then EINVAL, else go on.
steps = step(0x20, 0, 0, 0) + step(0x15, 0, 3, number) + step(0x20, 0, 0, 24) + step(0x45, 0, 1, 8) + step(0x06, 0, 0, 0x50016) + step(0x06, 0, 0, 0x7fff0000)
held = ctypes.create_string_buffer(steps)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', 6, ctypes.addressof(held)))
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit('the filter could not be put up: %d' % ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
";

fn filtered(errno: &'static str) -> [&'static str; 4] {
    ["python3", "-c", FILTERED, errno]
}

/// A world that requires what is required by default.
fn requiring(backend: &str) -> Builder {
    World::describe().config(json!({"isolation": {"backend": backend, "require": USUAL}}))
}

/// The message for the operator, without what is told before it.
fn told(failure: &Failure) -> String {
    assert_eq!(failure.code, UNAVAILABLE, "{}", failure.stderr);
    let at =
        failure.stderr.find("no isolation gives").unwrap_or_else(|| panic!("{}", failure.stderr));
    let bwrap = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("bwrap"))
        .find(|program| program.is_file());
    let bwrap = bwrap.unwrap_or_default().display().to_string();
    // This attack is a race that is won most of the time where nothing stops it.
    failure.stderr[at..].replace(&bwrap, "[path]/bwrap").replace(", tcp.swapped", "")
}

/// The list of guarantees that the message says to accept.
fn accepted(told: &str) -> Vec<&str> {
    let list = told.split("`isolation.require: [").nth(1).unwrap();
    list.split(']').next().unwrap().split(", ").collect()
}

fn in_force(world: &World) -> Value {
    world.readiness()["isolation"]["backend"].clone()
}

#[test]
fn without_user_namespaces_it_does_not_start_and_says_what_accepts_less() {
    let told = told(&requiring("auto").through(NO_NAMESPACES).ordinary().fails());
    insta::assert_snapshot!(told, @r"
    no isolation gives what `isolation.require` asks for:
      bubblewrap: the sandbox of `/proc/self/fd/5` could not be made (a user namespace): No space left on device (os error 28); user namespaces are off: set `sysctl user.max_user_namespaces` above 0
      landlock: does not give `processes`: Landlock does not restrict what /proc shows of other processes (attacks succeeded: processes.list, processes.cmdline)
    to accept less, without processes, by landlock: `isolation.require: [env, fs.read, fs.write, peer-sessions, server-memory, net.egress, net.loopback, unix-sockets, kill-tree]`
    to run without a sandbox: `isolation.backend: none` (--isolation none)
    ");
    let less = accepted(&told);
    assert_eq!(less, Wall::Landlock.gives());
    let world = requiring("auto")
        .config(json!({"isolation": {"require": less}}))
        .through(NO_NAMESPACES)
        .ordinary()
        .start();
    assert_eq!(in_force(&world), "landlock");
    assert_eq!(crate::reading::answer(&world.say("say behind it")), "behind it");
}

#[test]
fn without_user_namespaces_bubblewrap_alone_does_not_start() {
    let told = told(&requiring("bubblewrap").through(NO_NAMESPACES).fails());
    insta::assert_snapshot!(told, @r"
    no isolation gives what `isolation.require` asks for:
      bubblewrap: the sandbox of `/proc/self/fd/5` could not be made (a user namespace): No space left on device (os error 28); user namespaces are off: set `sysctl user.max_user_namespaces` above 0
    to run without a sandbox: `isolation.backend: none` (--isolation none)
    ");
}

#[test]
fn without_bwrap_it_does_not_start_and_says_which_package_to_install() {
    let told = told(&requiring("auto").through(NO_BWRAP).ordinary().fails());
    insta::assert_snapshot!(told, @r"
    no isolation gives what `isolation.require` asks for:
      bubblewrap: the program `bwrap` is not there; install the package bubblewrap (0.8 or newer)
      landlock: does not give `processes`: Landlock does not restrict what /proc shows of other processes (attacks succeeded: processes.list, processes.cmdline)
    to accept less, without processes, by landlock: `isolation.require: [env, fs.read, fs.write, peer-sessions, server-memory, net.egress, net.loopback, unix-sockets, kill-tree]`
    to run without a sandbox: `isolation.backend: none` (--isolation none)
    ");
    let less = accepted(&told);
    let world = requiring("auto")
        .config(json!({"isolation": {"require": less}}))
        .through(NO_BWRAP)
        .ordinary()
        .start();
    assert_eq!(in_force(&world), "landlock");
}

#[test]
fn without_landlock_in_the_kernel_the_backend_landlock_does_not_start() {
    let told = told(&requiring("landlock").through(filtered("38")).fails());
    insta::assert_snapshot!(told, @r"
    no isolation gives what `isolation.require` asks for:
      landlock: this kernel has no Landlock, or a filter of system calls hides it; it came with Linux 5.13 and is switched on by `lsm=landlock,...` on the kernel's command line
    to run without a sandbox: `isolation.backend: none` (--isolation none)
    ");
}

#[test]
fn with_a_landlock_that_is_switched_off_the_backend_landlock_does_not_start() {
    let told = told(&requiring("landlock").through(filtered("95")).fails());
    assert!(told.contains("lsm=landlock"), "{told}");
}

#[test]
fn without_notifications_landlock_does_not_promise_the_network_and_the_start_says_what_helps() {
    let without = ["python3", "-c", NO_NOTIFICATIONS];
    let told = told(&requiring("landlock").through(without).fails());
    insta::assert_snapshot!(told, @r"
    no isolation gives what `isolation.require` asks for:
      landlock: does not give `processes`: Landlock does not restrict what /proc shows of other processes (attacks succeeded: processes.list, processes.cmdline)
      landlock: does not give `net.egress`: Landlock rules TCP by port alone, so the proxy's port is open at every address; where the kernel notifies supervisors of `connect` (seccomp, Linux 5.19; no other filter above with notifications, `kernel.yama.ptrace_scope` below 2) they connect to the proxy's address alone (TCP is open: attacks succeeded: tcp.proxy_port, tcp.proxy_port_v6, tcp.proxy_port_mapped)
      landlock: does not give `net.loopback`: Landlock rules TCP by port alone, so the proxy's port is open at every address; where the kernel notifies supervisors of `connect` (seccomp, Linux 5.19; no other filter above with notifications, `kernel.yama.ptrace_scope` below 2) they connect to the proxy's address alone (attacks succeeded: tcp.proxy_port, tcp.proxy_port_v6, tcp.proxy_port_mapped)
    to accept less, without processes, net.egress, net.loopback, by landlock: `isolation.require: [env, fs.read, fs.write, peer-sessions, server-memory, unix-sockets, kill-tree]`
    to run without a sandbox: `isolation.backend: none` (--isolation none)
    ");
    let less = accepted(&told);
    let world = requiring("landlock")
        .config(json!({"isolation": {"require": less}}))
        .through(without)
        .start();
    let card = world.get("/.well-known/agent-card.json", &[]).text();
    assert!(card.contains("kill-tree") && !card.contains("net."), "{card}");
    assert_eq!(crate::reading::answer(&world.say("say behind it")), "behind it");
}

#[test]
fn without_landlock_bubblewrap_gives_all_that_is_required_by_itself() {
    let world = requiring("auto").through(filtered("38")).start();
    assert_eq!(in_force(&world), "bubblewrap");
    assert_eq!(crate::reading::answer(&world.say("say behind it")), "behind it");
}

#[test]
fn where_there_is_neither_only_no_wall_at_all_is_left_to_accept() {
    let [python, c, filter, errno] = filtered("38");
    let [unshare, map, sh, dash, script] = NO_NAMESPACES;
    let neither = [python, c, filter, errno, "/usr/bin/unshare", map, sh, dash, script];
    assert_eq!(unshare, "unshare");
    let told = told(&requiring("auto").through(neither).fails());
    insta::assert_snapshot!(told, @r"
    no isolation gives what `isolation.require` asks for:
      bubblewrap: the sandbox of `/proc/self/fd/5` could not be made (a user namespace): No space left on device (os error 28); user namespaces are off: set `sysctl user.max_user_namespaces` above 0
      landlock: this kernel has no Landlock, or a filter of system calls hides it; it came with Linux 5.13 and is switched on by `lsm=landlock,...` on the kernel's command line
    to run without a sandbox: `isolation.backend: none` (--isolation none)
    ");
    let world = World::describe().through(neither).start();
    assert_eq!(in_force(&world), "none");
}

#[test]
fn a_backend_that_is_not_there_yet_is_refused_by_name() {
    let told = told(&requiring("container").fails());
    assert!(told.contains("container"), "{told}");
}

#[test]
fn a_state_folder_inside_of_a_workspace_that_all_share_is_refused() {
    for wall in super::WALLS {
        let builder = wall.described();
        let shared = builder.path("");
        let inside = json!({"workspace": {"mode": "shared", "path": shared}});
        let failure = builder.config(inside).fails();
        assert_eq!(failure.code, Some(69));
        assert!(failure.stderr.contains("which agents of `fake` may change"), "{}", failure.stderr);
    }
}
