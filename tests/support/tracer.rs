//! Stops the program at a chosen system call and kills it there.
//!
//! The tracer seizes a shell before that becomes the program, so that nothing has to
//! be done between fork and exec.

use std::ffi::c_void;
use std::io::Write;

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{Running, Start};

/// A system call that is about to be made.
pub struct Call {
    pub number: i64,
    pub args: [u64; 6],
    pub pid: Pid,
}

impl Call {
    /// Whether it opens exactly this path.
    pub fn opens(&self, path: &str) -> bool {
        let name = match self.number {
            libc::SYS_openat => self.args[1],
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open => self.args[0],
            _ => return false,
        };
        self.text(name, path.len() + 1) == path
    }

    /// Whether it has nothing to do with any file system: what is before it is the same
    /// as what is after it.
    pub fn is_internal(&self) -> bool {
        [
            libc::SYS_brk,
            libc::SYS_close,
            libc::SYS_fcntl,
            libc::SYS_getrandom,
            libc::SYS_lseek,
            libc::SYS_madvise,
            libc::SYS_mmap,
            libc::SYS_mprotect,
            libc::SYS_mremap,
            libc::SYS_munmap,
        ]
        .contains(&self.number)
    }

    /// Whether it is known to change nothing of any file system. Any other call, also
    /// one that nobody thought of, may change something.
    pub fn only_looks(&self) -> bool {
        let looks = [
            libc::SYS_fstat,
            libc::SYS_getdents64,
            libc::SYS_newfstatat,
            libc::SYS_read,
            libc::SYS_readlinkat,
            libc::SYS_statx,
        ];
        let creates = self.args[2] & u64::from(libc::O_CREAT.unsigned_abs()) != 0;
        let opens = self.number == libc::SYS_openat && !creates;
        self.is_internal() || looks.contains(&self.number) || opens
    }

    /// Whether it sets this limit.
    pub fn limits(&self, resource: u32) -> bool {
        self.number == libc::SYS_prlimit64 && self.args[1] == u64::from(resource)
    }

    /// The string at an address of the program; at most `limit` bytes.
    pub fn text(&self, address: u64, limit: usize) -> String {
        let mut bytes = Vec::new();
        while bytes.len() < limit && !bytes.contains(&0) {
            let at = usize::try_from(address).unwrap() + bytes.len();
            let Ok(word) = ptrace::read(self.pid, at as *mut c_void) else {
                break;
            };
            bytes.extend(word.to_ne_bytes());
        }
        let end = bytes.iter().position(|byte| *byte == 0);
        bytes.truncate(end.unwrap_or(bytes.len()));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How a traced run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Killed,
    /// By a signal that the test did not send as a tracer.
    Signalled(i32),
    Exited(i32),
}

/// What happens to a program that stopped before a system call.
pub enum Then {
    /// It goes on to the next one.
    GoOn,
    /// It is killed; the call does not happen any more.
    Kill,
    /// The call does not happen, and ends with this error.
    Fail(i32),
    /// It goes on, and is not stopped any more.
    LetGo,
}

/// Runs the program and stops it before every system call.
pub fn stop_before_each(start: Start, decide: impl FnMut(&Call) -> Then) -> End {
    let (gate, go) = std::io::pipe().unwrap();
    let waiting = ["sh", "-c", "read -r go && exec \"$@\"", "sh"];
    let running = start.under(&waiting).stdin(gate).start();
    follow(&running, go, decide)
}

/// The same for a shell that reads a line from the other end of `go` before it becomes
/// the program.
pub fn follow(running: &Running, go: impl Write, decide: impl FnMut(&Call) -> Then) -> End {
    follow_process(running.pid(), go, decide)
}

/// The same for the shell with this process id.
pub fn follow_process(pid: i32, mut go: impl Write, mut decide: impl FnMut(&Call) -> Then) -> End {
    let pid = Pid::from_raw(pid);
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    ptrace::interrupt(pid).unwrap();
    let mut inside = None;
    let mut failing = None;
    let mut killed = false;
    let mut gate_is_open = false;
    loop {
        let mut signal = None;
        match waitpid(pid, None).unwrap() {
            WaitStatus::Exited(_, code) => return End::Exited(code),
            WaitStatus::Signaled(_, Signal::SIGKILL, _) if killed => return End::Killed,
            WaitStatus::Signaled(_, signal, _) => return End::Signalled(signal as i32),
            // Exec happens inside its own call.
            WaitStatus::PtraceEvent(_, _, event)
                if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 =>
            {
                inside = Some(true);
            }
            WaitStatus::PtraceSyscall(_) if inside.is_some() => {
                let enters = inside == Some(false);
                inside = Some(enters);
                if let Some(error) = failing.take().filter(|_| !enters) {
                    give(pid, error);
                }
                if enters {
                    match decide(&call(pid).unwrap()) {
                        Then::GoOn => {}
                        Then::Fail(error) => {
                            skip(pid);
                            failing = Some(error);
                        }
                        Then::Kill => {
                            killed = true;
                            kill(pid, Signal::SIGKILL).unwrap();
                            continue;
                        }
                        Then::LetGo => {
                            ptrace::detach(pid, None).unwrap();
                            continue;
                        }
                    }
                }
            }
            WaitStatus::Stopped(_, received) => signal = Some(received),
            _ => {}
        }
        ptrace::syscall(pid, signal).unwrap();
        if !gate_is_open {
            go.write_all(b"go\n").unwrap();
            gate_is_open = true;
        }
    }
}

/// The call that is about to be made; `None`: who would make it was killed.
#[cfg(target_arch = "x86_64")]
pub fn call(pid: Pid) -> Option<Call> {
    let regs = ptrace::getregs(pid).ok()?;
    Some(Call {
        number: i64::try_from(regs.orig_rax).unwrap(),
        args: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
        pid,
    })
}

/// The call that is about to be made becomes one that does not exist.
#[cfg(target_arch = "x86_64")]
fn skip(pid: Pid) {
    let mut regs = ptrace::getregs(pid).unwrap();
    regs.orig_rax = u64::MAX;
    ptrace::setregs(pid, regs).unwrap();
}

/// The call that was made ends with this error.
#[cfg(target_arch = "x86_64")]
fn give(pid: Pid, error: i32) {
    let mut regs = ptrace::getregs(pid).unwrap();
    regs.rax = i64::from(-error).cast_unsigned();
    ptrace::setregs(pid, regs).unwrap();
}

#[cfg(target_arch = "aarch64")]
pub fn call(pid: Pid) -> Option<Call> {
    let regs = ptrace::getregs(pid).ok()?.regs;
    Some(Call {
        number: i64::try_from(regs[8]).unwrap(),
        args: [regs[0], regs[1], regs[2], regs[3], regs[4], regs[5]],
        pid,
    })
}
