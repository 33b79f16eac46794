//! The work of `notebooks merge`: brings a notebook that the person changed up to date.

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::notebook::cells::MAX_SIZE;
use crate::notebook::changes::Changes;
use crate::notebook::merge;
use crate::volume::defaults::atomic;
use crate::volume::defaults::installed_cells::is_notebook;
use crate::volume::defaults::merge_record::Record;
use crate::volume::defaults::not_merged::NotMerged;
use crate::volume::defaults::open::{Defaults, Opened, open};
use crate::volume::defaults::source::{Offer, Offers};
use crate::volume::tree;
use crate::volume::tree::Tree;

/// A notebook that was brought up to date.
#[derive(Debug, PartialEq, Eq)]
pub struct MergedNotebook {
    /// How many cells changed.
    pub changes: Changes,
    /// The path of the person's file as it was; `None`: it did not change.
    pub kept: Option<Vec<u8>>,
    /// Why the image's version is not recorded as the installed one.
    pub unrecorded: Option<Errno>,
}

/// Merges the image's version of one notebook into the person's. Their file is kept as it was,
/// and the image's version counts as the installed one from then on. Calls `before_change` before
/// the first change: an end of the process after that leaves work to the next start. Adds what the
/// person has to know to `degradations`, whether the notebook is merged or not.
///
/// # Errors
/// The reason why the person's file is as it was.
pub fn merge(
    _: &Dropped,
    defaults: &Defaults,
    path: &[u8],
    before_change: &dyn Fn(),
    degradations: &mut Vec<Degradation>,
) -> Result<MergedNotebook, NotMerged> {
    let Opened {
        mut source,
        mut volume,
        offers,
    } = open(defaults, &|| false)?;
    check_is_offered(&offers, path)?;
    let new = read(&mut source, path)?;
    let mut record = Record::open(defaults, &mut volume, &offers, degradations)?;
    let mine = read(&mut volume, path)?;
    let (old, installed) = record.base(path, &mine, &new)?;
    // It may take long, and a start that waits for the lock goes on without it.
    drop(record);
    let merged = merge::merge(&old.notebook, &mine, &new)?;
    let mut record = Record::open(defaults, &mut volume, &offers, degradations)?;
    if record.base(path, &mine, &new)?.1 != installed {
        return Err(NotMerged::ChangedMeanwhile);
    }
    before_change();
    let (kept, unrecorded) = match merged.changes.is_none() {
        true => (None, record.write_installed(path, &new).err()),
        false => {
            let version = old.version.as_deref();
            let place = record.kept_place(path, [&mine, &merged.notebook], (version, installed))?;
            let done = record.replace(&mut volume, path, [&mine, &merged.notebook, &new]);
            let (moved, unrecorded) = done.inspect_err(|_| record.give_up(path))?;
            (Some(moved.unwrap_or(place)), unrecorded)
        }
    };
    Ok(MergedNotebook {
        changes: merged.changes,
        kept,
        unrecorded,
    })
}

fn check_is_offered(offers: &Offers, path: &[u8]) -> Result<(), NotMerged> {
    let mut closed = offers.unreadable_paths.iter();
    match offers.by_path.get(path) {
        None if closed.any(|closed| tree::is_in(path, closed)) => {
            Err(NotMerged::Refused(Errno::ACCESS))
        }
        None | Some(Offer::Directory) => Err(NotMerged::NotADefault),
        Some(Offer::File(_)) if is_notebook(path) => Ok(()),
        Some(_) => Err(NotMerged::NotANotebook),
    }
}

fn read(tree: &mut Tree, path: &[u8]) -> Result<Vec<u8>, NotMerged> {
    let (dir, name) = tree.parent(path, false)?;
    let (bytes, unchanged) = atomic::read(dir, &name, MAX_SIZE as u64)?;
    unchanged.map(|_| bytes).ok_or(NotMerged::ChangedMeanwhile)
}
