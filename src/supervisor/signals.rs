//! Signals as data: all are blocked from the start and read from one file descriptor, so that
//! none is lost, none interrupts this process and none kills it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

use crate::sys;
use crate::sys::{CallError, call_error};

/// One received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The signal number, 1 to 64.
    pub number: i32,
    /// True if a process sent it, false if the kernel did (`si_code` in sigaction(2)).
    pub by_process: bool,
    /// The value that the sender attached (sigqueue(3)), or 0.
    pub value: u64,
}

impl Received {
    /// Reports whether it asks to stop: TERM, INT, QUIT, PWR (from LXC), or HUP from the kernel.
    pub fn is_stop(self) -> bool {
        const STOPS: [Signal; 4] = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGPWR,
        ];
        STOPS.iter().any(|stop| *stop as i32 == self.number)
            || (self.number == Signal::SIGHUP as i32 && !self.by_process)
    }

    /// Reports whether it asks to restart the server in place: HUP from a process. HUP from the
    /// kernel means that the terminal hung up.
    pub fn is_restart(self) -> bool {
        self.number == Signal::SIGHUP as i32 && self.by_process
    }

    /// Reports whether a server gets it unchanged: USR1 and real-time signals. USR2 would kill
    /// Jupyter without a clean-up. Most others concern a terminal, which the server does not have.
    pub fn is_passed_to_server(self) -> bool {
        self.number == Signal::SIGUSR1 as i32 || self.is_real_time()
    }

    /// Reports whether the kernel sent it because a child process changed state. CHLD from a
    /// process is a signal like others.
    pub fn is_child(self) -> bool {
        self.number == Signal::SIGCHLD as i32 && !self.by_process
    }

    /// Reports whether it is a real-time signal: the kernel queues each one, if there is room.
    pub fn is_real_time(self) -> bool {
        self.number > Signal::SIGSYS as i32
    }
}

impl From<&siginfo> for Received {
    fn from(info: &siginfo) -> Self {
        Self {
            number: i32::try_from(info.ssi_signo).unwrap_or(0),
            // SI_USER is 0, SI_QUEUE -1, SI_TKILL -6; the codes of the kernel are above 0.
            by_process: info.ssi_code <= 0,
            value: info.ssi_ptr,
        }
    }
}

/// The source of all signals of this process.
#[derive(Debug)]
pub struct Signals {
    source: SignalFd,
    /// Signals that were read during the preparation, for [`Self::next`].
    pending_signals: RefCell<VecDeque<Received>>,
}

impl Signals {
    /// Blocks every signal; from now on they are read here. Call it first of all, while there
    /// is only one thread: threads inherit the mask.
    ///
    /// # Errors
    /// The system call that was refused.
    pub fn take_over() -> Result<Self, CallError> {
        sys::default_child_signal();
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)
            .map_err(call_error("rt_sigprocmask"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            source: SignalFd::with_flags(&all, flags).map_err(call_error("signalfd4"))?,
            pending_signals: RefCell::default(),
        })
    }

    /// Returns the next signal, in the order of arrival; `None`: there is none now.
    pub fn next(&self) -> Option<Received> {
        let kept = self.pending_signals.borrow_mut().pop_front();
        kept.or_else(|| self.read())
    }

    /// Returns the first signal that asks to stop, if one has arrived during the preparation. All
    /// signals are kept for [`Self::next`] except those of children: code that waits for children
    /// polls them anyway, and there may be any number.
    pub fn stop_requested(&self) -> Option<Received> {
        while let Some(received) = self.read() {
            if !received.is_child() {
                self.pending_signals.borrow_mut().push_back(received);
            }
        }
        self.pending_signals
            .borrow()
            .iter()
            .copied()
            .find(|kept| kept.is_stop())
    }

    /// Drops the signals that arrived so far, except those that ask to stop: one may have arrived
    /// since the last check.
    pub fn discard_pending(&self) {
        let _ = self.stop_requested();
        self.pending_signals
            .borrow_mut()
            .retain(|kept| kept.is_stop());
    }

    /// Leaves real-time signals in the kernel's queue (`hold`), or reads them again. When that
    /// queue is full, the kernel reports this to the sender, as it would without a supervisor.
    pub fn hold_real_time(&self, hold: bool) {
        let mask = if hold {
            Signal::iterator().collect()
        } else {
            SigSet::all()
        };
        // The only errors are EBADF and EINVAL, which these arguments rule out.
        let _ = self.source.set_mask(&mask);
    }

    fn read(&self) -> Option<Received> {
        loop {
            return match self.source.read_signal() {
                Ok(Some(info)) if is_own_write_error(&info) => continue,
                Ok(info) => info.as_ref().map(Received::from),
                // Treated as "none now", it would leave waiting signals unread until the next one.
                Err(Errno::EINTR) => continue,
                // Other errors of read(2) cannot happen here.
                Err(_) => None,
            };
        }
    }
}

/// Reports whether this is SIGPIPE or SIGXFSZ, which the kernel raises for a write of ours: a
/// blocked signal arrives even if it is ignored. The error of the write reports the same.
fn is_own_write_error(info: &siginfo) -> bool {
    const WRITE_SIGNALS: [Signal; 2] = [Signal::SIGPIPE, Signal::SIGXFSZ];
    WRITE_SIGNALS
        .iter()
        .any(|signal| *signal as u32 == info.ssi_signo)
        && info.ssi_pid == std::process::id()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}
