//! Compares the image, the record and the volume. Starts, previews and the `notebooks` verbs decide
//! by the result.

use crate::volume::VolumeError;
use crate::volume::defaults::installed_cells::InstalledCells;
use crate::volume::defaults::manifest::{Manifest, is_older};
use crate::volume::defaults::only_run::{Compared, find_run};
use crate::volume::defaults::open::{Defaults, Opened};
use crate::volume::defaults::other_case::follow_renames;
use crate::volume::defaults::plan::Policy;
use crate::volume::defaults::survey::{StatResult, Survey, stat_all, survey};

/// The state of all defaults.
pub(super) struct Comparison {
    /// The manifest, without what is known to be of another image.
    pub manifest: Manifest,
    pub cells: InstalledCells,
    pub policy: Policy,
    pub survey: Survey,
    /// The contents that a killed start brought in: the paths, and whether another version was
    /// there before.
    pub in_place: Vec<(Vec<u8>, bool)>,
    /// True if earlier starts brought all defaults in, so that there can be news.
    pub has_news: bool,
}

/// Compares all defaults with what earlier starts recorded, and changes nothing. `stats` are those
/// of the manifest's paths. Reads only what a start would read, and the `compared` notebooks. Calls
/// `each` before each path, with the number of all.
///
/// # Errors
/// `stop` returned true, or the error of `each`.
pub(super) fn compare(
    defaults: &Defaults,
    opened: &mut Opened,
    (mut manifest, mut cells): (Manifest, InstalledCells),
    mut stats: Vec<StatResult>,
    compared: Compared,
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(usize) -> Result<(), VolumeError>,
) -> Result<Comparison, VolumeError> {
    forget_another_image(defaults, &mut manifest);
    // A default is not new if the first start was killed before it or found no room for it.
    manifest.unfinished |= manifest.entries.is_empty();
    let renamed = follow_renames(&mut manifest, &opened.offers, &mut opened.volume, stop)?;
    cells.follow(&renamed);
    if !renamed.is_empty() {
        stats = stat_all(&mut opened.volume, &manifest, stop)?;
    }
    let mut survey = survey(opened, &manifest, stats, stop, each)?;
    let in_place = manifest.resolve(|path| survey.found(path));
    let policy = policy(defaults, &manifest);
    let known = (&manifest, &cells);
    find_run(&mut survey, known, (policy, compared), opened, stop)?;
    Ok(Comparison {
        has_news: !manifest.unfinished,
        manifest,
        cells,
        policy,
        survey,
        in_place,
    })
}

/// Returns the settings and the age of the image, on which decisions depend.
pub(super) fn policy(defaults: &Defaults, manifest: &Manifest) -> Policy {
    Policy {
        update: defaults.update,
        deleted: defaults.deleted,
        older: is_older(defaults.image_version.as_deref(), manifest.image.as_deref()),
    }
}

/// Drops stamps of image files that are not of this version: they say nothing about its files.
pub(super) fn forget_another_image(defaults: &Defaults, manifest: &mut Manifest) {
    if manifest.image.is_none() || manifest.image != defaults.image_version {
        let entries = manifest.entries.values_mut();
        entries.for_each(|entry| entry.in_image = None);
    }
}
