//! Ownership of the volume: handed over to the user, adopted, or left as it is.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::{Root, may_chown};
use crate::settings::VolumeOwner;
use crate::sys::effects::Effects;
use crate::volume::mounts::{Mount, Mounts, OF_THE_SYSTEM};
use crate::volume::ownership::open::{Missing, open_volume};
use crate::volume::ownership::parallel;
use crate::volume::ownership::shared::ChownMode;
use crate::volume::ownership::{Claim, Claimed};
use crate::volume::tree;
use crate::volume::{Progress, VolumeError};

/// Hands over, adopts or leaves the volume, as the policy says.
///
/// A preview changes nothing and lists the entries that would be handed over. Asks `stop` and calls
/// `progress` every 1024 entries, or earlier when 100 ms have passed.
///
/// # Errors
///
/// The directory cannot be opened or made, is `/` or a system directory, or its path has an
/// untrusted link; `adopt` finds uid 0; or `stop` returned true. A refusal for one entry is a
/// degradation, as is a directory that root may not enter, unless it is to be adopted.
pub fn claim(
    _: &Root,
    claim: &Claim,
    effects: Effects<'_>,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let missing = match effects {
        Effects::Make => Missing::Make {
            uid: claim.uid,
            gid: claim.gid,
        },
        Effects::Preview(_) => Missing::Fail,
    };
    let (dir, created) = match open_volume(&claim.directory, missing) {
        Err(error) if error.is_refused() => return not_entered(claim, error),
        Err(error) if error.is_absent() && effects.is_preview() => {
            return Ok(Claimed {
                created: true,
                // A new directory belongs to the user from the beginning.
                adopted: (claim.policy == VolumeOwner::Adopt).then_some((claim.uid, claim.gid)),
                ..Claimed::default()
            });
        }
        opened => opened?,
    };
    let chown_mode = match effects {
        Effects::Make => ChownMode::Apply,
        Effects::Preview(_) => ChownMode::PreviewOnly(chown_error(&dir)),
    };
    let claimed = apply_policy(claim, dir, chown_mode, stop, progress)?;
    Ok(Claimed { created, ..claimed })
}

/// Reports a directory that root may not enter although the user may (NFS squashes root, or
/// CAP_DAC_OVERRIDE is missing). The owners stay as they are, and the start goes on.
fn not_entered(claim: &Claim, error: VolumeError) -> Result<Claimed, VolumeError> {
    if claim.policy == VolumeOwner::Adopt {
        return Err(error);
    }
    let cause = format!("root: {error}: not permitted; its owner stays as it is");
    let remedy = "none if the user may write there; otherwise let root enter the directories \
                  above it (SELinux: mount with :z; NFS: no_root_squash; Docker: --cap-add DAC_OVERRIDE)";
    Ok(Claimed {
        degradations: vec![Degradation::new(cause, remedy)],
        ..Claimed::default()
    })
}

/// Returns the error that chown(2) would give for everything on this file system.
fn chown_error(dir: &OwnedFd) -> Option<Errno> {
    if tree::is_read_only(dir) {
        return Some(Errno::ROFS);
    }
    (!may_chown()).then_some(Errno::PERM)
}

fn apply_policy(
    claim: &Claim,
    dir: OwnedFd,
    chown_mode: ChownMode,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let open_error = |error| VolumeError::open(&claim.directory, &claim.directory, error);
    let top = tree::stat_fd(&dir).map_err(open_error)?;
    let policy = match claim.policy {
        VolumeOwner::Auto if belongs_to_other(&dir, &top, claim.uid) => VolumeOwner::Adopt,
        VolumeOwner::Auto if belongs_to_everyone(&dir, &top, claim.uid) => VolumeOwner::Keep,
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
        _ if is_system_dir(&dir, &top) => {
            Err(VolumeError::SystemDirectory(claim.directory.clone()))
        }
        _ => parallel::hand_over(claim, dir, top, chown_mode, stop, progress),
    }
}

/// Reports whether a directory would be adopted for another user than `uid`, with the policy `auto`.
pub fn is_anothers_mount(_: &Root, directory: &Path, uid: u32) -> bool {
    let Ok((dir, _)) = open_volume(directory, Missing::Fail) else {
        return false;
    };
    tree::stat_fd(&dir).is_ok_and(|top| belongs_to_other(&dir, &top, uid))
}

/// Reports whether a directory is on a mount of the host's.
pub fn is_on_hosts_mount(_: &Root, directory: &Path) -> bool {
    let opened = open_volume(directory, Missing::Fail).ok();
    opened.is_some_and(|(dir, _)| tree::stat_fd(&dir).is_ok_and(|top| is_of_host(&dir, &top)))
}

/// Reports whether a directory is itself the top of a mount of the host's.
pub fn is_hosts_mount(_: &Root, directory: &Path) -> bool {
    let Ok((dir, _)) = open_volume(directory, Missing::Fail) else {
        return false;
    };
    let above = tree::open_handle(&dir, c"..").and_then(|above| tree::stat_fd(&above));
    let (Ok(top), Ok(above)) = (tree::stat_fd(&dir), above) else {
        return false;
    };
    let is_top = || top.mount.is_none() && tree::mount_tops().contains(&top.inode);
    is_of_host(&dir, &top) && (!top.same_mount(&above) || is_top())
}

/// Reports whether a directory is a mount that belongs to another ordinary user, such as a
/// person's own directory on the host, whose owner would be locked out.
fn belongs_to_other(dir: &OwnedFd, top: &tree::FileStat, uid: u32) -> bool {
    top.uid != uid && is_ordinary(top.uid) && is_of_host(dir, top)
}

/// Reports whether a directory is a mount such as the host's `/tmp`: root's, sticky, and with files of
/// others than the user. Everyone can write there, and its owner could take the files of all.
fn belongs_to_everyone(dir: &OwnedFd, top: &tree::FileStat, uid: u32) -> bool {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut others = false;
    let mut look = |name: &CStr| {
        others = tree::stat_name(dir, name).is_ok_and(|stat| stat.uid != uid);
        !others
    };
    top.uid == 0
        && top.mode & 0o1002 == 0o1002
        && is_of_host(dir, top)
        && tree::entries(dir, &mut buffer, |name, _| look(name)).is_ok()
        && others
}

/// Reports whether a directory is a mount, but no volume of the engine: that has no owner of its own,
/// whichever image filled it.
fn is_of_host(dir: &OwnedFd, top: &tree::FileStat) -> bool {
    let volume = || Mounts::read().of(dir).map(Mount::is_volume_of_an_engine);
    !is_on_root_mount(top) && volume() == Some(false)
}

/// Reports whether a uid can be a person's: it is no system account (macOS begins at 501) and
/// none of the numbers of the user `nobody`.
pub fn is_ordinary(uid: u32) -> bool {
    const NOBODY: [u32; 3] = [65_534, u32::MAX - 1, u32::MAX];
    uid >= 500 && !NOBODY.contains(&uid)
}

/// Directories that every system has. They are never a volume unless one is mounted there.
const SYSTEM_DIRS: [&str; 29] = [
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
fn is_system_dir(dir: &OwnedFd, top: &tree::FileStat) -> bool {
    let listed = real_path(dir).is_ok_and(|path| is_system_path(&path));
    listed && is_on_root_mount(top)
}

/// Reports whether an open directory is in the container's own file system, and at a path that is
/// not the system's: `/home/alice` or `/work`.
pub(super) fn is_place_of_people(dir: &OwnedFd, top: &tree::FileStat) -> bool {
    let of_people = |path: &Path| {
        let mut tops = OF_THE_SYSTEM.iter().filter(|top| path.starts_with(top));
        !is_system_path(path) && tops.all(|top| *top == "/home")
    };
    is_on_root_mount(top) && real_path(dir).is_ok_and(|path| of_people(&path))
}

/// Reports whether every system has a directory with this path.
pub fn is_system_path(path: &Path) -> bool {
    SYSTEM_DIRS.iter().any(|known| path == Path::new(known))
}

fn real_path(dir: &OwnedFd) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))
}

fn is_on_root_mount(top: &tree::FileStat) -> bool {
    tree::stat_name(CWD, c"/").is_ok_and(|root| root.same_mount(top))
}

#[cfg(test)]
#[path = "claim_tests/mod.rs"]
mod tests;
