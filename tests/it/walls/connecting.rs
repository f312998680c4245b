//! Where an agent shares the machine's network its supervisor makes its connections (Landlock): what a program
//! finds that connects.

use super::Wall;
use super::egress::VIA;
use crate::reading::{answer, message, state};
use crate::world::World;
use serde_json::json;

/// The proxy's port, and what `connect` returns: the name of its error, or 0.
const BEGIN: &str = r#"
import ctypes, errno, fcntl, os, select, socket, threading, urllib.parse
PORT = urllib.parse.urlparse(os.environ['HTTP_PROXY']).port
def code(family, address, port=PORT):
    error = socket.socket(family).connect_ex((address, port))
    return errno.errorcode.get(error, error)
"#;

/// What a program says that runs in a session.
pub(super) fn python(world: &World, script: &str) -> String {
    let task = world.say(&format!("/usr/bin/python3 - <<'END'\n{BEGIN}\n{script}\nEND"));
    assert_eq!(state(&task), "COMPLETED", "{task:#}");
    answer(&task)
}

#[test]
fn only_the_proxys_address_is_connected_to_in_both_of_its_spellings() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
v4, v6 = socket.AF_INET, socket.AF_INET6
print(code(v4, '127.0.0.1'), code(v6, '::ffff:127.0.0.1'))
print(code(v4, '127.0.0.2'), code(v4, '0.0.0.0'), code(v6, '::1'), code(v6, '::ffff:127.0.0.2'), code(v6, '::'))
print(code(v4, '127.0.0.1', PORT ^ 1))
"#;
    assert_eq!(python(&world, script), "0 0\nEACCES EACCES EACCES EACCES EACCES\nEACCES\n");
}

#[test]
fn the_connection_waits_or_not_and_is_inherited_or_not_as_the_socket_was() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
for waits in (True, False):
    for inherited in (True, False):
        one = socket.socket()
        one.setblocking(waits)
        one.set_inheritable(inherited)
        begun = one.connect_ex(('127.0.0.1', PORT))
        assert begun in (0, errno.EINPROGRESS), begun
        select.select([], [one], [])
        assert one.getpeername() == ('127.0.0.1', PORT)
        flags = fcntl.fcntl(one, fcntl.F_GETFL) & os.O_NONBLOCK
        print(flags == 0, fcntl.fcntl(one, fcntl.F_GETFD) == 0)
"#;
    assert_eq!(python(&world, script), "True True\nTrue False\nFalse True\nFalse False\n");
}

#[test]
fn a_call_that_is_wrong_fails_as_it_does_without_a_sandbox() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
import sys
# Between the two threads for each call; the default of 5 ms made this test a matter of the machine's load.
sys.setswitchinterval(1e-5)
libc = ctypes.CDLL(None, use_errno=True)
right = b'\2\0' + PORT.to_bytes(2, 'big') + b'\x7f\0\0\1' + bytes(8)
one = socket.socket()
for descriptor, address, length in (999, right, 16), (-1, right, 16), (one.fileno(), 8, 16), (one.fileno(), right, 3):
    assert libc.connect(descriptor, address, length) == -1
    print(errno.errorcode[ctypes.get_errno()])
"#;
    assert_eq!(python(&world, script), "EBADF\nEBADF\nEFAULT\nEINVAL\n");
}

#[test]
fn many_threads_connect_at_once() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
made = []
def connect():
    for _ in range(20):
        with socket.socket() as one:
            one.connect(('127.0.0.1', PORT))
            made.append(one)
threads = [threading.Thread(target=connect) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(made))
"#;
    assert_eq!(python(&world, script), "320\n");
}

#[test]
fn an_address_that_changes_under_way_leads_to_the_proxy_or_nowhere() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
libc = ctypes.CDLL(None, use_errno=True)
right = b'\2\0' + PORT.to_bytes(2, 'big') + b'\x7f\0\0\1' + bytes(8)
held = ctypes.create_string_buffer(right, 16)
over = False
def write():
    while not over:
        held[7] = b'\2'
        held[7] = b'\1'
writer = threading.Thread(target=write)
writer.start()
peers = set()
for _ in range(200):
    with socket.socket() as one:
        if libc.connect(one.fileno(), held, 16) == 0:
            peers.add(one.getpeername())
over = True
writer.join()
print(peers == {('127.0.0.1', PORT)})
"#;
    assert_eq!(python(&world, script), "True\n");
}

#[test]
fn the_session_of_an_ordinary_user_reaches_the_proxy() {
    let world = Wall::Landlock.shell().ordinary().start();
    let said = answer(&world.say(&format!("{VIA} via nowhere.example:80")));
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
}

#[test]
fn a_process_that_left_its_group_connects_as_well() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
if os.fork() == 0:
    os.setsid()
    print(code(socket.AF_INET, '127.0.0.1'), flush=True)
    os._exit(0)
os.wait()
"#;
    assert_eq!(python(&world, script), "0\n");
}

#[test]
fn a_turn_that_connects_without_end_is_canceled() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
print('begun', flush=True)
while True:
    code(socket.AF_INET, '127.0.0.1')
"#;
    let mut events = world.stream(
        "SendStreamingMessage",
        message(&format!("/usr/bin/python3 - <<'END'\n{BEGIN}\n{script}\nEND")),
    );
    let seen = events.until("the loop", |event| event.words().contains("begun"));
    let task = world.rpc("CancelTask", json!({"id": seen[0].task_id()}));
    assert_eq!(state(&task), "CANCELED");
}

#[test]
fn an_end_of_a_pair_of_sockets_takes_no_name_of_the_machines_and_netlink_can_be_bound() {
    let world = Wall::Landlock.shell().start();
    let script = r#"
one, other = socket.socketpair()
try:
    one.bind("\0a-name-of-the-machine")
    print("bound")
except PermissionError:
    print("refused")
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).bind((0, 0))
print("netlink")
"#;
    assert_eq!(python(&world, script), "refused\nnetlink\n");
}
