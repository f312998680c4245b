//! What the process keeps in memory: large blocks go back to the system when they are freed, threads share the
//! arenas of the allocator, and code that only the start needs is given up.
//!
//! The allocator of the GNU C library raises the size from which a block is one of the system's own to that
//! of the largest block freed so far (up to 32 MiB). After some large messages their memory then stays with
//! the process: eight callers with 10 MB each left 152 MiB where 81 were needed. A fixed size keeps it small. It is that
//! of glibc's beginning: with 1 MiB, a thousand bodies of 180 kB left holes of 20 MiB between small blocks.
//! musl's allocator has no such threshold.
//!
//! It also gives each thread an arena of its own, up to eight for each core, and what is free in one arena serves no
//! other: 64 agents with long titles of tool calls took 120 MiB, with two arenas 78.

/// Bytes from which a block is the system's own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Arenas that all threads share.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;

/// Lets the allocator keep little. To be called first of all.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe way to set its allocator")]
pub fn keep_little() {
    // SAFETY: `mallopt` stores a number and takes no pointer. It is unsafe only beside other threads
    // (mallopt(3): MT-Unsafe init), and `main` calls this before it makes any.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Nothing to be done by other C libraries.
#[cfg(not(target_env = "gnu"))]
pub fn keep_little() {}

/// Bytes in memory below which the system is given nothing back: it would soon be asked for again.
#[cfg(target_env = "gnu")]
const MUCH: u64 = 64 << 20;

/// Between two looks.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Gives memory that is free back to the system now and then, as long as the process has much of it. What many
/// small blocks have taken stays with the process otherwise.
pub async fn give_back_now_and_then() {
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        let _ = tokio::task::spawn_blocking(give_back).await;
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe way to set its allocator")]
fn give_back() {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    if pages * rustix::param::page_size() as u64 > MUCH {
        // SAFETY: `malloc_trim` takes a number and locks what it walks through (malloc_trim(3): MT-Safe).
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}

/// Gives up the code and the constants that are in memory. What runs on comes back page by page, what only the start
/// needed (the command line, the configuration, the attacks on the sandbox) does not.
#[expect(
    unsafe_code,
    reason = "the standard library cannot tell the system which memory is not needed"
)]
pub fn give_up_code() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for Mapping { start, bytes } in find_code(&maps, &program.to_string_lossy()) {
        // SAFETY: the range is a mapping of this program's file of which no page was ever writable, so each page is
        // read from the file again when it is needed, with the same content.
        unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(start), bytes, libc::MADV_DONTNEED);
        }
    }
}

/// A range of memory.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    start: usize,
    bytes: usize,
}

/// The mappings of a program that were never writable: its code, and the segment at the beginning of its file. Other
/// constants were written by the dynamic linker before they were closed.
fn find_code(maps: &str, program: &str) -> Vec<Mapping> {
    let mappings = maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, access, offset) = (words.next()?, words.next()?, words.next()?);
        let is_code = access == "r-xp" || (access == "r--p" && offset == "00000000");
        if !is_code || words.nth(2)? != program {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let parse = |number| usize::from_str_radix(number, 16).ok();
        let (start, end) = (parse(start)?, parse(end)?);
        Some(Mapping { start, bytes: end.checked_sub(start)? })
    });
    mappings.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_of_the_program_was_never_writable() {
        let maps = "\
1000-3000 r--p 00000000 fe:00 7    /bin/p
3000-9000 r-xp 00002000 fe:00 7    /bin/p
9000-a000 r--p 00008000 fe:00 7    /bin/p
a000-b000 rw-p 00009000 fe:00 7    /bin/p
b000-c000 rw-p 00000000 00:00 0    [heap]
c000-d000 r-xp 00000000 fe:00 8    /lib/libc.so.6
e000-f000 r-xp 00000000 00:00 0    [vdso]
";
        let code =
            [Mapping { start: 0x1000, bytes: 0x2000 }, Mapping { start: 0x3000, bytes: 0x6000 }];
        assert_eq!(find_code(maps, "/bin/p"), code);
    }

    #[test]
    fn a_program_runs_on_after_its_code_was_given_up() {
        give_up_code();
        assert_eq!("4".repeat(3).parse(), Ok(444));
    }

    #[cfg(target_env = "gnu")]
    fn resident() -> u64 {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    #[cfg(target_env = "gnu")]
    #[test]
    fn many_small_blocks_that_were_freed_are_given_back() {
        let mut blocks: Vec<Box<[u8; 1024]>> = (0..200_000).map(|_| Box::new([1; 1024])).collect();
        // The last one keeps the heap from shrinking by itself.
        let last = blocks.pop();
        let full = resident();
        drop(blocks);
        give_back();
        assert!(full - resident().min(full) > 100 << 20);
        drop(last);
    }
}
