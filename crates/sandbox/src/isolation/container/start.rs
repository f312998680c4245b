//! The start of a container.

use super::BEGINNING;
use super::engine::{Engine, name_of};
use super::keeper::{Container, Keeper, Keeping, Room, Use};
use super::mount::Moment;
use crate::process::{Error, Launcher};
use crate::supervisor::Confined;
use std::fs;
use std::io;
use std::sync::Arc;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A container that is to be started.
pub(super) struct Start {
    pub(super) keeping: Arc<Keeping>,
    pub(super) engine: Arc<Engine>,
    pub(super) host: Launcher,
    pub(super) key: String,
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) user: Option<u32>,
    pub(super) door: Moment,
    pub(super) listener: UnixListener,
    pub(super) place: OwnedSemaphorePermit,
}
impl Start {
    pub(super) async fn run(self) -> Result<Room, Error> {
        let program = name_of(self.engine.kind);
        let failed = |words: String| Error::NotEntered { program: program.to_owned(), words };
        let spec = self.engine.spec(self.args);
        let mut client = self.host.spawn(&Confined::from(spec)).await?;
        client.stdin = None;
        let connected = tokio::select! {
            connected = tokio::time::timeout(BEGINNING, self.listener.accept()) => connected,
            _ = client.control.ended() => return Err(failed(client.last_words().await)),
        };
        let orders = match connected {
            Ok(connected) => connected.and_then(|(orders, _)| Ok((visible(&orders)?, orders))),
            Err(_) => Err(io::Error::other(format!("nothing within {} s", BEGINNING.as_secs()))),
        };
        let (pid, orders) = match orders {
            Ok(connected) => connected,
            Err(error) => {
                drop(client);
                self.engine.remove(&self.host, &[self.name]).await;
                return Err(failed(error.to_string()));
            }
        };
        drop(self.door);
        let (used, _) = watch::channel(Use { inhabitants: 0, since: Instant::now() });
        let end = CancellationToken::new();
        let container = Arc::new(Container {
            launcher: self.host.elsewhere(pid, orders, end.clone()),
            used,
            end,
            user: self.user,
        });
        let room = container.enter();
        let keeper = Keeper {
            keeping: self.keeping.clone(),
            engine: self.engine,
            host: self.host,
            key: self.key.clone(),
            name: self.name,
            container: container.clone(),
            client,
            _place: self.place,
        };
        if let Some(before) = self.keeping.map().insert(self.key, container) {
            before.end.cancel();
        }
        self.keeping.keepers.spawn(keeper.keep());
        Ok(room)
    }
}
/// The number that the other end of a connection has here. Without one nothing in its container could be told
/// apart, and nothing that a turn leaves behind could be ended.
fn visible(orders: &UnixStream) -> io::Result<u32> {
    let pid = orders.peer_cred()?.pid().unwrap_or_default();
    u32::try_from(pid).ok().filter(|pid| *pid > 0).ok_or_else(|| {
        io::Error::other(
            "the processes of the container cannot be seen from here; a server in a container of its own needs the \
             machine's process numbers (`--pid host`)",
        )
    })
}
/// How many processes a user may have. Where any limit is named to Podman it sets this one too, to a number that a
/// server without CAP_SYS_RESOURCE may not set; Podman itself has no more than there are numbers of processes.
pub(super) fn most_processes() -> u64 {
    let numbers = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let numbers = numbers.trim().parse().unwrap_or(u64::from(u16::MAX));
    let own = rustix::process::getrlimit(rustix::process::Resource::Nproc).maximum;
    own.unwrap_or(numbers).min(numbers)
}
