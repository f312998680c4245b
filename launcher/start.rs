//! How an agent is started: what the server specified is read, and a process becomes it.

use crate::children::number_at;
use crate::sys::{
    Attribute, CLOEXEC, Control, EINTR, MOST_DESCRIPTORS, SET_MASK, SIGCHLD, SIGKILL, SIGPIPE,
    block_signals, exit, number, read_exactly, receive, reset_signal, set_attribute,
};
use crate::wall::{apply, keeps};
use core::arch::asm;

/// Longest specification of a process, in bytes; the server refuses longer ones.
const SPEC_LIMIT: usize = 8 * 1024 * 1024;

/// Stack on which the agent's process runs until it executes its program.
const CHILD_STACK: usize = 16 * 1024;

/// What the agent's process needs until it executes its program. It runs in our memory, on a stack of
/// its own, while we wait.
pub(crate) struct Start {
    pub(crate) cwd: *const u8,
    pub(crate) program: *const u8,
    pub(crate) argv: *const *const u8,
    pub(crate) envp: *const *const u8,
    pub(crate) wall: &'static [u8],
    streams: [i32; 3],
    /// What came along; in the agent's process these follow the standard streams.
    pub(crate) along: [i32; MOST_DESCRIPTORS],
    stack_top: *mut u8,
    /// Where the wall hands descriptors out; negative where it has none to.
    pub(crate) line: i32,
    /// The record of the wall that failed; 0 for anything else.
    pub(crate) stage: u32,
    pub(crate) error: isize,
}

/// Reads the specification: four numbers (bytes of text, arguments, variables, bytes of the wall), the
/// wall, then the texts, each ended by a NUL: folder, program, arguments, variables. Descriptors may come
/// along with the numbers.
pub(crate) fn read_spec(control: i32, streams: [i32; 3]) -> Option<Start> {
    let mut head = [0u32; 4];
    let along = read_head(control, &mut head)?;
    let [bytes, arguments, variables, wall] = head.map(|number| number as usize);
    if bytes > SPEC_LIMIT || wall > SPEC_LIMIT || wall % 8 != 0 || arguments + variables > bytes {
        return None;
    }
    let pointers = (arguments + 2 + variables + 1) * size_of::<usize>();
    let size = (pointers + wall + bytes + 64 + CHILD_STACK).next_multiple_of(4096);
    // SAFETY: readable, writable; private, anonymous: the kernel chooses the place, so no memory in use is replaced.
    let memory = unsafe { sys!(MMAP, 0, size, 3, 0x22, -1isize) };
    if memory <= 0 {
        return None;
    }
    let memory = memory as *mut u8;
    // SAFETY: all of this lies within the region that was just mapped, pointers first (aligned).
    unsafe {
        let records = memory.add(pointers);
        let texts = records.add(wall);
        read_exactly(control, core::slice::from_raw_parts_mut(records, wall + bytes))?;
        if bytes == 0 || texts.add(bytes - 1).read() != 0 {
            return None;
        }
        let end = texts.add(bytes);
        let (cwd, program) = (texts, next_text(texts, end)?);
        let argv = memory.cast::<*const u8>();
        argv.write(program);
        let mut at = program;
        for index in 1..=arguments {
            at = next_text(at, end)?;
            argv.add(index).write(at);
        }
        let envp = argv.add(arguments + 2);
        for index in 0..variables {
            at = next_text(at, end)?;
            envp.add(index).write(at);
        }
        // The two ends of list are zero already, as all of a fresh mapping is.
        let stack_top = memory.add(size);
        let wall = core::slice::from_raw_parts(records, wall);
        Some(Start {
            cwd,
            program,
            argv,
            envp,
            wall,
            streams,
            along,
            stack_top,
            line: -1,
            stage: 0,
            error: 0,
        })
    }
}

impl Start {
    /// Goes to the folder in which the program begins.
    pub(crate) fn enter_folder(&self) -> isize {
        // SAFETY: the path lies in the specification's memory, which stays mapped, and ends with a NUL.
        unsafe { sys!(CHDIR, self.cwd) }
    }

    /// Becomes the program; returns the error of the kernel.
    ///
    /// A program that came along is executed by its descriptor: a process that has become another user cannot open
    /// its own descriptors in `/proc`, and making them open to that user would open the memory as well, which it
    /// shares with its supervisor.
    pub(crate) fn execute(&self) -> isize {
        const EMPTY_PATH: usize = 0x1000;
        let (argv, envp) = (self.argv, self.envp);
        // SAFETY: the program's name ends with a NUL.
        match unsafe { along(self.program) } {
            // SAFETY: both lists end with a zero and their texts with a NUL; so does the path.
            Some(descriptor) => unsafe {
                sys!(EXECVEAT, descriptor, c"".as_ptr(), argv, envp, EMPTY_PATH)
            },
            // SAFETY: as above.
            None => unsafe { sys!(EXECVE, self.program, argv, envp) },
        }
    }
}

/// The descriptor that a path in `/proc/self/fd` names.
///
/// # Safety
///
/// `path` must end with a NUL.
unsafe fn along(path: *const u8) -> Option<usize> {
    let mut rest = path;
    for byte in b"/proc/self/fd/" {
        // SAFETY: the string has not ended yet, for no byte of the other one is NUL.
        if unsafe { rest.read() } != *byte {
            return None;
        }
        // SAFETY: as above.
        rest = unsafe { rest.add(1) };
    }
    // SAFETY: what is left ends with a NUL.
    Some(unsafe { number_at(rest) })
}

/// The text behind this one.
///
/// # Safety
///
/// `at` must lie in a region that ends at `end` with a NUL.
unsafe fn next_text(mut at: *mut u8, end: *mut u8) -> Option<*mut u8> {
    // SAFETY: the region ends with a NUL.
    unsafe {
        while at.read() != 0 {
            at = at.add(1);
        }
        at = at.add(1);
    }
    (at < end).then_some(at)
}

/// The four numbers, and the descriptors that come with them.
fn read_head(control: i32, head: &mut [u32; 4]) -> Option<[i32; MOST_DESCRIPTORS]> {
    let size = size_of_val(head);
    // SAFETY: numbers of 32 bits have no padding, and any bytes are some of them.
    let bytes = unsafe { core::slice::from_raw_parts_mut(head.as_mut_ptr().cast::<u8>(), size) };
    loop {
        let mut beside = Control::empty();
        match receive(control, bytes, &mut beside, 0) {
            EINTR => {}
            count if count > 0 => {
                read_exactly(control, bytes.get_mut(count as usize..)?)?;
                let mut along = [-1; MOST_DESCRIPTORS];
                for (place, descriptor) in
                    along.iter_mut().zip(beside.descriptors).take(beside.count())
                {
                    *place = descriptor;
                }
                return Some(along);
            }
            _ => return None,
        }
    }
}

/// Starts the agent; its process id. `start.error` says what went wrong in its process.
pub(crate) fn spawn(start: &mut Start) -> isize {
    /// Shares our memory, stops us until it executes its program or ends.
    const CLONE_VM_VFORK: usize = 0x100 | 0x4000;
    let flags = CLONE_VM_VFORK | SIGCHLD;
    let pid: isize;
    let argument: *mut Start = start;
    let stack = start.stack_top;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the child begins on its own stack with an aligned pointer, calls a function that does not
    // return, and we do not run while it uses our memory.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rdi, r12",
            "call {become_agent}",
            "ud2",
            "2:",
            become_agent = sym become_agent,
            inlateout("rax") number::CLONE.0 as isize => pid,
            in("rdi") flags, in("rsi") stack, in("rdx") 0usize, in("r10") 0usize, in("r8") 0usize,
            in("r12") argument,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x0, x20",
            "bl {become_agent}",
            "brk #1",
            "2:",
            become_agent = sym become_agent,
            in("x8") number::CLONE.0,
            inlateout("x0") flags as isize => pid,
            in("x1") stack, in("x2") 0usize, in("x3") 0usize, in("x4") 0usize,
            in("x20") argument,
            lateout("x30") _,
        );
    }
    pid
}

/// The agent's process, until it executes its program.
extern "C" fn become_agent(start: *mut Start) -> ! {
    // SAFETY: the supervisor waits and does not touch it meanwhile.
    let start = unsafe { &mut *start };
    let mut error = sys!(SETPGID, 0, 0);
    // What comes along is put in low places, where the line may be.
    let mut line = -1;
    if start.line >= 0 {
        line = sys!(DUP3, start.line, 80, CLOEXEC);
        error = error.min(line.min(0));
    }
    // The streams may stand at each other's places, so they first move above all three.
    let mut moved = [-1isize; 3];
    let mut moved_along = [-1isize; MOST_DESCRIPTORS];
    for (place, stream) in start.streams.iter().enumerate() {
        let above = 64 + place;
        moved[place] = sys!(DUP3, *stream, above, CLOEXEC);
    }
    for (place, stream) in moved.iter().enumerate() {
        if *stream < 0 {
            error = *stream;
        } else {
            error = error.min(sys!(DUP3, *stream, place, 0).min(0));
        }
    }
    let kept = if keeps(start.wall) { 0 } else { CLOEXEC };
    for (place, descriptor) in start.along.iter().enumerate() {
        if *descriptor >= 0 {
            let above = sys!(DUP3, *descriptor, 72 + place, CLOEXEC);
            moved_along[place] = above;
            error = error.min(above.min(0));
        }
    }
    for (place, descriptor) in moved_along.iter().enumerate() {
        if *descriptor >= 0 {
            error = error.min(sys!(DUP3, *descriptor, 3 + place, kept).min(0));
        }
    }
    set_attribute(Attribute::DEATH_SIGNAL, SIGKILL);
    // Handlers are none; the mask and an ignored SIGPIPE would be inherited.
    reset_signal(SIGPIPE);
    block_signals(SET_MASK, 0);
    if error == 0 {
        error = start.enter_folder();
    }
    if error == 0
        && let Err(failed) = apply(start.wall, line as i32)
    {
        start.stage = failed.tag;
        error = failed.error;
    }
    if error == 0 {
        error = start.execute();
    }
    start.error = error;
    exit(127)
}
