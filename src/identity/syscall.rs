//! The system calls of the drop, behind a trait, so that tests can check their order without root.

use std::io;

use nix::unistd::{self, Gid, Uid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, dumpable_behavior, getgroups, set_dumpable_behavior};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use crate::sys::kernel_file;
use crate::sys::proc::Status;
use crate::sys::{CallError, call_error};

/// Identity and privileges of this thread, as the kernel reports them. Capability sets are bit
/// masks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// Real, effective and saved uid.
    pub uids: [u32; 3],
    /// Real, effective and saved gid.
    pub gids: [u32; 3],
    /// Supplementary groups, sorted and unique.
    pub groups: Vec<u32>,
    /// Effective capabilities.
    pub effective: u64,
    /// Permitted capabilities.
    pub permitted: u64,
    /// Inheritable capabilities.
    pub inheritable: u64,
    /// The bounding set.
    pub bounding: u64,
    /// Ambient capabilities.
    pub ambient: u64,
    /// True if no_new_privs is on.
    pub no_new_privs: bool,
    /// True if other processes of this uid may inspect this one.
    pub dumpable: bool,
}

/// The system calls by which a process gives up root.
///
/// Every error comes from the kernel.
#[allow(missing_docs, clippy::missing_errors_doc)]
pub trait Kernel {
    /// Reads the actual state from the kernel.
    fn state(&self) -> Result<Credentials, CallError>;
    /// getgroups(2), sorted and unique.
    fn groups(&self) -> Result<Vec<u32>, CallError>;
    /// setgroups(2).
    fn set_groups(&self, groups: &[u32]) -> io::Result<()>;
    /// setresgid(2) for all three gids.
    fn set_gid(&self, gid: u32) -> io::Result<()>;
    /// setresuid(2) for all three uids.
    fn set_uid(&self, uid: u32) -> io::Result<()>;
    /// PR_CAPBSET_DROP for each capability of `set`.
    fn drop_bounding_set(&self, set: u64) -> io::Result<()>;
    /// PR_CAP_AMBIENT_CLEAR_ALL.
    fn clear_ambient(&self) -> io::Result<()>;
    /// capset(2): empties the effective, permitted and inheritable sets.
    fn clear_capabilities(&self) -> io::Result<()>;
    /// PR_SET_NO_NEW_PRIVS.
    fn set_no_new_privs(&self) -> io::Result<()>;
    /// PR_SET_DUMPABLE with 0.
    fn set_not_dumpable(&self) -> io::Result<()>;
    /// Returns why no process of this user namespace can get this uid and gid; `None` if the
    /// namespace is not known to prevent it.
    fn why_not_in_namespace(&self, uid: u32, gid: u32) -> Option<String>;
    /// Tries each way back to uid 0; true if one worked.
    fn regain_root(&self) -> bool;
}

/// The real kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

/// Reports whether this process may change the owner of files (effective CAP_CHOWN).
pub fn may_chown() -> bool {
    let sets = thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::CHOWN))
}

/// Reports whether this gid may stand for another one. Files whose gid our user namespace does not
/// map all show the overflow gid (user_namespaces(7)).
pub fn is_overflow_gid(gid: u32) -> bool {
    let read = |path: &str| kernel_file::read_to_string(path).unwrap_or_default();
    let whole = |map: &str| ids(map).any(|(first, count)| first == 0 && count == u32::MAX);
    read("/proc/sys/kernel/overflowgid").trim() == gid.to_string()
        && !whole(&read("/proc/self/gid_map"))
}

/// Returns every capability that a kernel may know, lowest first.
fn capabilities() -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

/// Reads a set by a query for each capability. The kernel answers EINVAL to the first capability it
/// does not know, and already to the lowest one if it does not know the query.
fn read_set(is_in: fn(CapabilitySet) -> rustix::io::Result<bool>) -> io::Result<u64> {
    let mut set = 0;
    for one in capabilities() {
        match is_in(one) {
            Ok(true) => set |= one.bits(),
            Ok(false) => {}
            Err(Errno::INVAL) if one.bits() > 1 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(set)
}

/// Reads a number from `/proc/thread-self/status` (proc_pid_status(5)). A fallback for system calls
/// that a sandbox may refuse.
fn status_number(field: &str, radix: u32) -> Option<u64> {
    let status = Status::of("thread-self")?;
    u64::from_str_radix(status.field(field)?, radix).ok()
}

impl Kernel for Linux {
    fn state(&self) -> Result<Credentials, CallError> {
        let uid = unistd::getresuid().map_err(call_error("getresuid"))?;
        let gid = unistd::getresgid().map_err(call_error("getresgid"))?;
        let sets = thread::capabilities(None).map_err(call_error("capget"))?;
        let (permitted, inheritable) = (sets.permitted.bits(), sets.inheritable.bits());
        let bounding = read_set(thread::capability_is_in_bounding_set);
        let ambient = read_set(thread::capability_is_in_ambient_set);
        let bounding = bounding.or_else(|error| {
            status_number("CapBnd:", 16).ok_or_else(|| call_error("PR_CAPBSET_READ")(error))
        });
        // gVisor, and Linux before 4.3, have no ambient set. On every kernel an ambient capability
        // must also be permitted and inheritable (capabilities(7)).
        let ambient = ambient.ok().or_else(|| status_number("CapAmb:", 16));
        let no_new_privs = thread::no_new_privs().or_else(|error| {
            let on = status_number("NoNewPrivs:", 10).map(|on| on == 1);
            on.ok_or_else(|| call_error("PR_GET_NO_NEW_PRIVS")(error))
        });
        Ok(Credentials {
            uids: [uid.real, uid.effective, uid.saved].map(Uid::as_raw),
            gids: [gid.real, gid.effective, gid.saved].map(Gid::as_raw),
            groups: self.groups()?,
            effective: sets.effective.bits(),
            permitted,
            inheritable,
            bounding: bounding?,
            ambient: ambient.unwrap_or(permitted & inheritable),
            no_new_privs: no_new_privs?,
            dumpable: dumpable_behavior().map_err(call_error("PR_GET_DUMPABLE"))?
                != DumpableBehavior::NotDumpable,
        })
    }

    fn groups(&self) -> Result<Vec<u32>, CallError> {
        let groups = getgroups().map_err(call_error("getgroups"))?;
        let mut groups: Vec<u32> = groups.into_iter().map(|gid| gid.as_raw()).collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups)
    }

    fn set_groups(&self, groups: &[u32]) -> io::Result<()> {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        Ok(unistd::setgroups(&groups)?)
    }

    fn set_gid(&self, gid: u32) -> io::Result<()> {
        let gid = Gid::from_raw(gid);
        Ok(unistd::setresgid(gid, gid, gid)?)
    }

    fn set_uid(&self, uid: u32) -> io::Result<()> {
        let uid = Uid::from_raw(uid);
        Ok(unistd::setresuid(uid, uid, uid)?)
    }

    fn drop_bounding_set(&self, set: u64) -> io::Result<()> {
        let wanted = |one: &CapabilitySet| set & one.bits() != 0;
        for one in capabilities().filter(wanted) {
            thread::remove_capability_from_bounding_set(one)?;
        }
        Ok(())
    }

    fn clear_ambient(&self) -> io::Result<()> {
        Ok(thread::clear_ambient_capability_set()?)
    }

    fn clear_capabilities(&self) -> io::Result<()> {
        let none = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        Ok(thread::set_capabilities(None, sets)?)
    }

    fn set_no_new_privs(&self) -> io::Result<()> {
        Ok(thread::set_no_new_privs(true)?)
    }

    fn set_not_dumpable(&self) -> io::Result<()> {
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }

    fn why_not_in_namespace(&self, uid: u32, gid: u32) -> Option<String> {
        let own = |name| kernel_file::read_to_string(format!("/proc/self/{name}")).ok();
        unmapped_id(&own("uid_map")?, &own("gid_map")?, uid, gid).or_else(|| {
            let denied = own("setgroups")?.trim() == "deny";
            denied.then(|| "it denies setgroups".into())
        })
    }

    fn regain_root(&self) -> bool {
        let root = Uid::from_raw(0);
        unistd::setuid(root).is_ok()
            || unistd::seteuid(root).is_ok()
            || unistd::setresuid(root, root, root).is_ok()
    }
}

/// Returns which id is not in the two maps of a user namespace (user_namespaces(7)).
fn unmapped_id(uids: &str, gids: &str, uid: u32, gid: u32) -> Option<String> {
    let mapped = |map, id: u32| {
        let inside = |(first, count)| id.checked_sub(first).is_some_and(|offset| offset < count);
        ids(map).any(inside)
    };
    match (mapped(uids, uid), mapped(gids, gid)) {
        (false, _) => Some(format!("it has no uid {uid}")),
        (_, false) => Some(format!("it has no gid {gid}")),
        _ => None,
    }
}

/// Returns the ids that a map has: for each line the first id inside, and the number of ids.
fn ids(map: &str) -> impl Iterator<Item = (u32, u32)> {
    map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let (first, _outside, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((first.ok()?, count.ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_namespace_does_not_map_is_known() {
        let all = "         0          0 4294967295\n";
        let rootless = "0 1000 1\n1 100000 999\n1001 200000 10\n";
        assert_eq!(unmapped_id(all, all, 1000, 4294967294), None);
        assert_eq!(unmapped_id(rootless, rootless, 999, 1010), None);
        let no_uid = Some("it has no uid 1000".into());
        assert_eq!(unmapped_id(rootless, all, 1000, 1000), no_uid);
        let no_gid = Some("it has no gid 1011".into());
        assert_eq!(unmapped_id(all, rootless, 1000, 1011), no_gid);
        assert!(unmapped_id("", "", 0, 0).is_some());
        assert_eq!(Linux.why_not_in_namespace(1000, 1000), None, "this machine");
    }
}
