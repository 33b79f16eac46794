//! Preview of the defaults for a dry run: the stats and reads of a start, and no change.

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use super::defaults::{Defaults, inode, left_alone, offers, offers_alone, open_both, open_source};
use super::home::NotRead;
use super::manifest::Manifest;
use super::mend::look;
use super::offers::{Offer, Offers};
use super::plan::{Action, Verdict};
use super::tree::{self, Rights, Tree};
use super::work::{REFUSED, UNREAD};
use super::{Tally, VolumeError, home, shown};
use crate::degradation::Degradation;
use crate::identity::Dropped;

/// Returns what a start with these `rights` would do. Root may ask with the rights of a user
/// who will own everything: root stats and reads, and follows no link. [`unread_taken`] then
/// drops the defaults that this user cannot read. `made`: true if the start would create a
/// missing volume before.
///
/// # Errors
///
/// As [`bring_in`](super::bring_in).
pub fn foresee_defaults(
    defaults: &Defaults,
    made: bool,
    rights: Rights,
    stop: &dyn Fn() -> bool,
) -> Result<Foreseen, VolumeError> {
    let (mut source, mut volume) = match open_both(defaults) {
        Ok(both) => both,
        Err(error) if error.is_absent() && made => {
            let source = open_source(defaults)?;
            let Offers {
                by_path, unread, ..
            } = offers_alone(defaults, &source)?;
            let paths = by_path.into_keys();
            let verdict = Verdict::Install;
            return Ok(Foreseen {
                files: paths.map(|path| Action { path, verdict }).collect(),
                recorded: true,
                degradations: unread.degradations("read", UNREAD).collect(),
            });
        }
        Err(error) => return Err(error),
    };
    if tree::is_read_only(volume.top()) {
        return Ok(Foreseen {
            files: Vec::new(),
            recorded: false,
            degradations: vec![left_alone(defaults)],
        });
    }
    let mut degradations = Vec::new();
    let offers = offers(defaults, &source, inode(defaults, &volume)?, stop)?;
    let longest = offers.longest_record();
    let record = home::foresee(volume.top(), rights, longest, stop, &mut degradations);
    let recorded = record.is_ok();
    // As in a start: a manifest that cannot be kept is not used either.
    let manifest = match record {
        Ok(manifest) => manifest,
        Err(NotRead::Stopped) => return Err(VolumeError::Stopped),
        Err(NotRead::Told(why)) => {
            degradations.push(why);
            Manifest::default()
        }
    };
    let trees = (&mut source, &mut volume);
    let standing = look(defaults, trees, offers, manifest, stop)?;
    let mut files = standing.files;
    degradations.extend(standing.degradations);
    degradations.extend(take_refused(&mut volume, rights, &mut files));
    Ok(Foreseen {
        files,
        recorded,
        degradations,
    })
}

/// Drops and reports the actions that the permissions of the volume's directories forbid.
fn take_refused(volume: &mut Tree, rights: Rights, files: &mut Vec<Action>) -> Vec<Degradation> {
    use Verdict::{Beside, Install, Replace};
    let mut refused = Tally::default();
    files.retain(|action| {
        let writes = matches!(action.verdict, Install | Replace | Beside);
        let may = match writes {
            true => may_write(volume, rights, &action.path),
            false => Ok(()),
        };
        if let Err(error) = may {
            refused.add(error, || action.shown());
        }
        may.is_ok()
    });
    refused.degradations("write", REFUSED).collect()
}

/// Checks whether a file could be created at `path`, with its missing parent directories.
fn may_write(volume: &mut Tree, rights: Rights, path: &[u8]) -> Result<(), Errno> {
    let mut above = tree::split(path).0;
    loop {
        match volume.dir(above, false) {
            // This ends at the top, which exists.
            Err(Errno::NOENT) => above = tree::split(above).0,
            dir => return rights.may_change(dir?),
        }
    }
}

/// Drops the defaults that the user cannot read.
///
/// # Errors
///
/// The defaults cannot be opened or listed.
pub fn unread_taken(
    _: &Dropped,
    defaults: &Defaults,
    mut foreseen: Foreseen,
) -> Result<Foreseen, VolumeError> {
    use Verdict::{Adopt, Beside, Install, Replace};
    let mut source = open_source(defaults)?;
    let Offers {
        by_path: offers,
        mut unread,
        ..
    } = offers_alone(defaults, &source)?;
    foreseen.files.retain(|Action { path, verdict }| {
        let may = match offers.get(path) {
            _ if !matches!(verdict, Install | Replace | Beside | Adopt) => Ok(()),
            Some(Offer::File(_)) => source.parent(path, false).and_then(|(dir, name)| {
                rustix::fs::accessat(dir, name, Access::READ_OK, AtFlags::empty())
            }),
            Some(_) => Ok(()),
            // The user cannot list its directory, which `unread` has counted.
            None => return false,
        };
        if let Err(error) = may {
            unread.add(error, || shown(path));
        }
        may.is_ok()
    });
    let told = unread.degradations("read", UNREAD);
    foreseen.degradations.extend(told);
    Ok(foreseen)
}

/// Preview of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The decision for each default.
    pub files: Vec<Action>,
    /// True if the start could write the manifest.
    pub recorded: bool,
    /// What the start could not do as asked.
    pub degradations: Vec<Degradation>,
}
