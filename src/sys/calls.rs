//! The system calls that neither nix nor rustix offers as safe functions.
//!
//! This is the only file of the crate in which `unsafe` is allowed. Each function
//! is a thin wrapper that is safe to call with any argument.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The highest signal number of Linux on the architectures we build for.
pub const LAST_SIGNAL: i32 = 64;

/// A system call that the kernel, or a sandbox in its place, refused.
#[derive(Debug, thiserror::Error)]
#[error("{call} failed: {source}; if a sandbox or a seccomp profile refuses it, allow it there")]
pub struct Refused {
    /// The call.
    pub call: &'static str,
    /// The answer.
    pub source: io::Error,
}

/// Returns a function that names the call of an error.
pub fn refused<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> Refused {
    move |error| Refused {
        call,
        source: error.into(),
    }
}

/// The calls that set a child apart. Which of them failed is told in the upper half of the
/// error number, since nothing else comes from the child to its parent.
const SET_UP: [&str; 2] = ["setsid", "setpgid"];

/// The lower half, which is the error itself.
const ERROR: i32 = 0xffff;

fn set_up_failed(call: i32) -> io::Error {
    let error = io::Error::last_os_error().raw_os_error();
    io::Error::from_raw_os_error((call + 1) << 16 | error.unwrap_or(0))
}

/// Returns the call that failed in a child, between fork(2) and execve(2); `None`: it was not
/// one of ours.
pub fn failed_in_child(error: &io::Error) -> Option<Refused> {
    let number = error.raw_os_error()?;
    let call = usize::try_from(number >> 16).ok()?.checked_sub(1)?;
    let source = io::Error::from_raw_os_error(number & ERROR);
    SET_UP.get(call).map(|call| Refused { call, source })
}

/// kill(2) with any signal number: the typed wrappers know no real-time signals,
/// which a supervisor has to pass on like all others. `pid` as in kill(2).
///
/// # Errors
/// As kill(2): ESRCH, EPERM, EINVAL.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two integers and touches no memory of ours.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// sigqueue(3): queues a real-time signal with what its sender gave with it. Unlike
/// kill(2), which loses it in silence, this tells when the queue is full.
///
/// # Errors
/// As sigqueue(3): EAGAIN, ESRCH, EPERM, EINVAL.
pub fn queue(pid: i32, signal: i32, value: u64) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::with_exposed_provenance_mut(value as usize),
    };
    // SAFETY: the value is a number for the receiver; nobody here looks behind it.
    match unsafe { libc::sigqueue(pid, signal, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives SIGCHLD its default disposition. A parent that ignored it would have left
/// us with children that vanish without an exit status (wait(2), POSIX.1-2001).
pub fn default_child_signal() {
    // SAFETY: SIG_DFL installs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Watches a descriptor for readability on the current runtime.
///
/// # Errors
/// epoll_ctl(2)'s.
pub fn watch(descriptor: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: for as long as the borrow lives, the descriptor is open and is the
    // same; the returned value cannot outlive the borrow.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

/// How a child is set apart from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// A session of its own, without a terminal.
    Session,
    /// A process group of its own, put in the foreground of this terminal if given.
    Group(Option<RawFd>),
}

/// Makes `command` start as a fresh program expects it: nothing blocked, nothing
/// ignored, in its own session or process group, with this umask if one is given.
///
/// What the parent blocked or ignored would otherwise be inherited for good: a
/// blocked TERM means a server that never stops.
pub fn fresh_start(command: &mut Command, apart: Apart, umask: Option<u32>) {
    let setup = move || {
        // SAFETY: only async-signal-safe functions on local data, as needed
        // between fork and exec.
        unsafe {
            match apart {
                Apart::Session => {
                    if libc::setsid() == -1 {
                        return Err(set_up_failed(0));
                    }
                }
                Apart::Group(terminal) => {
                    if libc::setpgid(0, 0) == -1 {
                        return Err(set_up_failed(1));
                    }
                    if let Some(terminal) = terminal {
                        // A background process that calls tcsetpgrp is stopped by
                        // TTOU unless it ignores it. The call may fail: no
                        // controlling terminal (ENOTTY), another session's (EPERM).
                        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
                        libc::tcsetpgrp(terminal, libc::getpgrp());
                    }
                }
            }
            if let Some(umask) = umask {
                libc::umask(umask);
            }
            for signal in 1..=LAST_SIGNAL {
                // KILL, STOP and glibc's own two refuse, which is right.
                libc::signal(signal, libc::SIG_DFL);
            }
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock; see above.
    unsafe { command.pre_exec(setup) };
}

/// Makes freed blocks of a megabyte and more go back to the kernel at once. Without
/// this, glibc keeps what it has once seen freed: 10 MiB for hashing a password.
pub fn keep_no_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the threshold is read by allocations that come later. Without it, they only
    // keep more.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Gives back the memory that only the start needed, in a process that lives for weeks:
/// what was allocated in between and freed, and the code and constants that are mapped
/// from files. The kernel maps what is used again from the same files.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only memory that nobody has allocated is given back.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else {
        return;
    };
    for range in as_in_file(&maps) {
        let start = std::ptr::without_provenance_mut(range.start);
        // SAFETY: the mapping cannot be written, and nothing in it differs from its file:
        // whoever reads there next finds the same. No mapping of a file is taken away
        // between the look and this: libraries stay.
        unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    }
}

/// The addresses of the mappings in `smaps` (proc_pid_smaps(5)) that are private ones of
/// a file, cannot be written, and have no page that differs from it, in memory or swapped
/// out. Where the linker wrote before it took that right away, there is one.
fn as_in_file(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(range) = addresses(first) {
            let constant = matches!(words.next(), Some("r-xp" | "r--p"));
            // After offset and device.
            let of_file = words.nth(2).is_some_and(|inode| inode != "0");
            mapping = (constant && of_file).then_some(range);
        } else if first == "Anonymous:" && words.next() != Some("0") {
            mapping = None;
        } else if first == "Swap:" {
            // Comes after Anonymous.
            let mapping = mapping.take();
            found.extend(mapping.filter(|_| words.next() == Some("0")));
        }
    }
    found
}

fn addresses(word: &str) -> Option<Range<usize>> {
    let (start, end) = word.split_once('-')?;
    let [start, end] = [start, end].map(|end| usize::from_str_radix(end, 16).ok());
    Some(start?..end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_in_its_file() {
        let mapping = |header: &str, own: u32, swapped: u32| {
            format!("{header}\nRss: 8 kB\nAnonymous: {own} kB\nSwap: {swapped} kB\n")
        };
        let code = mapping("1000-3000 r-xp 00001000 fe:00 77 /usr/bin/x", 0, 0);
        let constants = mapping("3000-4000 r--p 00003000 fe:00 77 /usr/bin/with space", 0, 0);
        let others = [
            mapping("4000-5000 r--p 00004000 fe:00 77 /usr/bin/x", 4, 0),
            mapping("4000-5000 r--p 00004000 fe:00 77 /usr/bin/x", 0, 4),
            mapping("5000-6000 rw-p 00005000 fe:00 77 /usr/bin/x", 0, 0),
            mapping("6000-7000 r--s 00000000 fe:00 78 /shared", 0, 0),
            mapping("7000-8000 r--p 00000000 00:00 0 [vvar]", 0, 0),
            mapping("8000-9000 r-xp 00000000 00:00 0", 0, 0),
            mapping(
                "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]",
                0,
                0,
            ),
            "9000-a000 r-xp 00000000 fe:00 79 /cut/short\n".into(),
        ];
        assert_eq!(
            as_in_file(&(code + &constants)),
            [0x1000..0x3000, 0x3000..0x4000]
        );
        assert_eq!(as_in_file(&others.concat()), []);
    }
}
