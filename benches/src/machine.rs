//! What Linux tells about processes and the machine: memory, processor time, load.

use std::fs;
use std::time::Duration;

/// One second in the unit of `/proc/PID/stat` (`USER_HZ`, 100 on every Linux that Rust runs on).
const TICKS: f64 = 100.0;

/// Memory of one process in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Resident, shared pages of files included.
    pub(crate) rss: u64,
    /// Its share of what is resident.
    pub(crate) pss: u64,
    /// Its share of memory that is no file.
    pub(crate) pss_anonymous: u64,
    /// What would be free without it.
    pub(crate) private: u64,
}

/// The memory of a process; nothing for one that is gone.
pub(crate) fn memory(pid: i32) -> Memory {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
        return Memory::default();
    };
    let field = |name| kib_field(&text, name);
    Memory {
        rss: field("Rss:"),
        pss: field("Pss:"),
        pss_anonymous: field("Pss_Anon:"),
        private: field("Private_Clean:") + field("Private_Dirty:"),
    }
}

/// The highest resident memory since [`forget_peak`].
pub(crate) fn peak(pid: i32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status")).map_or(0, |text| kib_field(&text, "VmHWM:"))
}

/// Lets the peak begin at what is resident now.
pub(crate) fn forget_peak(pid: i32) -> std::io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

fn kib_field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// A process and its parent.
struct Related {
    pid: i32,
    parent: i32,
}

fn everybody() -> Vec<Related> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some(Related { pid, parent: stat(pid)?.get(1)?.parse().ok()? })).collect()
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

/// The direct children of a process.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    everybody().iter().filter(|one| one.parent == pid).map(|one| one.pid).collect()
}

/// A process and everything below it.
pub(crate) fn tree(pid: i32) -> Vec<i32> {
    let everybody = everybody();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(everybody.iter().filter(|one| one.parent == parent).map(|one| one.pid));
        next += 1;
    }
    found
}

/// Processor time of a process alone, and of the children that it has reaped (theirs included).
pub(crate) fn processor_time(pid: i32) -> (Duration, Duration) {
    let Some(fields) = stat(pid) else {
        return (Duration::ZERO, Duration::ZERO);
    };
    let ticks =
        |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let time = |ticks: f64| Duration::from_secs_f64((ticks / TICKS).max(0.0));
    (time(ticks(11) + ticks(12)), time(ticks(13) + ticks(14)))
}

/// Pages that a process touched first, its whole life long.
pub(crate) fn page_faults(pid: i32) -> u64 {
    stat(pid).and_then(|fields| fields.get(7)?.parse().ok()).unwrap_or(0)
}

/// Time that all cores together have worked since the machine's start.
pub(crate) fn worked() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    // The fourth and the fifth are idleness, of which the second waits for a disk.
    let worked = ticks.enumerate().filter(|(place, _)| !matches!(place, 3 | 4));
    let ticks: f64 = worked.filter_map(|(_, ticks)| ticks.parse::<f64>().ok()).sum();
    Duration::from_secs_f64(ticks / TICKS)
}

/// The load of the last minute.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// How many processors there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Cores, memory and kernel.
pub(crate) fn describe() -> String {
    let cores = cores();
    let memory =
        fs::read_to_string("/proc/meminfo").map_or(0, |text| kib_field(&text, "MemTotal:"));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {:.0} GiB, Linux {}", memory as f64 / f64::from(1 << 30), kernel.trim())
}
