use super::*;
use crate::supervisor::{Confined, Spec, Word};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

pub(crate) fn shell(script: &str) -> Confined {
    Confined::from(Spec {
        program: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("WORD".to_owned(), "a=b".to_owned()),
        ],
        cwd: "/usr".to_owned(),
    })
}

async fn output(process: &mut Process) -> String {
    let mut text = String::new();
    process.stdout.read_to_string(&mut text).await.unwrap();
    text
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// A process closes its descriptors a moment before it counts as dead.
async fn is_gone(pid: &str) -> bool {
    let patience = std::time::Instant::now() + Duration::from_secs(5);
    while is_alive(pid) && std::time::Instant::now() < patience {
        tokio::task::yield_now().await;
    }
    !is_alive(pid)
}

#[tokio::test]
async fn an_agent_gets_its_arguments_environment_folder_and_streams() {
    let launcher = Launcher::start().unwrap();
    let mut process =
        launcher.spawn(&shell("read line; echo \"$line $WORD $PWD\"; exit 7")).await.unwrap();
    let written = process.stdin.take().unwrap().try_write(b"hello\n").unwrap();
    assert_eq!(written, 6);
    assert_eq!(output(&mut process).await, "hello a=b /usr\n");
    assert_eq!(process.control.ended().await, Ended::Code(7));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_with_the_reason_of_the_system() {
    let launcher = Launcher::start().unwrap();
    let mut wanted = shell("");
    wanted.spec.program = "/nowhere/agent".to_owned();
    let error = launcher.spawn(&wanted).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "`/nowhere/agent` could not be started: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn what_left_the_process_group_and_ignores_sigterm_is_gone_before_the_end_is_reported() {
    let launcher = Launcher::start().unwrap();
    let script =
        "trap '' TERM; setsid sh -c 'setsid sleep 600 & echo $!; exec sleep 600' & exec sleep 600";
    let mut process = launcher.spawn(&shell(script)).await.unwrap();
    let mut pid = [0u8; 32];
    let size = process.stdout.read(&mut pid).await.unwrap();
    let pid = String::from_utf8_lossy(&pid[..size]).into_owned();
    assert!(is_alive(&pid));
    process.control.say(Word::Kill);
    assert_eq!(process.control.ended().await, Ended::Signal(9));
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn what_an_agent_leaves_behind_when_it_exits_is_ended() {
    let launcher = Launcher::start().unwrap();
    let mut process =
        launcher.spawn(&shell("setsid sleep 600 >/dev/null 2>&1 & echo $!; exit 0")).await.unwrap();
    let pid = output(&mut process).await;
    assert_eq!(process.control.ended().await, Ended::Code(0));
    assert!(!is_alive(&pid));
}

#[tokio::test]
async fn the_end_of_the_control_socket_ends_the_tree() {
    let launcher = Launcher::start().unwrap();
    let mut process = launcher.spawn(&shell("setsid sleep 600 & echo $!; wait")).await.unwrap();
    let mut pid = [0u8; 32];
    let size = process.stdout.read(&mut pid).await.unwrap();
    let pid = String::from_utf8_lossy(&pid[..size]).into_owned();
    let Process { control, mut stdout, .. } = process;
    drop(control);
    // The pipe ends when the last of the tree is gone.
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(10), stdout.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(is_gone(&pid).await);
}

#[tokio::test]
async fn supervisors_that_have_ended_are_not_left_as_zombies() {
    let launcher = Launcher::start().unwrap();
    let mut process = launcher.spawn(&shell("exit 0")).await.unwrap();
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let mut waiting = launcher.spawn(&shell("read go; exit 0")).await.unwrap();
    let own = parent(parent(waiting.pid).unwrap()).unwrap();
    assert_eq!(process.control.ended().await, Ended::Code(0));
    waiting.stdin = None;
    assert_eq!(waiting.control.ended().await, Ended::Code(0));
    let children = || std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let patience = std::time::Instant::now() + Duration::from_secs(5);
    while !children().is_empty() && std::time::Instant::now() < patience {
        tokio::task::yield_now().await;
    }
    assert_eq!(children(), "");
}

#[tokio::test]
async fn who_ends_its_supervisor_is_told_to_those_who_look_after_where_it_runs() {
    let here = Launcher::start().unwrap();
    let lost = CancellationToken::new();
    let launcher = Launcher { lost: Some(lost.clone()), ..here };
    let mut process = launcher.spawn(&shell("exit 3")).await.unwrap();
    assert_eq!(process.control.ended().await, Ended::Code(3));
    drop(process);
    assert!(!lost.is_cancelled());
    let mut process =
        launcher.spawn(&shell("read go; kill -9 $PPID; exec sleep 600")).await.unwrap();
    // Not before its supervisor has said that it began.
    process.stdin.as_mut().unwrap().try_write(b"\n").unwrap();
    assert_eq!(process.control.ended().await, Ended::Unclear);
    drop(process);
    assert!(lost.is_cancelled());
}

#[tokio::test]
async fn agents_have_the_limit_of_descriptors_that_was_there_before_it_was_raised() {
    let mut launcher = Launcher::start().unwrap();
    launcher.descriptors.current = Some(123);
    // The launcher that comes next is started when this process has raised its own limit.
    launcher.dismiss();
    let mut process = launcher.spawn(&shell("ulimit -Sn")).await.unwrap();
    assert_eq!(output(&mut process).await, "123\n");
    assert_eq!(process.control.ended().await, Ended::Code(0));
}

#[tokio::test]
async fn a_launcher_that_was_killed_is_replaced() {
    let launcher = Launcher::start().unwrap();
    launcher.orders.lock().take();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    drop(theirs);
    *launcher.orders.lock() = Some(Arc::new(UnixStream::from_std(ours).unwrap()));
    let mut process = launcher.spawn(&shell("echo again")).await.unwrap();
    assert_eq!(output(&mut process).await, "again\n");
    assert_eq!(process.control.ended().await, Ended::Code(0));
}
