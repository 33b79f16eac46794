//! Ownership of the volume: handed over to the user, adopted, or left.

use std::path::PathBuf;

use rustix::io::Errno;

use super::walk::Walk;
use super::way::open_volume;
use super::{Progress, VolumeError, tree};
use crate::degradation::Degradation;
use crate::identity::Root;
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
    /// Whether the directory was absent and is there now.
    pub created: bool,
    /// With `adopt`: the uid and gid that the server runs with.
    pub adopted: Option<(u32, u32)>,
    /// What could not be handed over, counted.
    pub degradations: Vec<Degradation>,
}

/// Settles who owns the volume.
///
/// `stop` is asked about every thousand entries, and `progress` told.
///
/// # Errors
///
/// When the directory cannot be opened or created, `adopt` finds uid 0, or `stop`
/// said so; what a single entry refuses is a degradation.
pub fn claim(
    _: &Root,
    claim: &Claim,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Claimed, VolumeError> {
    let (dir, created) = open_volume(&claim.directory, claim.uid, claim.gid)?;
    let open_error = |source: Errno| VolumeError::Open {
        directory: claim.directory.clone(),
        at: claim.directory.display().to_string(),
        source: source.into(),
    };
    let top = tree::look_at(&dir).map_err(open_error)?;
    match claim.policy {
        VolumeOwner::Keep => Ok(Claimed {
            created,
            ..Claimed::default()
        }),
        VolumeOwner::Adopt if top.uid == 0 && claim.uid != 0 => {
            Err(VolumeError::AdoptRoot(claim.directory.clone()))
        }
        VolumeOwner::Adopt => {
            let gid = if top.gid == 0 { claim.gid } else { top.gid };
            Ok(Claimed {
                created,
                adopted: Some((top.uid, gid)),
                ..Claimed::default()
            })
        }
        VolumeOwner::Chown => {
            let mut walk = Walk::new(claim, top, stop, progress);
            walk.run(dir)?;
            Ok(Claimed {
                created,
                ..walk.finish()
            })
        }
    }
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;
