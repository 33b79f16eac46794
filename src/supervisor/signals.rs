//! Signals as data: all are blocked from the first moment and read from one
//! descriptor, so that none is lost, none interrupts, and none kills us.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};

use crate::sys::{self, Refused, refused};

/// One received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number, 1 to 64.
    pub number: i32,
    /// Whether a process sent it, rather than the kernel (sigaction(2), `si_code`).
    pub by_process: bool,
    /// What its sender gave with it (sigqueue(3)), or 0.
    pub value: u64,
}

impl Received {
    /// Whether it asks a supervisor to stop.
    pub fn is_stop(self) -> bool {
        const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];
        STOPS.iter().any(|stop| *stop as i32 == self.number)
            || (self.number == Signal::SIGHUP as i32 && !self.by_process)
    }

    /// Whether it asks to restart the server in place: HUP from a process. From the
    /// kernel it means that the terminal hung up.
    pub fn is_restart(self) -> bool {
        self.number == Signal::SIGHUP as i32 && self.by_process
    }

    /// Whether a server gets it as it is: USR1 and the real-time ones. Jupyter would
    /// die uncleanly of USR2, and the others are about a terminal it has not.
    pub fn is_for_the_server(self) -> bool {
        self.number == Signal::SIGUSR1 as i32 || self.is_real_time()
    }

    /// Whether the kernel says that a child changed state. One that a process sent is
    /// a signal like others.
    pub fn is_child(self) -> bool {
        self.number == Signal::SIGCHLD as i32 && !self.by_process
    }

    /// Whether it queues: every one of them counts, and there may be no room for it.
    pub fn is_real_time(self) -> bool {
        self.number > Signal::SIGSYS as i32
    }
}

impl From<&siginfo> for Received {
    fn from(info: &siginfo) -> Self {
        Self {
            number: i32::try_from(info.ssi_signo).unwrap_or(0),
            // SI_USER is 0, SI_QUEUE -1, SI_TKILL -6; what the kernel sends is above 0.
            by_process: info.ssi_code <= 0,
            value: info.ssi_ptr,
        }
    }
}

/// All signals of this process.
#[derive(Debug)]
pub struct Signals {
    source: SignalFd,
    /// Read during the preparation and kept for later.
    kept: RefCell<VecDeque<Received>>,
}

impl Signals {
    /// Blocks every signal and reads them from now on. Call it first of all, while
    /// there is one thread: threads inherit the mask.
    ///
    /// # Errors
    /// The call that was refused.
    pub fn take_over() -> Result<Self, Refused> {
        sys::default_child_signal();
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)
            .map_err(refused("rt_sigprocmask"))?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            source: SignalFd::with_flags(&all, flags).map_err(refused("signalfd4"))?,
            kept: RefCell::default(),
        })
    }

    /// The next signal, in the order of arrival; `None` if there is none now.
    pub fn next(&self) -> Option<Received> {
        let kept = self.kept.borrow_mut().pop_front();
        kept.or_else(|| self.read())
    }

    /// The signal that asks to end the preparation, if one has arrived. All others
    /// are kept for whoever reads later, but for those of children: who waits for
    /// children looks at them anyway, and there may be any number.
    pub fn stop_requested(&self) -> Option<Received> {
        while let Some(received) = self.read() {
            if !received.is_child() {
                self.kept.borrow_mut().push_back(received);
            }
        }
        self.kept
            .borrow()
            .iter()
            .copied()
            .find(|kept| kept.is_stop())
    }

    /// Forgets what arrived so far, but for what asks to stop: that may have come since
    /// anybody looked.
    pub fn forget(&self) {
        let _ = self.stop_requested();
        self.kept.borrow_mut().retain(|kept| kept.is_stop());
    }

    /// Leaves real-time signals in the kernel's queue, or reads them again. Who sends
    /// more than there is room for is told so by the kernel, as without us.
    pub fn hold_real_time(&self, hold: bool) {
        let mask = if hold {
            Signal::iterator().collect()
        } else {
            SigSet::all()
        };
        // EBADF and EINVAL are all it could say.
        let _ = self.source.set_mask(&mask);
    }

    fn read(&self) -> Option<Received> {
        loop {
            return match self.source.read_signal() {
                Ok(Some(info)) if is_of_our_writing(&info) => continue,
                Ok(info) => info.as_ref().map(Received::from),
                // Taken for "none now", it would leave us deaf until the next signal.
                Err(Errno::EINTR) => continue,
                // Other errors of read(2) cannot happen here.
                Err(_) => None,
            };
        }
    }
}

/// Whether it is what the kernel sends whoever writes where nobody reads, or too much: a
/// blocked signal comes although it is ignored. The failed write says the same.
fn is_of_our_writing(info: &siginfo) -> bool {
    const OF_WRITING: [Signal; 2] = [Signal::SIGPIPE, Signal::SIGXFSZ];
    OF_WRITING
        .iter()
        .any(|signal| *signal as u32 == info.ssi_signo)
        && info.ssi_pid == std::process::id()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}
