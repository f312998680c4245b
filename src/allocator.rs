//! What the allocator keeps: large blocks go back to the system when they are freed, and threads share its arenas.
//!
//! The allocator of the GNU C library raises the size from which a block is one of the system's own to that
//! of the largest block freed so far (up to 32 MiB). After some large messages their memory then stays with
//! the process: eight callers with 10 MB each left 152 MiB where 81 were needed. A fixed size keeps it small.
//! musl's allocator has no such threshold.
//!
//! It also gives each thread an arena of its own, up to eight for each core, and what is free in one arena serves no
//! other: 64 agents with long titles of tool calls took 120 MiB, with two arenas 78.

/// Bytes from which a block is the system's own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;

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

#[cfg(test)]
mod tests {
    #[cfg(target_env = "gnu")]
    use super::*;

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
