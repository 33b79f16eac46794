//! The system calls that neither nix nor rustix offers as safe functions.
//!
//! Outside tests, `unsafe` is allowed in this file only. Each function is safe to call with any
//! argument.
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
pub struct CallError {
    /// The name of the call.
    pub call: &'static str,
    /// The error it returned.
    pub source: io::Error,
}

/// Returns a closure for `map_err` that adds the name of the call to an error.
pub fn call_error<E: Into<io::Error>>(call: &'static str) -> impl Fn(E) -> CallError {
    move |error| CallError {
        call,
        source: error.into(),
    }
}

/// The calls that separate a child process from us. The upper half of the error number says which
/// one failed, because a child process can return only that number to its parent.
const CHILD_CALLS: [&str; 2] = ["setsid", "setpgid"];

/// The lower half of the error number: the error itself.
const ERRNO_MASK: i32 = 0xffff;

fn child_error(call: i32) -> io::Error {
    let error = io::Error::last_os_error().raw_os_error();
    io::Error::from_raw_os_error((call + 1) << 16 | error.unwrap_or(0))
}

/// Returns the call that failed in a child process between fork(2) and execve(2); `None` if it was
/// not one of ours.
pub fn failed_in_child(error: &io::Error) -> Option<CallError> {
    let number = error.raw_os_error()?;
    let call = usize::try_from(number >> 16).ok()?.checked_sub(1)?;
    let source = io::Error::from_raw_os_error(number & ERRNO_MASK);
    CHILD_CALLS.get(call).map(|call| CallError { call, source })
}

/// kill(2) with any signal number. The typed wrappers know no real-time signals, which a supervisor
/// has to pass on like all others. `pid` is as in kill(2).
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

/// sigqueue(3): queues a real-time signal with the value from its sender. It fails with EAGAIN if
/// the queue is full, where kill(2) reports success and may lose the signal.
///
/// # Errors
/// As sigqueue(3): EAGAIN, ESRCH, EPERM, EINVAL.
pub fn queue_signal(pid: i32, signal: i32, value: u64) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::with_exposed_provenance_mut(value as usize),
    };
    // SAFETY: the value is only a number for the receiver; this process never dereferences it.
    match unsafe { libc::sigqueue(pid, signal, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives SIGCHLD its default disposition. If our parent ignored it, our child processes would
/// vanish without an exit status (wait(2), POSIX.1-2001).
pub fn default_child_signal() {
    // SAFETY: SIG_DFL installs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Watches a file descriptor for readability on the current runtime.
///
/// # Errors
/// As epoll_ctl(2).
pub fn watch(descriptor: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    // SAFETY: while the borrow lives, the file descriptor stays open and is the same one; the
    // returned value cannot outlive the borrow.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

/// How a child process is separated from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separation {
    /// A session of its own, without a terminal.
    Session,
    /// A process group of its own, put in the foreground of this terminal if one is given.
    Group(Option<RawFd>),
}

/// Makes `command` start in a clean state: no signal blocked or ignored, in its own session or
/// process group, with this umask if one is given.
///
/// Otherwise the program would inherit the blocked and ignored signals of its parent for good: a
/// server with TERM blocked never stops.
pub fn reset_child(command: &mut Command, apart: Separation, umask: Option<u32>) {
    let setup = move || {
        // SAFETY: calls only async-signal-safe functions on local data, as needed between fork and
        // exec.
        unsafe {
            match apart {
                Separation::Session => {
                    if libc::setsid() == -1 {
                        return Err(child_error(0));
                    }
                }
                Separation::Group(terminal) => {
                    if libc::setpgid(0, 0) == -1 {
                        return Err(child_error(1));
                    }
                    if let Some(terminal) = terminal {
                        // TTOU stops a background process that calls tcsetpgrp, unless it is
                        // ignored. The call may fail: no controlling terminal (ENOTTY), or that of
                        // another session (EPERM).
                        libc::signal(libc::SIGTTOU, libc::SIG_IGN);
                        libc::tcsetpgrp(terminal, libc::getpgrp());
                    }
                }
            }
            if let Some(umask) = umask {
                libc::umask(umask);
            }
            for signal in 1..=LAST_SIGNAL {
                // Fails for KILL, STOP and the two signals that glibc reserves, which is right.
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

/// Makes glibc return freed blocks of a megabyte and more to the kernel at once. Otherwise it keeps
/// blocks of a size that was freed before: 10 MiB after hashing a password.
pub fn set_mmap_threshold() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only later allocations read the threshold. If it is not set, they only keep more
    // memory.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Gives memory that only the start needed back to the kernel, as this process lives for weeks:
/// freed allocations, and code and constants mapped from files. The kernel maps them again from the
/// same files when they are used.
pub fn release_memory() {
    // The text is longer than everything else that is freed here.
    let maps = std::fs::read_to_string("/proc/self/smaps");
    let mappings = maps.map_or_else(|_| Vec::new(), |maps| clean_mappings(&maps));
    #[cfg(target_env = "gnu")]
    // SAFETY: gives back only memory that is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
    for range in mappings {
        let start = std::ptr::without_provenance_mut(range.start);
        // SAFETY: the mapping is not writable and nothing in it differs from its file, so a later
        // read finds the same bytes. No mapping of a file goes away between reading `smaps` and
        // this call: libraries stay loaded.
        unsafe { libc::madvise(start, range.len(), libc::MADV_DONTNEED) };
    }
}

/// Returns the addresses of the mappings in `smaps` (proc_pid_smaps(5)) that are private to this
/// process, come from a file, are not writable and have no modified page, in memory or swapped out.
/// Pages that the linker wrote before it made them read-only are modified.
fn clean_mappings(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut mapping = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        if let Some(range) = addresses(first) {
            let constant = matches!(words.next(), Some("r-xp" | "r--p"));
            // Offset and device come before the inode.
            let of_file = words.nth(2).is_some_and(|inode| inode != "0");
            mapping = (constant && of_file).then_some(range);
        } else if first == "Anonymous:" && words.next() != Some("0") {
            mapping = None;
        } else if first == "Swap:" {
            // The last line that counts: it comes after Anonymous.
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
            clean_mappings(&(code + &constants)),
            [0x1000..0x3000, 0x3000..0x4000]
        );
        assert!(clean_mappings(&others.concat()).is_empty());
    }
}
