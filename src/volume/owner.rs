//! Ownership of the volume: handed over to the user, adopted, or left.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::crew::{self, Deed};
use super::mounts::Mounts;
use super::tree;
use super::way::{Missing, open_volume};
use super::{Progress, VolumeError};
use crate::degradation::Degradation;
use crate::identity::{Root, may_chown};
use crate::settings::VolumeOwner;

/// Whose the volume is to be.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The notebooks directory; created, with every missing parent, if absent.
    pub directory: PathBuf,
    /// What happens to its ownership.
    pub policy: VolumeOwner,
    /// The user.
    pub uid: u32,
    /// The user's group.
    pub gid: u32,
}

/// What [`claim`] did.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Entries looked at.
    pub checked: u64,
    /// Entries handed over to the user.
    pub changed: u64,
    /// The number of them by former owner, for the first few owners.
    pub former: BTreeMap<u32, u64>,
    /// Whether the file system ignores chown(2): nothing changed hands.
    pub ignored: bool,
    /// Whether the directory was absent and is there now.
    pub created: bool,
    /// With `adopt`: the uid and gid that the server runs with.
    pub adopted: Option<(u32, u32)>,
    /// From [`foresee`]: the entries that [`claim`] would hand over.
    pub foreseen: Vec<String>,
    /// What could not be handed over, counted.
    pub degradations: Vec<Degradation>,
}

/// Settles who owns the volume.
///
/// `stop` is asked and `progress` told every thousand entries, or ten times a second.
///
/// # Errors
///
/// When the directory cannot be opened or created, `adopt` finds uid 0, or `stop`
/// said so; what a single entry refuses is a degradation, and so is a directory that root
/// may not get to, unless it is to be adopted.
pub fn claim(
    _: &Root,
    claim: &Claim,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let missing = Missing::Make {
        uid: claim.uid,
        gid: claim.gid,
    };
    let (dir, created) = match open_volume(&claim.directory, missing) {
        Err(error) if error.is_refused() => return unreached(claim, error),
        opened => opened?,
    };
    let claimed = settle(claim, dir, Deed::Do, stop, progress)?;
    Ok(Claimed { created, ..claimed })
}

/// Root may be let in less far than its user (NFS squashes it, CAP_DAC_OVERRIDE is away):
/// then the owners stay as they are, and the user goes on.
fn unreached(claim: &Claim, error: VolumeError) -> Result<Claimed, VolumeError> {
    if claim.policy == VolumeOwner::Adopt {
        return Err(error);
    }
    let cause = format!("root: {error}: not permitted; its owner stays as it is");
    let remedy = "none if the user may write there; otherwise let root enter the directories \
                  above it (NFS: no_root_squash; Docker: --cap-add DAC_OVERRIDE)";
    Ok(Claimed {
        degradations: vec![Degradation::new(cause, remedy)],
        ..Claimed::default()
    })
}

/// What [`claim`] would do; nothing is changed.
///
/// # Errors
///
/// As [`claim`].
pub fn foresee(_: &Root, claim: &Claim, stop: &dyn Fn() -> bool) -> Result<Claimed, VolumeError> {
    match open_volume(&claim.directory, Missing::Tell) {
        Ok((dir, _)) => {
            let deed = Deed::Foresee(refusal(&dir));
            settle(claim, dir, deed, stop, &mut |_| {})
        }
        Err(error) if error.is_absent() => Ok(Claimed {
            created: true,
            // What is made belongs to the user from the beginning.
            adopted: (claim.policy == VolumeOwner::Adopt).then_some((claim.uid, claim.gid)),
            ..Claimed::default()
        }),
        Err(error) if error.is_refused() => unreached(claim, error),
        Err(error) => Err(error),
    }
}

/// What chown(2) would say about everything on this file system.
fn refusal(dir: &OwnedFd) -> Option<Errno> {
    if tree::is_read_only(dir) {
        return Some(Errno::ROFS);
    }
    (!may_chown()).then_some(Errno::PERM)
}

fn settle(
    claim: &Claim,
    dir: OwnedFd,
    deed: Deed,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let open_error = |source: Errno| VolumeError::Open {
        directory: claim.directory.clone(),
        at: claim.directory.display().to_string(),
        source: source.into(),
    };
    let top = tree::look_at(&dir).map_err(open_error)?;
    let policy = match claim.policy {
        VolumeOwner::Auto if is_of_another(&dir, &top, claim.uid) => VolumeOwner::Adopt,
        VolumeOwner::Auto => VolumeOwner::Chown,
        named => named,
    };
    match policy {
        VolumeOwner::Keep => Ok(Claimed::default()),
        VolumeOwner::Adopt if top.uid == 0 && claim.uid != 0 => {
            Err(VolumeError::AdoptRoot(claim.directory.clone()))
        }
        VolumeOwner::Adopt => {
            let gid = if top.gid == 0 { claim.gid } else { top.gid };
            Ok(Claimed {
                adopted: Some((top.uid, gid)),
                ..Claimed::default()
            })
        }
        _ if is_of_the_system(&dir, &top) => Err(VolumeError::OfTheSystem(claim.directory.clone())),
        _ => crew::hand_over(claim, dir, top, deed, stop, progress),
    }
}

/// Reports whether a directory is a bind mount that belongs to another ordinary user: a person's
/// own directory on the host, whose owner would be locked out. A volume that the engine keeps
/// has no such owner, whatever image has filled it.
fn is_of_another(dir: &OwnedFd, top: &tree::Look, uid: u32) -> bool {
    let root = tree::open_handle(CWD, c"/").and_then(|root| tree::look_at(&root));
    let mounted = !root.is_ok_and(|root| root.same_mount(top));
    top.uid != uid
        && is_ordinary(top.uid)
        && mounted
        && Mounts::read()
            .of(dir)
            .is_some_and(|mount| !mount.is_volume_of_an_engine())
}

/// Reports whether a uid is a person's: no account of a system (macOS begins at 501) and none of
/// the numbers of nobody.
pub fn is_ordinary(uid: u32) -> bool {
    const NOBODY: [u32; 3] = [65_534, u32::MAX - 1, u32::MAX];
    uid >= 500 && !NOBODY.contains(&uid)
}

/// Directories that every system has, and that are never a volume unless one is mounted there.
const OF_THE_SYSTEM: [&str; 29] = [
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// Reports whether an open directory is one of the system's, and not a mount there.
fn is_of_the_system(dir: &OwnedFd, top: &tree::Look) -> bool {
    let root = tree::open_handle(CWD, c"/").and_then(|root| tree::look_at(&root));
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let listed = path.is_ok_and(|path| OF_THE_SYSTEM.iter().any(|known| path == Path::new(known)));
    listed && root.is_ok_and(|root| root.same_mount(top))
}

#[cfg(test)]
#[path = "owner_tests/mod.rs"]
mod tests;
