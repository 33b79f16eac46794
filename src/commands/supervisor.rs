//! Finding the supervisor, and stepping down to whom it runs as.

use std::fs;

use rustix::process::{Pid, getpid};

use super::VerbError;
use crate::identity::{Account, Dropped, Linux, Root, Target};
use crate::supervisor::everyone;

/// The name of the process, as far as the kernel keeps it (15 bytes).
pub const NAME: &str = "ai-lab-entrypoi";

/// Gives this process that name, whatever the file is called that it was started from.
pub fn take_name() {
    // Fails only for a name with a NUL byte.
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
    /// Finds PID 1 if it has that name, otherwise the first process of that name to have
    /// started in this PID namespace: the other ones are verbs like us. With the host's
    /// processes there may be those of other containers; ours is in our control group.
    pub fn find() -> Option<Self> {
        let pid = match has_name(Pid::INIT) {
            true => Pid::INIT,
            false => first_of_name()?,
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(pid, &status)
    }

    fn parse(pid: Pid, status: &str) -> Option<Self> {
        let numbers = |field: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(field))?;
            let numbers = line.split_ascii_whitespace().map(str::parse);
            numbers.collect::<Result<_, _>>().ok()
        };
        Some(Self {
            pid,
            // real, effective, saved, file system
            uid: *numbers("Uid:")?.get(1)?,
            gid: *numbers("Gid:")?.get(1)?,
            groups: numbers("Groups:")?,
        })
    }

    /// Becomes whom the supervisor runs as, with no capability, if we are root:
    /// Docker runs HEALTHCHECK and `docker exec` as the image's user.
    ///
    /// # Errors
    /// Root cannot be dropped.
    pub fn step_down(&self) -> Result<Dropped, VerbError> {
        become_user(self.uid, self.gid, self.groups.clone())
    }
}

/// Reports whether another process than this one has the supervisor's name.
fn has_name(pid: Pid) -> bool {
    let name = || fs::read_to_string(format!("/proc/{pid}/comm"));
    pid != getpid() && name().is_ok_and(|name| name.trim_end() == NAME)
}

fn first_of_name() -> Option<Pid> {
    let group = |pid: Pid| fs::read(format!("/proc/{pid}/cgroup")).ok();
    let ours = group(getpid());
    // A process that has just ended is no supervisor.
    let found = everyone::processes()
        .filter(|pid| has_name(*pid))
        .filter_map(|pid| {
            let started = everyone::stat(pid)?.start;
            Some((group(pid) != ours, started, pid.as_raw_pid()))
        });
    Pid::from_raw(found.min()?.2)
}

/// The same where there is no supervisor: becomes whom a start would run as.
///
/// # Errors
/// Root cannot be dropped.
pub fn step_down_to(account: Option<Account>) -> Result<Dropped, VerbError> {
    match account {
        Some(account) => become_user(account.uid, account.gid, account.groups),
        None => become_user(0, 0, Vec::new()),
    }
}

fn become_user(uid: u32, gid: u32, groups: Vec<u32>) -> Result<Dropped, VerbError> {
    let dropped = match Root::detect() {
        Some(root) if uid == 0 => root.stay(false, &Linux),
        Some(root) => {
            let target = Target {
                uid,
                gid,
                groups,
                new_privileges: false,
            };
            root.drop(&target, &Linux)
        }
        None => Dropped::without_root(false, &Linux),
    };
    let (dropped, _) = dropped.map_err(|source| VerbError::Drop { uid, source })?;
    Ok(dropped)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_it_is_stands_in_its_status() {
        let status = "Name:\tx\nUid:\t0\t1000\t0\t0\nGid:\t0\t1001\t0\t0\nGroups:\t4 20 \n";
        let found = Supervisor::parse(getpid(), status).unwrap();
        assert_eq!(
            (found.uid, found.gid, found.groups),
            (1000, 1001, vec![4, 20])
        );
    }
}
