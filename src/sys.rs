//! The system calls that neither nix nor rustix offers as safe functions.
//!
//! This is the only file of the crate in which `unsafe` is allowed. Each function
//! is a thin wrapper that is safe to call with any argument.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The highest signal number of Linux on the architectures we build for.
pub const LAST_SIGNAL: i32 = 64;

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
/// ignored, in its own session or process group.
///
/// What the parent blocked or ignored would otherwise be inherited for good: a
/// blocked TERM means a server that never stops.
pub fn fresh_start(command: &mut Command, apart: Apart) {
    let setup = move || {
        // SAFETY: only async-signal-safe functions on local data, as needed
        // between fork and exec.
        unsafe {
            match apart {
                Apart::Session => {
                    if libc::setsid() == -1 {
                        return Err(io::Error::last_os_error());
                    }
                }
                Apart::Group(terminal) => {
                    if libc::setpgid(0, 0) == -1 {
                        return Err(io::Error::last_os_error());
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
