//! Tries the system calls that the supervisor cannot do without, before a start changes anything.

use std::os::unix::net::UnixStream;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, getpid, wait};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::sys;
use crate::sys::{CallError, call_error};

/// Tries the calls that child processes and events need. Without them a start would fail only when
/// its server is up: the server could be neither stopped nor reaped.
///
/// # Errors
/// The first call that was refused.
pub fn check() -> Result<(), CallError> {
    sys::kill(getpid().as_raw_pid(), 0).map_err(call_error("kill"))?;
    // Reaping a child here loses nothing: this process has started none yet.
    match wait(WaitOptions::NOHANG) {
        Ok(_) | Err(Errno::CHILD | Errno::INTR) => {}
        Err(error) => return Err(call_error("wait4")(error)),
    }
    // For other errors the standard library reads /dev/urandom instead.
    if let Err(error @ Errno::INVAL) = getrandom(&mut [0_u8; 1], GetRandomFlags::NONBLOCK) {
        return Err(call_error("getrandom")(error));
    }
    pipe_with(PipeFlags::CLOEXEC).map_err(call_error("pipe2"))?;
    UnixStream::pair().map_err(call_error("socketpair"))?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(call_error("epoll_create1"))?;
    let event = EventFd::new().map_err(call_error("eventfd2"))?;
    fcntl_dupfd_cloexec(&event, 0).map_err(call_error("fcntl"))?;
    epoll
        .add(&event, EpollEvent::new(EpollFlags::EPOLLIN, 0))
        .map_err(call_error("epoll_ctl"))?;
    match epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::ZERO) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(call_error("epoll_wait")(error)),
    }
}
