//! Ownership of the volume: handed over to the user, adopted, or left as it is.

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

/// A request about the owner of the volume.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The notebooks directory. It and its missing parents are made.
    pub directory: PathBuf,
    /// What is done about the owner.
    pub policy: VolumeOwner,
    /// The user's uid.
    pub uid: u32,
    /// The user's gid.
    pub gid: u32,
}

/// The result of [`claim`].
#[derive(Debug, Default)]
pub struct Claimed {
    /// The number of entries examined.
    pub checked: u64,
    /// The number of entries handed over to the user.
    pub changed: u64,
    /// The number of those by former uid, for the first few of them.
    pub former: BTreeMap<u32, u64>,
    /// True if the file system ignores chown(2), so that no owner changed.
    pub ignored: bool,
    /// True if the directory was missing and is made.
    pub created: bool,
    /// The adopted uid and gid, with which the server runs; `None` if no owner is adopted.
    pub adopted: Option<(u32, u32)>,
    /// From [`foresee`]: the entries that [`claim`] would hand over.
    pub foreseen: Vec<String>,
    /// What could not be handed over, with counts.
    pub degradations: Vec<Degradation>,
}

/// Hands over, adopts or leaves the volume, as the policy says.
///
/// Asks `stop` and calls `progress` every 1024 entries, or earlier when 100 ms have passed.
///
/// # Errors
///
/// The directory cannot be opened or made, is `/` or a system directory, or its path has an
/// untrusted link; `adopt` finds uid 0; or `stop` returned true. A refusal for one entry is a
/// degradation, as is a directory that root may not enter, unless it is to be adopted.
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

/// Reports a directory that root may not enter although the user may (NFS squashes root, or
/// CAP_DAC_OVERRIDE is missing). The owners stay as they are, and the start goes on.
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

/// Previews [`claim`] without changing anything.
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
            // A new directory belongs to the user from the beginning.
            adopted: (claim.policy == VolumeOwner::Adopt).then_some((claim.uid, claim.gid)),
            ..Claimed::default()
        }),
        Err(error) if error.is_refused() => unreached(claim, error),
        Err(error) => Err(error),
    }
}

/// Returns the error that chown(2) would give for everything on this file system.
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

/// Reports whether a directory is a mount that belongs to another ordinary user, such as a
/// person's own directory on the host, whose owner would be locked out. A volume of the
/// engine has no such owner, whichever image filled it.
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

/// Reports whether a uid can be a person's: it is no system account (macOS begins at 501) and
/// none of the numbers of the user `nobody`.
pub fn is_ordinary(uid: u32) -> bool {
    const NOBODY: [u32; 3] = [65_534, u32::MAX - 1, u32::MAX];
    uid >= 500 && !NOBODY.contains(&uid)
}

/// Directories that every system has. They are never a volume unless one is mounted there.
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

/// Reports whether an open directory is a system directory that is not a mount point.
fn is_of_the_system(dir: &OwnedFd, top: &tree::Look) -> bool {
    let root = tree::open_handle(CWD, c"/").and_then(|root| tree::look_at(&root));
    let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    let listed = path.is_ok_and(|path| OF_THE_SYSTEM.iter().any(|known| path == Path::new(known)));
    listed && root.is_ok_and(|root| root.same_mount(top))
}

#[cfg(test)]
#[path = "owner_tests/mod.rs"]
mod tests;
