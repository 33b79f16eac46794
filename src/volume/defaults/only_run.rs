//! Finds the notebooks that a person only ran: the file differs, the cells do not.

use crate::notebook::Notebook;
use crate::notebook::cells::MAX_SIZE;
use crate::volume::VolumeError;
use crate::volume::defaults::atomic;
use crate::volume::defaults::installed_cells::{InstalledCells, in_image, is_notebook};
use crate::volume::defaults::manifest::{Content, Digest, Entry, Manifest, Stamp};
use crate::volume::defaults::open::Opened;
use crate::volume::defaults::plan::Policy;
use crate::volume::defaults::survey::{InVolume, Row, Survey};
use crate::volume::tree;

/// The changed notebooks that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// Only the notebooks that a start replaces or records.
    AsInStart,
    All,
}

/// Compares each changed notebook with the installed version, and records the result in the
/// survey. If the installed version is not known, the notebook counts as edited.
///
/// # Errors
/// `stop` returned true.
pub(super) fn find_run(
    survey: &mut Survey,
    (manifest, installed): (&Manifest, &InstalledCells),
    (policy, compared): (Policy, Compared),
    opened: &mut Opened,
    stop: &dyn Fn() -> bool,
) -> Result<(), VolumeError> {
    let (source, volume) = (&mut opened.source, &mut opened.volume);
    let mut budget = opened.offers.total_read_limit();
    for row in survey.rows.iter_mut().filter(|row| differs(row)) {
        let entry = manifest.entries.get(&row.path);
        // A file whose content is known is recorded as edited, unless it was only run.
        let is_recorded = matches!(row.volume, InVolume::Is(_));
        let wanted = |entry: &&Entry| {
            compared == Compared::All || is_recorded || policy.would_replace(row.image, entry)
        };
        let Some(digest) = entry
            .filter(wanted)
            .and_then(|entry| may_be_run(row, entry))
        else {
            continue;
        };
        let base = match installed.get(&row.path, digest) {
            None if row.image == Some(Content::File(digest)) => in_image(source, &row.path, digest),
            known => known.map(|known| known.notebook),
        };
        let Some(base) = base else { continue };
        let read = volume.parent(&row.path, false);
        let read = read.and_then(|(dir, name)| {
            let now = tree::now();
            let limit = budget.min(MAX_SIZE as u64);
            let (bytes, stat) = atomic::read_until(dir, &name, limit, stop)?;
            Ok((bytes, stat.and_then(|stat| Stamp::if_stable(&stat, now))))
        });
        if stop() {
            return Err(VolumeError::Stopped);
        }
        // A file that cannot be read stays a changed one.
        let Ok((bytes, stamp)) = read else { continue };
        let size = bytes.len() as u64;
        budget -= size;
        let digest = Digest::of(&bytes);
        row.volume = match Notebook::parse(&bytes).is_ok_and(|notebook| notebook == base) {
            true => InVolume::Run(digest),
            false => InVolume::Is(Content::File(digest)),
        };
        row.in_volume = Some(stamp.unwrap_or(Stamp::of_size(size)));
    }
    Ok(())
}

/// Reports whether the file has another content than the image's, as far as that is known.
fn differs(row: &Row) -> bool {
    match row.volume {
        InVolume::Changed => true,
        InVolume::Is(found @ Content::File(_)) => row.image != Some(found),
        _ => false,
    }
}

/// Returns the checksum of the installed version, if the file may be a notebook that was only run: it
/// has changed, and no record says that it was edited. The file differs from the image's.
fn may_be_run(row: &Row, entry: &Entry) -> Option<Digest> {
    let Some(Content::File(installed)) = entry.installed.filter(|_| is_notebook(&row.path)) else {
        return None;
    };
    let changed = match row.volume {
        InVolume::Changed => true,
        InVolume::Is(Content::File(found)) => {
            let edited = entry.yours.is_some_and(|(yours, _)| yours == found);
            found != installed && !edited
        }
        _ => false,
    };
    (changed && matches!(row.image, Some(Content::File(_)))).then_some(installed)
}
