//! The children of a supervisor, found and killed.

use crate::sys::{SIGKILL, open, read};
use core::mem::MaybeUninit;

/// SIGKILL to every child; their own children come here when they are gone. How many there were.
pub(crate) fn kill_children() -> i32 {
    kill_children_but(|_| false)
}

/// The same for those that are not kept.
pub(crate) fn kill_children_but(is_kept: impl Fn(usize) -> bool) -> i32 {
    let own = sys!(GETPID) as usize;
    let mut path = [0u8; 64];
    let end = text(&mut path, 0, b"/proc/self/task/");
    let end = digits(&mut path, end, own);
    text(&mut path, end, b"/children\0");
    let file = open(&path, 0);
    if file < 0 {
        return kill_children_by_search(own, is_kept);
    }
    let (mut killed, mut pid) = (0, 0usize);
    let mut buffer = MaybeUninit::<[u8; 1024]>::uninit();
    loop {
        // SAFETY: the kernel writes at most 1024 bytes, and the buffer has as many.
        let size = unsafe { sys!(READ, file, buffer.as_mut_ptr(), 1024) };
        if size <= 0 {
            break;
        }
        for at in 0..size as usize {
            // SAFETY: `at` is below what the kernel has just written.
            match unsafe { buffer.as_ptr().cast::<u8>().add(at).read() } {
                digit @ b'0'..=b'9' => pid = pid * 10 + usize::from(digit - b'0'),
                _ => killed += kill_one(&mut pid, &is_kept),
            }
        }
    }
    killed += kill_one(&mut pid, &is_kept);
    sys!(CLOSE, file);
    killed
}

fn kill_one(pid: &mut usize, is_kept: &impl Fn(usize) -> bool) -> i32 {
    let found = i32::from(*pid > 1 && !is_kept(*pid));
    if found == 1 {
        sys!(KILL, *pid, SIGKILL);
    }
    *pid = 0;
    found
}

/// On a kernel without the list of children: everybody whose parent we are.
fn kill_children_by_search(own: usize, is_kept: impl Fn(usize) -> bool) -> i32 {
    let folder = open(b"/proc\0", 0);
    if folder < 0 {
        return 0;
    }
    let mut killed = 0;
    let mut entries = MaybeUninit::<[u8; 4096]>::uninit();
    loop {
        // SAFETY: the kernel writes at most 4096 bytes, and the buffer has as many.
        let size = unsafe { sys!(GETDENTS64, folder, entries.as_mut_ptr(), 4096) };
        if size <= 0 {
            break;
        }
        let base = entries.as_ptr().cast::<u8>();
        let mut at = 0usize;
        while at < size as usize {
            // SAFETY: the kernel wrote whole entries: inode, offset, u16 length at 16, type, name at 19.
            let (length, mut pid) = unsafe {
                (base.add(at + 16).cast::<u16>().read_unaligned(), number_at(base.add(at + 19)))
            };
            if pid > 1 && parent_of(pid) == own {
                killed += kill_one(&mut pid, &is_kept);
            }
            at += usize::from(length);
        }
    }
    sys!(CLOSE, folder);
    killed
}

/// The number that a C string is; 0 where it is none.
///
/// # Safety
///
/// The pointer must lead to a C string.
pub(crate) unsafe fn number_at(mut from: *const u8) -> usize {
    let mut number = 0usize;
    loop {
        // SAFETY: the string has not ended yet.
        match unsafe { from.read() } {
            0 => return number,
            digit @ b'0'..=b'9' => number = number * 10 + usize::from(digit - b'0'),
            _ => return 0,
        }
        // SAFETY: the string has not ended yet.
        from = unsafe { from.add(1) };
    }
}

/// The parent in `/proc/PID/stat`: "pid (name) state parent", where the name may hold anything.
fn parent_of(pid: usize) -> usize {
    let mut path = [0u8; 64];
    let end = text(&mut path, 0, b"/proc/");
    let end = digits(&mut path, end, pid);
    text(&mut path, end, b"/stat\0");
    let file = open(&path, 0);
    if file < 0 {
        return 0;
    }
    let mut stat = [0u8; 256];
    let size = read(file as i32, &mut stat);
    sys!(CLOSE, file);
    let mut after_name = 0;
    for at in 0..size.max(0) as usize {
        if stat.get(at) == Some(&b')') {
            after_name = at;
        }
    }
    let mut parent = 0usize;
    let mut at = after_name + 4;
    while let Some(digit @ b'0'..=b'9') = stat.get(at) {
        parent = parent * 10 + usize::from(digit - b'0');
        at += 1;
    }
    parent
}

pub(crate) fn text(path: &mut [u8; 64], mut at: usize, words: &[u8]) -> usize {
    for &byte in words {
        if let Some(place) = path.get_mut(at) {
            *place = byte;
        }
        at += 1;
    }
    at
}

pub(crate) fn digits(path: &mut [u8; 64], at: usize, number: usize) -> usize {
    let mut divisor = 1;
    while number / divisor >= 10 {
        divisor *= 10;
    }
    let mut end = at;
    while divisor > 0 {
        end = text(path, end, &[b'0' + (number / divisor % 10) as u8]);
        divisor /= 10;
    }
    end
}
