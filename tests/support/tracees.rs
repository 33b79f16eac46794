//! Stops PID 1, with all its threads and what it forks until that becomes another
//! program, before every system call; a call can fail, or happen in part, or be the
//! moment of something else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::tracer::{Call, call};
use super::{PROGRAM, Running, Start};

/// What becomes of a call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is made.
    Made,
    /// It is not made, and ends with this error.
    Fails(i32),
    /// It is made, and ends with this error all the same.
    Spoiled(i32),
    /// It is made for no more than this many bytes (its third argument).
    Short(u64),
    /// It is a look at a clock, and finds it these seconds later.
    Later(i64),
}

/// The calls that the kernel itself refused or interrupted: number and error.
pub type Refused = BTreeSet<(i64, i32)>;

/// Lets a start begin whose shell waits for a line, and asks `decide` before every call
/// of what the shell becomes.
///
/// The tracer is a thread of its own: a wait of ptrace(2) is for all that it traces.
pub fn trace(
    start: Start,
    decide: impl FnMut(&Call) -> Fate + Send + 'static,
) -> (Running, JoinHandle<Refused>) {
    traced(start, false, decide)
}

/// The same without the kernel's library in the program's memory (vDSO): every look at a
/// clock is a system call.
pub fn trace_clocks(
    start: Start,
    decide: impl FnMut(&Call) -> Fate + Send + 'static,
) -> (Running, JoinHandle<Refused>) {
    traced(start, true, decide)
}

fn traced(
    start: Start,
    clocks: bool,
    mut decide: impl FnMut(&Call) -> Fate + Send + 'static,
) -> (Running, JoinHandle<Refused>) {
    let (gate, mut go) = std::io::pipe().unwrap();
    let running = start.stdin(gate).start();
    let first = Pid::from_raw(running.pid());
    let tracer = thread::spawn(move || {
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK;
        ptrace::seize(first, options).unwrap();
        go.write_all(b"go\n").unwrap();
        let mut tracees = Tracees {
            first,
            program: identity(PROGRAM).unwrap(),
            begun: false,
            clocks,
            inside: BTreeMap::new(),
            undone: BTreeMap::new(),
            refused: Refused::new(),
        };
        while tracees.next(&mut decide) {}
        tracees.refused
    });
    (running, tracer)
}

/// What has to be done when a call ends.
enum Undo {
    Give(i32),
    Size(u64),
    /// The time at this address is put forward.
    Forward(u64, i64),
}

struct Tracees {
    first: Pid,
    program: (u64, u64),
    begun: bool,
    /// Whether looks at clocks are calls.
    clocks: bool,
    /// The call that each of them makes.
    inside: BTreeMap<Pid, i64>,
    undone: BTreeMap<Pid, Undo>,
    refused: Refused,
}

impl Tracees {
    /// Waits for one stop and lets it go on; whether there is anyone left.
    fn next(&mut self, decide: &mut impl FnMut(&Call) -> Fate) -> bool {
        let ours = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let status = match waitpid(None, Some(ours)) {
            Ok(status) => status,
            Err(Errno::ECHILD) => return false,
            // A signal that nix has no name for.
            Err(error) => panic!("{error}"),
        };
        let (pid, signal) = match status {
            WaitStatus::PtraceSyscall(pid) => {
                self.call(pid, decide);
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                if pid != self.first {
                    // From here on it is another program.
                    let _ = ptrace::detach(pid, None);
                    return true;
                }
                // The shell itself was one before.
                let program = identity(&format!("/proc/{pid}/exe"));
                self.begun |= program.is_some_and(|program| program == self.program);
                if self.clocks {
                    hide_vdso(pid);
                }
                (pid, None)
            }
            WaitStatus::PtraceEvent(pid, ..) => (pid, None),
            // It aborts, or cannot even be loaded. The kernel lets it, as the first process
            // of its namespace, end by that only while it is not traced.
            WaitStatus::Stopped(pid, signal) if is_its_own(pid, signal) => {
                let _ = ptrace::detach(pid, signal);
                return true;
            }
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => return true,
        };
        // Until the program is there, only its exec matters.
        let _ = if self.begun {
            ptrace::syscall(pid, signal)
        } else {
            ptrace::cont(pid, signal)
        };
        true
    }

    fn call(&mut self, pid: Pid, decide: &mut impl FnMut(&Call) -> Fate) {
        // Who was killed meanwhile has no call any more.
        let Ok(info) = ptrace::syscall_info(pid) else {
            return;
        };
        if info.op == libc::PTRACE_SYSCALL_INFO_EXIT {
            let number = self.inside.remove(&pid);
            match self.undone.remove(&pid) {
                Some(Undo::Give(error)) => {
                    change(pid, |regs| regs.rax = i64::from(-error).cast_unsigned())
                }
                Some(Undo::Size(size)) => change(pid, |regs| regs.rdx = size),
                Some(Undo::Forward(address, seconds)) => {
                    if let Some(now) = word(pid, address) {
                        put(pid, address, now + seconds);
                    }
                }
                None => self.refused.extend(number.zip(error(pid))),
            }
            return;
        }
        let Some(call) = call(pid) else { return };
        self.inside.insert(pid, call.number);
        let undo = match decide(&call) {
            Fate::Made => return,
            Fate::Fails(error) => {
                // There is no such call.
                change(pid, |regs| regs.orig_rax = u64::MAX);
                Undo::Give(error)
            }
            Fate::Spoiled(error) => Undo::Give(error),
            Fate::Short(size) => {
                change(pid, |regs| regs.rdx = size);
                Undo::Size(call.args[2])
            }
            Fate::Later(seconds) => Undo::Forward(call.args[1], seconds),
        };
        self.undone.insert(pid, undo);
    }
}

/// Whether it ends by its own doing: it aborts, or the kernel stops it at what it did.
fn is_its_own(pid: Pid, signal: Signal) -> bool {
    const MISDEEDS: [Signal; 4] = [
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGSEGV,
    ];
    let by_kernel = || ptrace::getsiginfo(pid).is_ok_and(|told| told.si_code > 0);
    signal == Signal::SIGABRT || MISDEEDS.contains(&signal) && by_kernel()
}

/// The error that a call ended with, at its end.
#[cfg(target_arch = "x86_64")]
fn error(pid: Pid) -> Option<i32> {
    let value = ptrace::getregs(pid).ok()?.rax.cast_signed();
    (-4095..0)
        .contains(&value)
        .then(|| i32::try_from(-value).unwrap())
}

/// Changes the registers. Who was killed meanwhile has none.
#[cfg(target_arch = "x86_64")]
fn change(pid: Pid, change: impl FnOnce(&mut libc::user_regs_struct)) {
    if let Ok(mut regs) = ptrace::getregs(pid) {
        change(&mut regs);
        let _ = ptrace::setregs(pid, regs);
    }
}

/// A word of a tracee's memory. Who was killed meanwhile has none.
fn word(pid: Pid, address: u64) -> Option<i64> {
    ptrace::read(pid, address as *mut c_void).ok()
}

fn put(pid: Pid, address: u64, word: i64) {
    let _ = ptrace::write(pid, address as *mut c_void, word);
}

/// Who has just become another program is not told where its vDSO is: that is in the
/// auxiliary vector, on the stack behind the arguments and the environment.
#[cfg(target_arch = "x86_64")]
fn hide_vdso(pid: Pid) {
    let Ok(regs) = ptrace::getregs(pid) else {
        return;
    };
    let words = (1..).map(|at| regs.rsp + 8 * at);
    let mut ends = 0;
    let mut auxiliary = words.skip_while(|at| {
        ends += usize::from(word(pid, *at).is_none_or(|word| word == 0));
        ends < 2
    });
    auxiliary.next();
    for at in auxiliary.step_by(2) {
        match word(pid, at).map(i64::cast_unsigned) {
            Some(libc::AT_SYSINFO_EHDR) => put(pid, at, libc::AT_IGNORE.cast_signed()),
            Some(libc::AT_NULL) | None => return,
            Some(_) => {}
        }
    }
}

/// Which file it is, whatever its name is in a mount namespace.
fn identity(path: &str) -> Option<(u64, u64)> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino()))
}
