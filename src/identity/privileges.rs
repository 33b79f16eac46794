//! Drops root: for good, completely, and with proof.

use std::io;

use rustix::thread::CapabilitySet;

use crate::degradation::Degradation;
use crate::identity::syscall::{Credentials, Kernel};
use crate::identity::{Dropped, Root};
use crate::sys::CallError;

/// The identity to switch to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The uid; not 0.
    pub uid: u32,
    /// The primary gid.
    pub gid: u32,
    /// Supplementary groups, see [`supplementary`].
    pub groups: Vec<u32>,
    /// True for images that need sudo: keeps the bounding set and leaves no_new_privs off.
    pub new_privileges: bool,
}

/// Why root was not dropped. The start must end.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each is documented by its message
pub enum DropError {
    #[error("cannot drop root to uid 0: name an ordinary user with --user")]
    ToRoot,
    #[error(
        "cannot become uid {uid}, gid {gid}: {call} is not permitted; run with --cap-add SETUID \
         --cap-add SETGID, or start as the user with `docker run --user {uid}:{gid}`"
    )]
    NotPermitted {
        call: &'static str,
        uid: u32,
        gid: u32,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot become uid {uid}, gid {gid} in this user namespace: {lacks}; give the namespace \
         these ids (a rootless engine takes them from /etc/subuid and /etc/subgid, unshare from \
         --map-users and --map-groups), or start as one it has, without root"
    )]
    Namespace {
        /// The missing id or call of the namespace, as a clause.
        lacks: String,
        uid: u32,
        gid: u32,
        #[source]
        source: io::Error,
    },
    /// A system call failed, and its effect was not already there.
    #[error("cannot drop privileges: {0}")]
    Refused(#[from] CallError),
    /// Every call succeeded, but the kernel reports another state.
    #[error("privileges were not dropped: {0}; this kernel or sandbox cannot be trusted with it")]
    NotDropped(String),
}

/// Returns the result of a step. A refused call is no failure if the kernel's state shows the
/// effect anyway, which `holds` checks.
fn step(
    kernel: &dyn Kernel,
    call: &'static str,
    result: io::Result<()>,
    holds: impl FnOnce(&Credentials) -> bool,
) -> Result<(), CallError> {
    match result {
        Err(source) if !kernel.state().is_ok_and(|now| holds(&now)) => {
            Err(CallError { call, source })
        }
        _ => Ok(()),
    }
}

impl Root {
    /// Switches to `target` for good and proves it.
    ///
    /// The order matters: setting the groups and dropping the bounding set need capabilities that
    /// setresuid takes away. The ambient set is empty once the permitted set is; it is cleared in
    /// case a kernel does not do that. no_new_privs comes after every step that needs a privilege.
    /// Dumpable is set after the ids, because setting them changes it. Capabilities and
    /// no_new_privs belong to the calling thread: there must be no other.
    ///
    /// # Errors
    /// Fatal: any other state in the end, except a bounding set that could not be dropped.
    pub fn drop(
        self,
        target: &Target,
        kernel: &dyn Kernel,
    ) -> Result<(Dropped, Vec<Degradation>), DropError> {
        let (uid, gid) = (target.uid, target.gid);
        if uid == 0 {
            return Err(DropError::ToRoot);
        }
        let refused = |refused: CallError| {
            let lacks = kernel.why_not_in_namespace(uid, gid);
            let CallError { call, source } = refused;
            match (source.raw_os_error(), lacks) {
                (Some(libc::EPERM | libc::EINVAL), Some(lacks)) => DropError::Namespace {
                    lacks,
                    uid,
                    gid,
                    source,
                },
                (Some(libc::EPERM), None) => DropError::NotPermitted {
                    call,
                    uid,
                    gid,
                    source,
                },
                _ => DropError::Refused(CallError { call, source }),
            }
        };
        let mut groups = target.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        let before = kernel.state()?;
        let result = kernel.set_groups(&groups);
        step(kernel, "setgroups", result, |now| now.groups == groups).map_err(refused)?;
        let result = kernel.set_gid(gid);
        step(kernel, "setresgid", result, |now| now.gids == [gid; 3]).map_err(refused)?;
        let mut degradations = Vec::new();
        let mut wanted_bounding = None;
        if !target.new_privileges {
            match drop_bounding_set(&before, kernel) {
                None => wanted_bounding = Some(0),
                Some(degradation) => degradations.push(degradation),
            }
        }
        let result = kernel.set_uid(uid);
        step(kernel, "setresuid", result, |now| now.uids == [uid; 3]).map_err(refused)?;
        let empty = |set: fn(&Credentials) -> u64| move |now: &Credentials| set(now) == 0;
        let three = empty(|now| now.effective | now.permitted | now.inheritable);
        step(kernel, "capset", kernel.clear_capabilities(), three)?;
        let ambient = empty(|now| now.ambient);
        step(
            kernel,
            "PR_CAP_AMBIENT_CLEAR_ALL",
            kernel.clear_ambient(),
            ambient,
        )?;
        restrict(target.new_privileges, kernel)?;

        let now = kernel.state()?;
        prove_restricted(target.new_privileges, &now)?;
        let wanted = Credentials {
            uids: [uid; 3],
            gids: [gid; 3],
            groups,
            bounding: wanted_bounding.unwrap_or(now.bounding),
            no_new_privs: now.no_new_privs,
            ..Credentials::default()
        };
        if now != wanted {
            return Err(DropError::NotDropped(difference(&wanted, &now)));
        }
        if kernel.regain_root() {
            return Err(DropError::NotDropped("root could be regained".into()));
        }
        Ok((Dropped(()), degradations))
    }

    /// Stays root: the old layout without any `--user`.
    ///
    /// # Errors
    /// no_new_privs or not dumpable could not be set.
    pub fn stay(
        self,
        new_privileges: bool,
        kernel: &dyn Kernel,
    ) -> Result<(Dropped, Vec<Degradation>), DropError> {
        restrict(new_privileges, kernel)?;
        prove_restricted(new_privileges, &kernel.state()?)?;
        let warning = Degradation::new(
            "The server runs as root: no user is configured",
            "name one with --user, for example --user jupyter",
        );
        Ok((Dropped(()), vec![warning]))
    }
}

impl Dropped {
    /// Restricts a process that was started without root and so has nothing to drop.
    ///
    /// # Errors
    /// no_new_privs or not dumpable could not be set.
    pub fn without_root(new_privileges: bool, kernel: &dyn Kernel) -> Result<Self, DropError> {
        restrict(new_privileges, kernel)?;
        prove_restricted(new_privileges, &kernel.state()?)?;
        Ok(Self(()))
    }
}

/// Empties the capability bounding set. If that is not possible, the set is harmless: the drop
/// fails without no_new_privs, which stops every program from gaining what is in the set.
fn drop_bounding_set(before: &Credentials, kernel: &dyn Kernel) -> Option<Degradation> {
    let kept = |why: &str, remedy: &str| {
        let kept = "The capability bounding set was kept";
        let cause = format!("{kept}: {why} (harmless: no_new_privs is on)");
        Some(Degradation::new(cause, remedy))
    };
    if before.bounding == 0 {
        return None;
    }
    if before.effective & CapabilitySet::SETPCAP.bits() == 0 {
        return kept(
            "dropping it needs CAP_SETPCAP",
            "run with --cap-add SETPCAP",
        );
    }
    match kernel.drop_bounding_set(before.bounding) {
        Ok(()) => None,
        Err(error) => kept(
            &format!("PR_CAPBSET_DROP failed: {error}"),
            "allow prctl in the seccomp profile or sandbox",
        ),
    }
}

/// Sets what every mode needs: not dumpable, and no_new_privs unless new privileges are wanted.
fn restrict(new_privileges: bool, kernel: &dyn Kernel) -> Result<(), DropError> {
    if !new_privileges {
        let result = kernel.set_no_new_privs();
        step(kernel, "PR_SET_NO_NEW_PRIVS", result, |now| {
            now.no_new_privs
        })?;
    }
    let result = kernel.set_not_dumpable();
    step(kernel, "PR_SET_DUMPABLE", result, |now| !now.dumpable)?;
    Ok(())
}

/// Checks that the kernel reports what [`restrict`] has set.
fn prove_restricted(new_privileges: bool, now: &Credentials) -> Result<(), DropError> {
    if !new_privileges && !now.no_new_privs {
        return Err(DropError::NotDropped("no_new_privs is off".into()));
    }
    if now.dumpable {
        return Err(DropError::NotDropped("the process is dumpable".into()));
    }
    Ok(())
}

/// Returns the differences as text: `IS instead of WANTED`, separated by commas.
fn difference(wanted: &Credentials, now: &Credentials) -> String {
    let fields = |state: &Credentials| {
        let Credentials {
            uids,
            gids,
            groups,
            effective,
            permitted,
            inheritable,
            bounding,
            ambient,
            ..
        } = state;
        [
            format!("uids {uids:?}"),
            format!("gids {gids:?}"),
            format!("groups {groups:?}"),
            format!("effective capabilities {effective:#x}"),
            format!("permitted capabilities {permitted:#x}"),
            format!("inheritable capabilities {inheritable:#x}"),
            format!("bounding set {bounding:#x}"),
            format!("ambient capabilities {ambient:#x}"),
        ]
    };
    let pairs = fields(wanted).into_iter().zip(fields(now));
    let differing: Vec<String> = pairs
        .filter(|(wanted, now)| wanted != now)
        .map(|(wanted, now)| format!("{now} instead of {wanted}"))
        .collect();
    differing.join(", ")
}

/// Splits the supplementary groups this process was started with into those to pass on and the
/// rest: gid 0, which came with root, and groups that the image's group file gives to root, unless
/// named. The engine adds the latter by itself, so they look like those of
/// `docker run --group-add`.
pub fn split_inherited(
    started_with: &[u32],
    of_root: &[u32],
    named: &[u32],
) -> (Vec<u32>, Vec<u32>) {
    let passes = |gid: &u32| *gid != 0 && (!of_root.contains(gid) || named.contains(gid));
    started_with.iter().copied().partition(passes)
}

/// Returns the groups to keep: the account's own, the granted ones and those passed on. Sorted,
/// unique.
pub fn supplementary(own: &[u32], granted: &[u32], passed_on: &[u32]) -> Vec<u32> {
    let all = own.iter().chain(granted).chain(passed_on);
    let mut groups: Vec<u32> = all.copied().collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

#[cfg(test)]
#[path = "privileges_tests.rs"]
mod tests;
