//! Brings the image's notebook defaults into the volume, as the user.
//!
//! Compare, plan, act: the comparison finds what there is, the plan decides what to do, and the
//! files are staged, recorded as pending, flushed, renamed into place and recorded as
//! installed, one batch at a time. The next start can continue after a kill at any point.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::volume::defaults::apply::{Limits, Work};
use crate::volume::defaults::aside::Aside;
use crate::volume::defaults::compare::compare;
use crate::volume::defaults::copy::Writer;
use crate::volume::defaults::installed_cells::InstalledCells;
use crate::volume::defaults::kept::KeptCopies;
use crate::volume::defaults::manifest::Manifest;
use crate::volume::defaults::manifest_file::NotRead;
use crate::volume::defaults::news::News;
use crate::volume::defaults::only_run::Compared;
use crate::volume::defaults::open::{Defaults, Opened, inode, offers, open_both};
use crate::volume::defaults::plan::decide_all;
use crate::volume::defaults::recover::clean_up;
use crate::volume::defaults::source::BASE_MANIFEST_LIMIT;
use crate::volume::defaults::store;
use crate::volume::defaults::store::{AiLabDir, OpenedDir};
use crate::volume::defaults::summary::Summary;
use crate::volume::defaults::survey::{Survey, stat_all};
use crate::volume::defaults::together::run_both;
use crate::volume::pace::Pace;
use crate::volume::tree::Tree;
use crate::volume::{ErrnoCounts, PathCount, Progress, VolumeError};

/// Brings the defaults into the volume.
///
/// Calls `stop` and `progress` now and then. After a stop, the files that are in place stay.
///
/// # Errors
///
/// [`VolumeError::SourceMissing`], a volume that cannot be opened, defaults that
/// cannot be listed, or `stop`; everything else is a degradation of the summary.
pub fn bring_in(
    _: &Dropped,
    defaults: &Defaults,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, VolumeError> {
    bring_in_with(defaults, Limits::USUAL, &|_| true, stop, progress)
}

/// From this length on (some thousand defaults), the manifest and the stats of its paths are
/// read while the image's defaults are listed. In bytes. A manifest longer than
/// [`BASE_MANIFEST_LIMIT`] waits for the list, which gives the limit of its length.
const LONG_MANIFEST: u64 = 256 << 10;

/// Brings in the defaults whose path `only` accepts.
pub(super) fn bring_in_with(
    defaults: &Defaults,
    limits: Limits,
    only: &dyn Fn(&[u8]) -> bool,
    stop: &dyn Fn() -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, VolumeError> {
    let mut summary = Summary::default();
    let (source, mut volume) = open_both(defaults)?;
    let top = inode(defaults, &volume)?;
    let long = LONG_MANIFEST..=BASE_MANIFEST_LIMIT;
    let in_parallel = long.contains(&store::manifest_size(&volume));
    let list = |stop: &dyn Fn() -> bool| offers(defaults, &source, Some(top), stop);
    let degradations = &mut summary.degradations;
    let mut read_record = |longest| {
        let Some((ai_lab, manifest)) =
            open_manifest(&mut volume, limits.lock, longest, stop, degradations)?
        else {
            return Ok(None);
        };
        let stats = stat_all(&mut volume, &manifest, stop)?;
        Ok(Some((ai_lab, manifest, stats)))
    };
    let (listed, record) = match in_parallel {
        true => run_both(list, || read_record(BASE_MANIFEST_LIMIT), stop),
        false => {
            // The list comes first: it gives the limit for the length of the manifest.
            let listed = list(stop)?;
            let record = read_record(listed.manifest_limit());
            (Ok(listed), record)
        }
    };
    let mut opened = Opened {
        offers: listed?,
        source,
        volume,
    };
    summary.reported = std::mem::take(&mut opened.offers.reported);
    let Some((ai_lab, mut manifest, mut stats)) = record? else {
        summary.degradations.push(read_only_volume(defaults));
        return Ok(summary);
    };
    let mut cells = InstalledCells::default();
    let mut keeps_mark = false;
    if let Some(ai_lab) = &ai_lab {
        // Without the lock, another start may have written the cells without ours.
        cells = InstalledCells::of(Some(&ai_lab.dir), ai_lab.is_marked() || !ai_lab.locked);
        let Opened { volume, offers, .. } = &mut opened;
        let degradations = &mut summary.degradations;
        if clean_up(ai_lab, volume, offers, &mut manifest, stop, degradations)? {
            stats = stat_all(volume, &manifest, stop)?;
        }
        keeps_mark = ai_lab.is_marked();
    }

    let mut done = 0;
    let mut pace = Pace::new();
    // Each path is compared, and then acted on.
    let mut each = |paths: usize| {
        done += 1;
        if pace.is_due() {
            if stop() {
                return Err(VolumeError::Stopped);
            }
            let total = Some(2 * paths as u64);
            progress(Progress { done, total });
        }
        Ok(())
    };
    let compared = compare(
        defaults,
        &mut opened,
        (manifest, cells),
        stats,
        Compared::AsInStart,
        stop,
        &mut each,
    )?;
    let (mut manifest, policy) = (compared.manifest, compared.policy);
    let Survey {
        rows,
        unread,
        mut degradations,
    } = compared.survey;
    summary.degradations.append(&mut degradations);
    let planned = decide_all(&rows, &manifest, policy);
    if !policy.older && defaults.image_version.is_some() {
        manifest.image.clone_from(&defaults.image_version);
    }
    let offers = &opened.offers;

    let mut work = Work {
        version: defaults.image_version.as_deref(),
        version_known: manifest.image.is_some() && manifest.image == defaults.image_version,
        writer: Writer::new(opened.source, opened.volume, &offers.by_path, defaults.mode),
        kept: ai_lab
            .as_ref()
            .and_then(|ai_lab| KeptCopies::open(ai_lab, offers.total_read_limit()).ok()),
        manifest,
        ai_lab,
        aside: Aside::default(),
        limits,
        stop,
        each: &mut || each(rows.len()),
        jobs: Vec::new(),
        bytes: 0,
        batch: Vec::new(),
        touched: BTreeSet::new(),
        flushes_slowly: false,
        full: 0,
        not_exchangeable: 0,
        strays: PathCount::default(),
        cells: compared.cells,
        newer: Vec::new(),
        without_cells: Vec::new(),
        policy,
        has_news: compared.has_news,
        news: News::default(),
        not_kept: ErrnoCounts::default(),
        keeps_mark,
        write_failures: ErrnoCounts::default(),
        unread,
        report_lines: 0,
        alike: None,
        summary,
    };
    work.add_news_of_killed(&compared.in_place);
    let all = planned.len();
    let wanted: Vec<_> = planned
        .into_iter()
        .filter(|(row, _)| only(&row.path))
        .collect();
    let is_whole = wanted.len() == all;
    let mut wanted = wanted.into_iter();
    let done = wanted.try_for_each(|(row, decision)| work.run_action(row, decision));
    match done.and_then(|()| work.flush()) {
        Ok(()) => {
            work.manifest.unfinished &= !is_whole || work.full > 0;
            Ok(work.finish())
        }
        Err(error) => {
            work.give_up();
            Err(error)
        }
    }
}

/// Returns the degradation for a read-only volume.
pub(super) fn read_only_volume(defaults: &Defaults) -> Degradation {
    Degradation::new(
        format!(
            "{} is read-only: the notebook defaults were left alone",
            defaults.volume.display()
        ),
        "mount the volume read-write to get new defaults",
    )
}

/// Opens `.ai-lab` and reads the manifest in it. If no manifest can be kept, returns no
/// directory and an empty manifest. Returns `None` if the volume is read-only.
#[allow(clippy::type_complexity)]
pub(super) fn open_manifest(
    volume: &mut Tree,
    lock_timeout: Duration,
    longest: u64,
    stop: &dyn Fn() -> bool,
    degradations: &mut Vec<Degradation>,
) -> Result<Option<(Option<Box<AiLabDir>>, Manifest)>, VolumeError> {
    let why = match store::open(volume, lock_timeout, stop, degradations)? {
        OpenedDir::ReadOnly => return Ok(None),
        OpenedDir::Without(why) => why,
        OpenedDir::Dir(mut ai_lab) => match ai_lab.read(longest, stop, degradations) {
            Ok(manifest) => return Ok(Some((Some(ai_lab), manifest))),
            Err(NotRead::Stopped) => return Err(VolumeError::Stopped),
            Err(NotRead::Unusable(why)) => why,
        },
    };
    degradations.push(why);
    Ok(Some((None, Manifest::default())))
}

#[cfg(test)]
#[path = "sync_tests/mod.rs"]
mod tests;
