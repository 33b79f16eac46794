//! Preview of the defaults for a dry run: the stats and reads of a start, and no change.

use rustix::fs::{Access, AtFlags};
use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::volume::defaults::apply::{READ_REMEDY, WRITE_REMEDY};
use crate::volume::defaults::manifest::Manifest;
use crate::volume::defaults::manifest_file::NotRead;
use crate::volume::defaults::news;
use crate::volume::defaults::only_run::Compared;
use crate::volume::defaults::open::{Defaults, Opened, offers, open, open_source};
use crate::volume::defaults::plan::{Action, Decision};
use crate::volume::defaults::restore::status_of;
use crate::volume::defaults::source::{Offer, Offers};
use crate::volume::defaults::store;
use crate::volume::defaults::summary::Summary;
use crate::volume::defaults::sync::read_only_volume;
use crate::volume::tree;
use crate::volume::tree::{Rights, Tree};
use crate::volume::{ErrnoCounts, MANIFEST, VolumeError, shown};

/// Returns what a start with these `rights` would do. Root may ask with the rights of a user
/// who will own everything: root stats and reads, and follows no link. [`preview_in`] then
/// drops the defaults that this user cannot read. `made`: true if the start would create a
/// missing volume before.
///
/// # Errors
///
/// As [`bring_in`](crate::volume::bring_in).
pub fn preview_defaults(
    defaults: &Defaults,
    made: bool,
    rights: Rights,
    stop: &dyn Fn() -> bool,
) -> Result<DefaultsPreview, VolumeError> {
    let mut opened = match open(defaults, stop) {
        Err(error) if error.is_absent() && made => {
            let Offers {
                by_path, unread, ..
            } = offers(defaults, &open_source(defaults)?, None, stop)?;
            let paths = by_path.into_keys();
            let decision = Decision::Install;
            return Ok(DefaultsPreview {
                files: paths.map(|path| Action { path, decision }).collect(),
                news: false,
                recorded: true,
                degradations: unread.degradations("read", READ_REMEDY).collect(),
            });
        }
        opened => opened?,
    };
    if tree::is_read_only(opened.volume.top()) {
        return Ok(DefaultsPreview {
            files: Vec::new(),
            news: false,
            recorded: false,
            degradations: vec![read_only_volume(defaults)],
        });
    }
    let mut degradations = Vec::new();
    let Opened { volume, offers, .. } = &opened;
    let offers_news = offers.by_path.contains_key(news::NAME.to_bytes());
    let longest = offers.manifest_limit();
    let record = store::preview_manifest(volume.top(), rights, longest, stop, &mut degradations);
    let recorded = record.is_ok();
    // As in a start: a manifest that cannot be kept is not used either.
    let manifest = match record {
        Ok(manifest) => manifest,
        Err(NotRead::Stopped) => return Err(VolumeError::Stopped),
        Err(NotRead::Unusable(why)) => {
            degradations.push(why);
            Manifest::default()
        }
    };
    let status = status_of(defaults, &mut opened, manifest, Compared::AsInStart, stop)?;
    let mut files = status.files;
    degradations.extend(status.degradations);
    degradations.extend(drop_refused(&mut opened.volume, rights, &mut files));
    let top = opened.volume.top();
    let may_write = news::may_write(top) && rights.may_change(top).is_ok();
    Ok(DefaultsPreview {
        files,
        news: status.news && recorded && may_write && !offers_news,
        recorded,
        degradations,
    })
}

/// Drops and reports the actions that the permissions of the volume's directories forbid.
fn drop_refused(volume: &mut Tree, rights: Rights, files: &mut Vec<Action>) -> Vec<Degradation> {
    use Decision::{Beside, Install, Replace, ReplaceRun};
    let mut refused = ErrnoCounts::default();
    files.retain(|action| {
        let writes = matches!(action.decision, Install | Replace | ReplaceRun | Beside);
        let may = match writes {
            true => may_write(volume, rights, &action.path),
            false => Ok(()),
        };
        if let Err(error) = may {
            refused.add(error, || action.shown());
        }
        may.is_ok()
    });
    refused.degradations("write", WRITE_REMEDY).collect()
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

/// Previews [`bring_in`](crate::volume::bring_in). `by_root`: the preview that root made before the
/// drop, if only root could. `made` as in [`preview_defaults`].
///
/// # Errors
///
/// As [`bring_in`](crate::volume::bring_in).
pub fn preview_in(
    _: &Dropped,
    defaults: &Defaults,
    by_root: Option<Result<DefaultsPreview, VolumeError>>,
    made: bool,
    stop: &dyn Fn() -> bool,
) -> Result<Summary, VolumeError> {
    let preview = match by_root {
        Some(preview) => drop_unreadable(defaults, preview?)?,
        None => preview_defaults(defaults, made, Rights::ThisProcess, stop)?,
    };
    Ok(preview.into_summary(defaults))
}

/// Drops the defaults that the user cannot read.
fn drop_unreadable(
    defaults: &Defaults,
    mut preview: DefaultsPreview,
) -> Result<DefaultsPreview, VolumeError> {
    use Decision::{Adopt, Beside, Install, Replace, ReplaceRun};
    let mut source = open_source(defaults)?;
    let Offers {
        by_path,
        mut unread,
        ..
    } = offers(defaults, &source, None, &|| false)?;
    preview.files.retain(|Action { path, decision }| {
        let may = match by_path.get(path) {
            _ if !matches!(decision, Install | Replace | ReplaceRun | Beside | Adopt) => Ok(()),
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
    let unread = unread.degradations("read", READ_REMEDY);
    preview.degradations.extend(unread);
    Ok(preview)
}

/// Preview of a start.
#[derive(Debug, PartialEq, Eq)]
pub struct DefaultsPreview {
    /// The decision for each default.
    pub files: Vec<Action>,
    /// True if the start would write [`NEWS`](crate::volume::NEWS).
    news: bool,
    /// True if the start could write the manifest.
    recorded: bool,
    /// The parts that the start could not do as asked.
    degradations: Vec<Degradation>,
}

impl DefaultsPreview {
    fn into_summary(self, defaults: &Defaults) -> Summary {
        let mut planned: Vec<String> = self.files.iter().map(Action::to_string).collect();
        // Also of files that stay: the image's version, and what saves the next start a read.
        if self.recorded && !self.files.is_empty() {
            let manifest = defaults.volume.join(MANIFEST);
            planned.push(format!("record them in {}", manifest.display()));
        }
        if self.news {
            let news = defaults.volume.join(crate::volume::NEWS);
            planned.push(format!("write what is new to {}", news.display()));
        }
        Summary {
            planned,
            degradations: self.degradations,
            ..Summary::default()
        }
    }
}
