//! Compares the image, the record and the volume. Starts, previews and the `notebooks` verbs decide
//! by the result.

use crate::degradation::Degradation;
use crate::volume::defaults::installed_cells::InstalledCells;
use crate::volume::defaults::manifest::{Manifest, is_older};
use crate::volume::defaults::only_run::{Compared, find_run};
use crate::volume::defaults::open::Defaults;
use crate::volume::defaults::other_case::follow_renames;
use crate::volume::defaults::plan::Policy;
use crate::volume::defaults::source::Offers;
use crate::volume::defaults::survey::{Row, StatResult, stat_all, survey};
use crate::volume::tree::Tree;
use crate::volume::{ErrnoCounts, VolumeError};

/// What earlier starts recorded.
#[derive(Default)]
pub(super) struct Recorded {
    pub manifest: Manifest,
    /// The stats of the manifest's paths, if they were taken already.
    pub stats: Option<Vec<StatResult>>,
    pub cells: InstalledCells,
}

/// The state of all defaults.
pub(super) struct Comparison {
    /// The manifest, without what is known to be of another image.
    pub manifest: Manifest,
    pub cells: InstalledCells,
    pub policy: Policy,
    /// In the order of their paths.
    pub rows: Vec<Row>,
    /// The contents that a killed start brought in: the paths, and whether another version was
    /// there before.
    pub in_place: Vec<(Vec<u8>, bool)>,
    /// True if earlier starts brought all defaults in, so that there can be news.
    pub has_news: bool,
    /// The files that could not be read.
    pub unread: ErrnoCounts,
    /// Problems of the image's seal.
    pub degradations: Vec<Degradation>,
}

/// Compares all defaults. Changes nothing. Reads only what a start would read, and the `compared`
/// notebooks. Calls `each` before each path, with the number of all; its error ends the work.
///
/// # Errors
/// `stop` returned true, or the error of `each`.
pub(super) fn compare(
    defaults: &Defaults,
    offers: &mut Offers,
    recorded: Recorded,
    compared: Compared,
    (source, volume): (&mut Tree, &mut Tree),
    stop: &dyn Fn() -> bool,
    each: &mut dyn FnMut(usize) -> Result<(), VolumeError>,
) -> Result<Comparison, VolumeError> {
    let Recorded {
        mut manifest,
        stats,
        mut cells,
    } = recorded;
    forget_another_image(defaults, &mut manifest);
    // A default is not new if the first start was killed before it or found no room for it.
    manifest.unfinished |= manifest.entries.is_empty();
    let renamed = follow_renames(&mut manifest, offers, volume, stop)?;
    cells.follow(&renamed);
    let stats = match stats {
        Some(stats) if renamed.is_empty() => stats,
        _ => stat_all(volume, &manifest, stop)?,
    };
    let mut unread = std::mem::take(&mut offers.unread);
    let mut survey = survey(
        offers,
        (&manifest, stats),
        (&mut *source, &mut *volume),
        &mut unread,
        stop,
        each,
    )?;
    let in_place = manifest.resolve(|path| survey.found(path));
    let policy = policy(defaults, &manifest);
    find_run(
        &mut survey,
        (&manifest, &cells),
        (policy, compared),
        (source, volume),
        offers.total_read_limit(),
        stop,
    )?;
    Ok(Comparison {
        has_news: !manifest.unfinished,
        manifest,
        cells,
        policy,
        rows: survey.rows,
        in_place,
        unread,
        degradations: survey.degradations,
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
