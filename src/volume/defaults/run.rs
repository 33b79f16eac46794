//! Finds the notebooks that a person only ran: the file differs, the cells do not.

use crate::notebook::Cells;
use crate::notebook::cells::MAX_SIZE;
use crate::volume::VolumeError;
use crate::volume::defaults::atomic;
use crate::volume::defaults::compare::{InVolume, Row, Survey};
use crate::volume::defaults::installed_cells::is_notebook;
use crate::volume::defaults::manifest::{Content, Digest, Entry, Manifest, Stamp};
use crate::volume::tree;
use crate::volume::tree::Tree;

/// Compares the cells of each changed notebook that `wanted` accepts with those of the installed
/// version, and records the result in the survey. `base` returns the cells of the installed
/// version with this checksum; without them the notebook counts as edited. Reads at most `budget`
/// bytes of the volume.
///
/// # Errors
/// `stop` returned true.
pub(super) fn find_run(
    survey: &mut Survey,
    manifest: &Manifest,
    wanted: impl Fn(&Row, &Entry) -> bool,
    mut base: impl FnMut(&Row, Digest) -> Option<Cells>,
    (volume, mut budget): (&mut Tree, u64),
    stop: &dyn Fn() -> bool,
) -> Result<(), VolumeError> {
    for row in &mut survey.rows {
        let entry = manifest.entries.get(&row.path);
        let Some(entry) = entry.filter(|entry| wanted(row, entry)) else {
            continue;
        };
        let Some(base) = may_be_run(row, entry).and_then(|installed| base(row, installed)) else {
            continue;
        };
        if stop() {
            return Err(VolumeError::Stopped);
        }
        let read = volume.parent(&row.path, false);
        let read = read.and_then(|(dir, name)| {
            let now = tree::now();
            let (bytes, look) = atomic::read(dir, &name, budget.min(MAX_SIZE as u64))?;
            Ok((bytes, look.and_then(|look| Stamp::if_stable(&look, now))))
        });
        // What cannot be read stays a changed file.
        let Ok((bytes, stamp)) = read else { continue };
        let size = bytes.len() as u64;
        budget -= size;
        let digest = Digest::of(&bytes);
        row.volume = match Cells::parse(&bytes).is_ok_and(|cells| cells == base) {
            true => InVolume::Run(digest),
            false => InVolume::Is(Content::File(digest)),
        };
        row.in_volume = Some(stamp.unwrap_or(Stamp::of_size(size)));
    }
    Ok(())
}

/// Returns the checksum of the installed version, if the file is a changed notebook of which it is
/// not known that it was edited.
fn may_be_run(row: &Row, entry: &Entry) -> Option<Digest> {
    let Some(Content::File(installed)) = entry.installed.filter(|_| is_notebook(&row.path)) else {
        return None;
    };
    let changed = match row.volume {
        InVolume::Changed => true,
        InVolume::Is(Content::File(found)) => {
            let edited = entry.yours.is_some_and(|(yours, _)| yours == found);
            found != installed && row.image != Some(Content::File(found)) && !edited
        }
        _ => false,
    };
    (changed && matches!(row.image, Some(Content::File(_)))).then_some(installed)
}
