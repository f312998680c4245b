//! The server under measurement: started with a fresh state folder on the checkout's disk, ended by its id.

use crate::client::{Client, string_field};
use crate::machine;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The limits of the measured configuration, for the table's head.
pub(crate) const LIMITS: &str = "rate 0 (none), processes.max 1200, processes.queue 10000, limits.queue_per_caller 0, limits.connections 4096, limits.connections_per_address 4096, limits.requests 8192, store.retention.count 10000000, sessions.retention.count 1000000, log.console off";

const TOKEN: &str = "bench-token-of-no-value";

/// How long a server may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the stub gets its message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Input {
    /// As its last argument.
    Argument,
    /// On standard input.
    Stdin,
}

/// The programs, and the folder for everything that a run leaves behind.
pub(crate) struct House {
    /// The release binary of the house.
    pub(crate) program: PathBuf,
    /// The stub agent.
    pub(crate) stub: PathBuf,
    /// Holds a folder for each fresh server, to the end of the run.
    all: PathBuf,
    run: u128,
    made: Cell<usize>,
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    /// Its process id.
    pub(crate) pid: i32,
    address: SocketAddr,
    /// From its start to its first healthy answer.
    pub(crate) started_in: Duration,
    /// Its state folder.
    pub(crate) state: PathBuf,
}

impl House {
    /// Clears what an earlier run left.
    pub(crate) fn new(program: &Path, stub: &Path, out: &Path) -> io::Result<Self> {
        let all = out.join("houses");
        if all.exists() {
            fs::remove_dir_all(&all)?;
        }
        fs::create_dir_all(&all)?;
        spread(&all);
        let (program, stub) = (program.to_owned(), stub.to_owned());
        let run = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        Ok(Self { program, stub, all, run, made: Cell::new(0) })
    }

    /// The folder of the last fresh server.
    fn folder(&self) -> PathBuf {
        self.all.join(format!("{}-{}", self.run, self.made.get()))
    }

    /// A server with an empty state folder, without a sandbox around its agents: what a section measures is the
    /// house, and `isolation` says what a sandbox costs beside.
    pub(crate) fn fresh(&self, input: Input) -> io::Result<Server> {
        self.fresh_behind("none", input)
    }

    /// The same with this sandbox, and all that it can promise required.
    pub(crate) fn fresh_behind(&self, backend: &str, input: Input) -> io::Result<Server> {
        let (line, args) = match input {
            Input::Argument => ("argument", "[]"),
            Input::Stdin => ("stdin", "[--stdin]"),
        };
        // Landlock does not give `processes`, and without a sandbox there is nothing to require.
        let require = match backend {
            "landlock" => {
                ", require: [env, fs.read, fs.write, peer-sessions, server-memory, net.egress, net.loopback, unix-sockets, kill-tree]"
            }
            _ => "",
        };
        let isolation = format!("{{backend: {backend}{require}}}");
        let agents = format!(
            "agent: stub\n\
             agents:\n  stub: {{driver: command, program: {stub}, args: {args}, input: {line}, format: text}}\n",
            stub = self.stub.display(),
        );
        self.fresh_with(&isolation, &agents)
    }

    /// A server with an empty state folder whose agent is the real Claude Code on this model, with so many processes
    /// ahead.
    pub(crate) fn fresh_claude(
        &self,
        program: &Path,
        model: &str,
        warm: usize,
    ) -> io::Result<Server> {
        let agents = format!(
            "agent: claude\n\
             agents:\n  claude: {{program: {program}, warm: {warm}, skills_source: files, \
             env: {{set: {{ANTHROPIC_BASE_URL: '{model}', ANTHROPIC_API_KEY: none}}}}}}\n",
            program = program.display(),
        );
        self.fresh_with("{backend: none}", &agents)
    }

    fn fresh_with(&self, isolation: &str, agents: &str) -> io::Result<Server> {
        self.made.set(self.made.get() + 1);
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        let config = format!(
            "auth: {{token: {TOKEN}}}\n\
             state_dir: {folder}/state\n\
             store: {{retention: {{count: 10000000, size: 100GiB}}}}\n\
             workspace: {{path: {folder}/workspace}}\n\
             audit: {folder}/audit.jsonl\n\
             limits: {{rate: 0, connections: 4096, connections_per_address: 4096, queue_per_caller: 0, requests: 8192}}\n\
             processes: {{max: 1200, queue: 10000}}\n\
             sessions: {{retention: {{count: 1000000}}}}\n\
             log: {{level: warn, console: false}}\n\
             isolation: {isolation}\n\
             {agents}",
            folder = folder.display(),
        );
        fs::write(folder.join("pilothouse.yaml"), config)?;
        self.again()
    }

    /// A server on the state folder that the last one left.
    pub(crate) fn again(&self) -> io::Result<Server> {
        let folder = self.folder();
        let state = folder.join("state");
        let log = File::create(folder.join("server.log"))?;
        let began = Instant::now();
        let child = Command::new(&self.program)
            .args(["serve", "--port", "0", "--config"])
            .arg(folder.join("pilothouse.yaml"))
            .current_dir(&folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let pid = child.id().cast_signed();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, pid, address: unknown, started_in: Duration::ZERO, state };
        loop {
            if server.is_healthy() {
                server.started_in = began.elapsed();
                return Ok(server);
            }
            if began.elapsed() > PATIENCE || server.child.try_wait()?.is_some() {
                let said = fs::read_to_string(folder.join("server.log")).unwrap_or_default();
                return Err(io::Error::other(format!("the server did not start: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The isolation in force, as the server says it.
    pub(crate) fn isolation(&self) -> io::Result<String> {
        let server = self.fresh(Input::Argument)?;
        let ready = server.client()?.get("/ready")?;
        let text = String::from_utf8_lossy(&ready.body);
        let isolation =
            text.split_once("\"isolation\":").and_then(|(_, rest)| rest.split_once('}'));
        Ok(isolation
            .map_or_else(|| "not told".to_owned(), |(isolation, _)| format!("`{isolation}}}`")))
    }

    /// How long an append of 4 KiB takes to reach the disk, in milliseconds (median of 200).
    pub(crate) fn fsync(&self) -> io::Result<f64> {
        let path = self.all.join("fsync");
        let mut file = File::create(&path)?;
        let mut times = Vec::with_capacity(200);
        for _ in 0..200 {
            let began = Instant::now();
            file.write_all(&[b'x'; 4096])?;
            file.sync_data()?;
            times.push(began.elapsed());
        }
        fs::remove_file(path)?;
        Ok(crate::stats::Times::new(times).median())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.all);
    }
}

impl Server {
    /// Whether the server that wrote its address answers.
    fn is_healthy(&mut self) -> bool {
        let Ok(word) = fs::read(self.state.join("server.json")) else {
            return false;
        };
        // One that an earlier server left behind does not count.
        if !String::from_utf8_lossy(&word).contains(&format!("\"pid\":{}", self.pid)) {
            return false;
        }
        let Some(url) = string_field(&word, "url") else {
            return false;
        };
        let Ok(address) = url.trim_start_matches("http://").parse() else {
            return false;
        };
        self.address = address;
        self.client()
            .and_then(|mut client| client.get("/health"))
            .is_ok_and(|reply| reply.status == 200)
    }

    /// A new connection to it.
    pub(crate) fn client(&self) -> io::Result<Client> {
        Client::connect(self.address, TOKEN)
    }

    /// Processor time of the server, its launcher, and all supervisors and agents so far.
    pub(crate) fn processor_time(&self) -> Duration {
        machine::tree(self.pid)
            .into_iter()
            .map(machine::processor_time)
            .map(|(own, reaped)| own + reaped)
            .sum()
    }

    /// The launcher.
    pub(crate) fn launcher(&self) -> Option<i32> {
        machine::children(self.pid).into_iter().next()
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> machine::Memory {
        machine::memory(self.pid)
    }

    /// The file of its database.
    pub(crate) fn store_file(&self) -> PathBuf {
        self.state.join("pilothouse.db")
    }

    /// Bytes of its database, with what is not yet moved into it.
    pub(crate) fn store_bytes(&self) -> u64 {
        let files = ["pilothouse.db", "pilothouse.db-wal"];
        files
            .iter()
            .filter_map(|file| fs::metadata(self.state.join(file)).ok())
            .map(|found| found.len())
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let launcher = self.launcher().and_then(Pid::from_raw);
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if !within(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if let Some(launcher) = launcher {
            // It has become our child; one that was reaped by the server is an error here.
            within(PATIENCE, || !matches!(waitpid(Some(launcher), WaitOptions::NOHANG), Ok(None)));
        }
    }
}

/// Asks the file system to give each folder in this one a region of its own. Ext4 without a journal hands
/// out the inodes of removed files only after minutes, and until then looks through all of them for each
/// new folder: up to 0.2 ms a session that would be nobody's but the last run's. File systems that know no
/// such wish need none.
fn spread(folder: &Path) {
    if let Ok(file) = File::open(folder)
        && let Ok(flags) = ioctl_getflags(&file)
    {
        let _ = ioctl_setflags(&file, flags | IFlags::TOPDIR);
    }
}

/// Whether something comes true in this time.
fn within(time: Duration, mut done: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    while since.elapsed() < time {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}
