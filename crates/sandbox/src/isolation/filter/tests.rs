use super::*;
use std::collections::BTreeMap;

/// What the filter says to a call, by a machine that knows the instructions it is made of.
fn says(network: Network, number: c_long, arguments: &[(u32, u32)]) -> u32 {
    let program = filter(network, Connecting::Process);
    answer(&program, number, arguments)
}

fn answer(program: &[u8], number: c_long, arguments: &[(u32, u32)]) -> u32 {
    let program: Vec<&[u8]> = program.chunks(8).collect();
    let arguments: BTreeMap<u32, u32> = arguments.iter().copied().collect();
    let (mut at, mut held) = (0, 0);
    loop {
        let one = program[at];
        let code = u16::from_ne_bytes([one[0], one[1]]);
        let value = u32::from_ne_bytes([one[4], one[5], one[6], one[7]]);
        let jump = |yes: bool| usize::from(if yes { one[2] } else { one[3] });
        at += 1;
        match code {
            LOAD => {
                held = match value {
                    NUMBER => u32::try_from(number).unwrap(),
                    ARCHITECTURE => THIS_ARCHITECTURE,
                    offset => arguments.get(&((offset - 16) / 8)).copied().unwrap_or(0),
                }
            }
            AND => held &= value,
            EQUAL => at += jump(held == value),
            AT_LEAST => at += jump(held >= value),
            ANY_BIT => at += jump(held & value != 0),
            RETURN => return value,
            other => panic!("no such instruction: {other:x}"),
        }
    }
}

const NOT_PERMITTED: u32 = FAIL | 1;

#[test]
fn the_supervisor_is_notified_of_connect_alone() {
    let program = filter(Network::Shared, Connecting::Supervisor);
    let notifies = |number: &c_long| answer(&program, *number, &[]) == NOTIFY;
    let notified: Vec<c_long> = (0..600).filter(notifies).collect();
    assert_eq!(notified, [libc::SYS_connect]);
    assert_eq!(says(Network::Shared, libc::SYS_connect, &[]), ALLOW);
}

#[test]
fn no_group_or_user_gets_another_priority_and_no_process_of_others() {
    for (number, process) in OF_KINDS {
        for network in [Network::Own, Network::Shared] {
            let set = |kind: u32, who: u32| says(network, *number, &[(0, kind), (1, who)]);
            assert_eq!(set(*process, 0), ALLOW);
            // Its group and its user.
            assert_eq!([1, 2].map(|more| set(process + more, 0)), [NOT_PERMITTED; 2]);
        }
        let other = [(0, *process), (1, 7)];
        assert_eq!(says(Network::Shared, *number, &other), NOT_PERMITTED);
    }
}

#[test]
fn ordinary_calls_pass() {
    for network in [Network::Own, Network::Shared] {
        for number in [libc::SYS_read, libc::SYS_openat, libc::SYS_execve, libc::SYS_ptrace] {
            assert_eq!(says(network, number, &[]), ALLOW);
        }
        assert_eq!(says(network, libc::SYS_clone, &[(0, 17)]), ALLOW);
        assert_eq!(says(network, libc::SYS_ioctl, &[(1, 0x5413)]), ALLOW);
        assert_eq!(says(network, libc::SYS_socket, &[(0, 2), (1, 0x80801)]), ALLOW);
        assert_eq!(says(network, libc::SYS_socket, &[(0, 16), (1, 3)]), ALLOW);
        assert_eq!(says(network, libc::SYS_socketpair, &[(0, 1), (1, 1)]), ALLOW);
        assert_eq!(says(network, libc::SYS_sendto, &[(3, 0x4000)]), ALLOW);
        assert_eq!(says(network, libc::SYS_setsockopt, &[(1, 6), (2, 1)]), ALLOW);
        assert_eq!(says(network, libc::SYS_setsockopt, &[(1, 1), (2, TCP_ULP)]), ALLOW);
    }
}

#[test]
fn where_landlock_stands_alone_files_have_no_attributes() {
    const NO_ATTRIBUTES: u32 = FAIL | 95;
    for number in ATTRIBUTES {
        assert_eq!(says(Network::Shared, *number, &[]), NO_ATTRIBUTES, "{number}");
    }
    assert_eq!(says(Network::Own, libc::SYS_setxattr, &[]), ALLOW);
    for network in [Network::Own, Network::Shared] {
        assert_eq!(says(network, FILE_SETATTR, &[]), NO_ATTRIBUTES);
        for order in [SET_FLAGS, SET_PROJECT] {
            assert_eq!(says(network, libc::SYS_ioctl, &[(1, order)]), NOT_PERMITTED);
        }
    }
}

#[test]
fn new_namespaces_and_the_calls_that_hide_their_flags_fail() {
    for network in [Network::Own, Network::Shared] {
        assert_eq!(says(network, libc::SYS_clone, &[(0, 0x1000_0011)]), NOT_PERMITTED);
        assert_eq!(says(network, libc::SYS_unshare, &[(0, 0x2_0000)]), NOT_PERMITTED);
        assert_eq!(says(network, libc::SYS_clone3, &[]), FAIL | 38);
        for number in DENIED {
            assert_eq!(says(network, *number, &[]), NOT_PERMITTED);
        }
    }
}

#[test]
fn a_mode_that_gives_the_identity_of_the_owner_away_fails_in_every_call_that_takes_one() {
    for network in [Network::Own, Network::Shared] {
        for set in [0o4755, 0o2755, 0o6000, 0o104_755] {
            for (number, mode) in WITH_MODE {
                assert_eq!(says(network, *number, &[(*mode, set)]), NOT_PERMITTED);
                assert_eq!(says(network, *number, &[(*mode, set & !SET_ID)]), ALLOW);
            }
            for (number, flags) in OPENING {
                let open = |how: i32, mode| {
                    says(network, *number, &[(*flags, constant(how)), (flags + 1, mode)])
                };
                for how in [libc::O_CREAT | libc::O_WRONLY, libc::O_TMPFILE | libc::O_RDWR] {
                    assert_eq!(open(how, set), NOT_PERMITTED);
                    assert_eq!(open(how, set & !SET_ID), ALLOW);
                }
                // Nothing is made, so the kernel does not look at the mode either.
                assert_eq!(open(libc::O_RDONLY | libc::O_DIRECTORY, set), ALLOW);
            }
        }
        assert_eq!(says(network, libc::SYS_openat2, &[]), FAIL | 38);
    }
}

#[test]
fn in_the_hosts_network_there_is_tcp_alone() {
    let socket = |family: u32, kind: u32, protocol: u32| {
        let arguments = [(0, family), (1, kind), (2, protocol)];
        says(Network::Shared, libc::SYS_socket, &arguments)
    };
    assert_eq!(socket(10, 1, 6), ALLOW);
    for (family, kind, protocol) in [
        (1, 1, 0),
        (2, 2, 0),
        (2, 1, 262),
        (2, 3, 1),
        (17, 3, 0),
        (40, 1, 0),
        (16, 3, 9),
        (43, 1, 0),
    ] {
        assert_eq!(socket(family, kind, protocol), NOT_PERMITTED, "{family} {kind} {protocol}");
    }
    let shared = |number, arguments: &[(u32, u32)]| says(Network::Shared, number, arguments);
    assert_eq!(shared(libc::SYS_socketpair, &[(0, 1), (1, 2)]), NOT_PERMITTED);
    assert_eq!(shared(libc::SYS_bind, &[(2, NETLINK_ADDRESS)]), ALLOW);
    for length in [2, 11, 13, 16, 28, 110] {
        assert_eq!(shared(libc::SYS_bind, &[(2, length)]), NOT_PERMITTED, "{length}");
    }
    assert_eq!(shared(libc::SYS_sendto, &[(3, MSG_FASTOPEN)]), NOT_PERMITTED);
    assert_eq!(shared(libc::SYS_sendmsg, &[(2, MSG_FASTOPEN)]), NOT_PERMITTED);
    assert_eq!(shared(libc::SYS_setsockopt, &[(1, 6), (2, TCP_ULP)]), NOT_PERMITTED);
}
