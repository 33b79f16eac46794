//! Finds the supervisor, drops root to its user, and says where a new start is beside it.

use rustix::process::{Pid, getpid};

use crate::commands::error::VerbError;
use crate::identity::{Account, Dropped, Linux, Root, Target};
use crate::sys::proc;
use crate::sys::proc::Status;

/// The name of the supervisor's process, cut to the 15 bytes that the kernel keeps.
pub const PROCESS_NAME: &str = "ai-lab-entrypoi";

/// Sets the name of this process to [`PROCESS_NAME`], whatever the name of its executable file.
pub fn set_process_name() {
    // prctl(2) fails only for a bad address.
    let _ = rustix::thread::set_name(c"ai-lab-entrypoi");
}

/// A running supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervisor {
    /// Its process id.
    pub pid: Pid,
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

impl Supervisor {
    /// Finds PID 1 if it has that name, otherwise the process of that name that started first in
    /// this PID namespace: later ones are verbs like this process. The host's namespace and that of
    /// another container hold supervisors of other containers, so one in our control group comes
    /// first.
    pub fn find() -> Option<Self> {
        let is_another_containers = || match (control_group(Pid::INIT), control_group(getpid())) {
            (Some(first), Some(ours)) => first != ours,
            _ => false,
        };
        match has_name(Pid::INIT) && !is_another_containers() {
            true => Self::of(Pid::INIT),
            false => Self::of(oldest_process()?),
        }
    }

    fn of(pid: Pid) -> Option<Self> {
        Self::of_status(pid, &Status::of(pid)?)
    }

    fn of_status(pid: Pid, status: &Status) -> Option<Self> {
        let numbers = |field: &str| -> Option<Vec<u32>> {
            let numbers = status
                .field(field)?
                .split_ascii_whitespace()
                .map(str::parse);
            numbers.collect::<Result<_, _>>().ok()
        };
        Some(Self {
            pid,
            // Order: real, effective, saved, file system.
            uid: *numbers("Uid:")?.get(1)?,
            gid: *numbers("Gid:")?.get(1)?,
            groups: numbers("Groups:")?,
        })
    }

    /// Becomes the supervisor's user without any capability, if this process is root and that user
    /// is not: Docker runs HEALTHCHECK and `docker exec` as the image's user.
    ///
    /// # Errors
    /// Root cannot be dropped.
    pub fn drop_to_supervisor(&self) -> Result<Dropped, VerbError> {
        become_user(self.uid, self.gid, self.groups.clone())
    }
}

/// Reports whether `pid` is another process with the supervisor's name.
fn has_name(pid: Pid) -> bool {
    let name = || proc::text(pid, "comm");
    pid != getpid() && name().is_some_and(|name| name.trim_end() == PROCESS_NAME)
}

fn control_group(pid: Pid) -> Option<Vec<u8>> {
    proc::read(pid, "cgroup")
}

fn oldest_process() -> Option<Pid> {
    let ours = control_group(getpid());
    // A process that is gone by now is skipped.
    let found = proc::all_pids()
        .filter(|pid| has_name(*pid))
        .filter_map(|pid| {
            let started = proc::stat(pid)?.start;
            Some((control_group(pid) != ours, started, pid.as_raw_pid()))
        });
    Pid::from_raw(found.min()?.2)
}

/// Where a new start is, seen from a supervisor that runs in its container.
#[derive(Debug)]
pub enum Place {
    /// No supervisor runs in this container.
    Alone,
    /// This supervisor is a parent process: the start is its COMMAND, or in it.
    Below(Supervisor),
    /// The start came into the container from outside, such as with `docker exec`, where this
    /// supervisor runs.
    Beside(Supervisor),
}

impl Place {
    /// Finds the place of this start.
    pub fn of_start() -> Self {
        let us = getpid();
        if us.is_init() {
            return Self::Alone;
        }
        let above = proc::parents(us).find(|pid| has_name(*pid));
        match above.and_then(Supervisor::of) {
            Some(above) => Self::Below(above),
            None => beside(us).map_or(Self::Alone, Self::Beside),
        }
    }
}

/// Returns a supervisor of this container where this process came into it from outside: the topmost of
/// its parents has none in this PID namespace, and is not PID 1, which began it.
fn beside(us: Pid) -> Option<Supervisor> {
    let topmost = |pid| proc::parents(pid).last().unwrap_or(pid);
    let entered = Some(topmost(us)).filter(|entered| !entered.is_init())?;
    let other = Supervisor::find()?;
    let same_container = control_group(other.pid) == control_group(us);
    (same_container && topmost(other.pid) != entered).then_some(other)
}

/// Becomes the user that a start would have, where no supervisor runs.
///
/// # Errors
/// Root cannot be dropped.
pub fn drop_to_account(account: Option<Account>) -> Result<Dropped, VerbError> {
    match account {
        Some(account) => become_user(account.uid, account.gid, account.groups),
        None => become_user(0, 0, Vec::new()),
    }
}

fn become_user(uid: u32, gid: u32, groups: Vec<u32>) -> Result<Dropped, VerbError> {
    let dropped = match Root::detect() {
        Some(root) if uid == 0 => root.stay(false, &Linux).map(|(dropped, _)| dropped),
        Some(root) => {
            let target = Target {
                uid,
                gid,
                groups,
                new_privileges: false,
            };
            root.drop(&target, &Linux).map(|(dropped, _)| dropped)
        }
        None => Dropped::without_root(false, &Linux),
    };
    dropped.map_err(|error| {
        let text = format!("cannot become uid {uid}, the supervisor's user: {error}");
        VerbError::Other(text)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_it_is_stands_in_its_status() {
        let status =
            Status::parse("Name:\tx\nUid:\t0\t1000\t0\t0\nGid:\t0\t1001\t0\t0\nGroups:\t4 20 \n");
        let found = Supervisor::of_status(getpid(), &status).unwrap();
        assert_eq!(
            (found.uid, found.gid, found.groups),
            (1000, 1001, vec![4, 20])
        );
    }
}
