//! What the allocator keeps: large blocks go back to the system when they are freed.
//!
//! The allocator of the GNU C library raises the size from which a block is one of the system's own to that
//! of the largest block freed so far (up to 32 MiB). After some large messages their memory then stays with
//! the process: eight callers with 10 MB each left 152 MiB where 81 were needed. A fixed size keeps it small.
//! musl's allocator has no such threshold.

/// Bytes from which a block is the system's own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 1 << 20;

/// Lets large blocks go back to the system when they are freed. To be called first of all.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no safe way to set its allocator")]
pub fn give_large_blocks_back() {
    // SAFETY: `mallopt` stores a number and takes no pointer. It is unsafe only beside other threads
    // (mallopt(3): MT-Unsafe init), and `main` calls this before it makes any.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Nothing to be done by other C libraries.
#[cfg(not(target_env = "gnu"))]
pub fn give_large_blocks_back() {}
