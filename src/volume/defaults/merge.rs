//! The work of `notebooks merge`: brings a notebook that the person changed up to date.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::identity::Dropped;
use crate::notebook::cells::MAX_SIZE;
use crate::notebook::merge::{self, Changes, MergeError};
use crate::notebook::{Cells, NotANotebook};
use crate::volume::VolumeError;
use crate::volume::defaults::aside::Aside;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{Fault, OursCheck, fsync};
use crate::volume::defaults::compare::is_in;
use crate::volume::defaults::installed_cells::{Installed, InstalledCells, is_notebook};
use crate::volume::defaults::kept;
use crate::volume::defaults::kept::KeptCopies;
use crate::volume::defaults::manifest::{Content, Digest, KeptCopy, Manifest, Stamp};
use crate::volume::defaults::place::{Placed, Replacement};
use crate::volume::defaults::recover::clean_up;
use crate::volume::defaults::source::{Offer, Offers};
use crate::volume::defaults::store::{AiLabDir, Mark, NAME};
use crate::volume::defaults::sync::{
    Defaults, LOCK_TIMEOUT, forget_another_image, inode, offers, open_both, open_manifest, policy,
    read_only_volume,
};
use crate::volume::tree;
use crate::volume::tree::Tree;

/// A notebook that was brought up to date.
#[derive(Debug, PartialEq, Eq)]
pub struct MergedNotebook {
    /// How many cells changed.
    pub changes: Changes,
    /// The path of the person's file as it was; `None`: it did not change.
    pub kept: Option<Vec<u8>>,
}

/// Why a notebook is not merged. The person's file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotMerged {
    /// The image has no file at this path.
    #[error("it is not a default of this image")]
    NotADefault,
    /// It is a file of another kind.
    #[error(
        "only notebooks (.ipynb) can be merged: `notebooks diff` shows the difference, and \
         `notebooks restore` brings the new version"
    )]
    NotANotebook,
    /// The notebook is not there.
    #[error("it is not there: `notebooks restore` brings it back")]
    Missing,
    /// Something else than a regular file is there, or in the way to it.
    #[error("it is not a regular file")]
    NotAFile,
    /// The person did not change it.
    #[error(
        "you have not changed it: the next start or `notebooks restore` brings the new version"
    )]
    Unchanged,
    /// The image has the installed version.
    #[error("there is no newer version of it")]
    NotNewer,
    /// The image is older than the one that installed it.
    #[error("this image is older than the one that installed it: start the newer image")]
    Older,
    /// The installed version is not recorded.
    #[error(
        "the version that you changed is not recorded (an earlier release installed it): see \
         `notebooks diff` and copy what you need, or take the new version with `notebooks \
         restore`, which keeps yours"
    )]
    BaseUnknown,
    /// One of the two is no notebook, or has open conflicts.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Somebody saved the file meanwhile.
    #[error("it was saved meanwhile: merge it once more")]
    EditedMeanwhile,
    /// A file cannot be read or written.
    #[error("{}; see the directory, its owner and its free space", std::io::Error::from(*.0))]
    Refused(Errno),
    /// The person's file could not be put back.
    #[error("yours is now {}", crate::volume::shown(.0))]
    Displaced(Vec<u8>),
    /// No record can be kept in the volume.
    #[error("{0}")]
    NoRecord(Degradation),
    /// The defaults or the volume cannot be opened.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl From<Errno> for NotMerged {
    fn from(error: Errno) -> Self {
        match error {
            Errno::INVAL | Errno::LOOP | Errno::NOTDIR => Self::NotAFile,
            Errno::NOENT => Self::Missing,
            Errno::FBIG => MergeError::Mine(NotANotebook::TooLong).into(),
            error => Self::Refused(error),
        }
    }
}

/// Merges the image's version of one notebook into the person's. Their file is kept as it was,
/// and the image's version counts as the installed one from then on.
///
/// # Errors
/// The reason why the person's file is as it was.
pub fn merge(_: &Dropped, defaults: &Defaults, path: &[u8]) -> Result<MergedNotebook, NotMerged> {
    let (mut source, mut volume) = open_both(defaults)?;
    let offers = offers(defaults, &source, inode(defaults, &volume)?, &|| false)?;
    check_is_offered(&offers, path)?;
    let mut record = Record::open(defaults, &mut volume, &offers)?;
    let new = read(&mut source, path)?;
    let mine = read(&mut volume, path)?;
    let (old, installed) = record.base(path, &mine, &new)?;
    let merged = merge::merge(&old.cells, &mine, &new)?;
    let kept = match merged.changes == Changes::default() {
        true => None,
        false => {
            let place = record.kept_place(
                path,
                [&mine, &merged.notebook],
                (old.version.as_deref(), installed),
            )?;
            let moved = record.replace(&mut volume, path, (&mine, &merged.notebook))?;
            Some(moved.unwrap_or(place))
        }
    };
    record.write_installed(path, &new)?;
    Ok(MergedNotebook {
        changes: merged.changes,
        kept,
    })
}

fn check_is_offered(offers: &Offers, path: &[u8]) -> Result<(), NotMerged> {
    let mut closed = offers.unreadable_paths.iter();
    match offers.by_path.get(path) {
        None if closed.any(|closed| is_in(path, closed)) => Err(NotMerged::Refused(Errno::ACCESS)),
        None | Some(Offer::Directory) => Err(NotMerged::NotADefault),
        Some(Offer::File(_)) if is_notebook(path) => Ok(()),
        Some(_) => Err(NotMerged::NotANotebook),
    }
}

fn read(tree: &mut Tree, path: &[u8]) -> Result<Vec<u8>, NotMerged> {
    let (dir, name) = tree.parent(path, false)?;
    let (bytes, unchanged) = atomic::read(dir, &name, MAX_SIZE as u64)?;
    unchanged.map(|_| bytes).ok_or(NotMerged::EditedMeanwhile)
}

fn content(bytes: &[u8]) -> Content {
    Content::File(Digest::of(bytes))
}

/// What is recorded of the volume's notebooks.
struct Record {
    home: Box<AiLabDir>,
    manifest: Manifest,
    cells: InstalledCells,
    /// The image's version, if it has one.
    version: Option<String>,
    /// True if the image is older than the one that brought defaults in.
    older: bool,
}

impl Record {
    /// Opens the record, and cleans up after a start that was killed.
    fn open(defaults: &Defaults, volume: &mut Tree, offers: &Offers) -> Result<Self, NotMerged> {
        let mut told = Vec::new();
        let (stop, longest) = (|| false, offers.manifest_limit());
        let opened = open_manifest(volume, LOCK_TIMEOUT, longest, &stop, &mut told)?;
        let Some((Some(home), mut manifest)) = opened else {
            let why = told.pop().unwrap_or_else(|| read_only_volume(defaults));
            return Err(NotMerged::NoRecord(why));
        };
        clean_up(&home, volume, offers, &manifest, &stop, &mut told)?;
        forget_another_image(defaults, &mut manifest);
        let older = policy(defaults, &manifest).older;
        if !older && defaults.image_version.is_some() {
            manifest.image.clone_from(&defaults.image_version);
        }
        Ok(Self {
            cells: InstalledCells::of(Some(&home.dir), false),
            home,
            manifest,
            version: defaults.image_version.clone(),
            older,
        })
    }

    /// Returns the version that the person changed, and its checksum.
    fn base(
        &mut self,
        path: &[u8],
        mine: &[u8],
        new: &[u8],
    ) -> Result<(Installed, Digest), NotMerged> {
        let found = (Some(content(mine)), None);
        self.manifest
            .resolve(|other| (other == path).then_some(found));
        let entry = self.manifest.entries.get(path);
        let Some(Content::File(installed)) = entry.and_then(|entry| entry.installed) else {
            return Err(NotMerged::BaseUnknown);
        };
        if content(new) == Content::File(installed) {
            return Err(NotMerged::NotNewer);
        }
        if self.older {
            return Err(NotMerged::Older);
        }
        if content(mine) == Content::File(installed) {
            return Err(NotMerged::Unchanged);
        }
        let base = self.cells.get(path, installed);
        Ok((base.ok_or(NotMerged::BaseUnknown)?, installed))
    }

    /// Records where the person's file is to be kept, and returns that path in the volume. If the
    /// merge is killed, the next start moves there what it finds under a temporary name: their
    /// file, or the merged one.
    fn kept_place(
        &mut self,
        path: &[u8],
        texts: [&[u8]; 2],
        (version, installed): (Option<&str>, Digest),
    ) -> Result<Vec<u8>, Errno> {
        let mut kept = KeptCopies::open(&self.home)?;
        let entry = self.manifest.entries.entry(path.to_vec()).or_default();
        kept.forget_changed(path, entry);
        let directory = kept.directory_for(path, version, installed)?;
        entry.kept.extend(texts.map(|text| KeptCopy {
            directory: directory.clone(),
            digest: Digest::of(text),
        }));
        self.home.mark_at_least(Mark::Temporary);
        self.home.write(&mut self.manifest)?;
        let place = kept::path_of(&directory, path);
        Ok([NAME.to_bytes(), b"/", &place].concat())
    }

    /// Puts the merged notebook in the place of the person's file, which is kept. Returns its path
    /// if it could not be moved to where it is to be kept.
    fn replace(
        &mut self,
        volume: &mut Tree,
        path: &[u8],
        (mine, merged): (&[u8], &[u8]),
    ) -> Result<Option<Vec<u8>>, NotMerged> {
        let entry = self.manifest.entries.entry(path.to_vec()).or_default();
        let keep = KeptCopies::open(&self.home)?.place_for(path, entry)?;
        let (dir, name) = volume.parent(path, false)?;
        KeptCopies::open(&self.home)?.check_mount(dir)?;
        let (temp, new) = stage(dir, &name, merged)?;
        let mut aside = Aside::default();
        let placed = Replacement {
            dir,
            temp: &temp,
            name: &name,
            path,
            new,
            check: OursCheck {
                ours: &|found| found == content(mine),
                size: &|size| [mine, merged].iter().any(|text| text.len() as u64 == size),
                stop: &|| false,
            },
            keep: Some(keep.at()),
            home: Some(self.home.dir.as_fd()),
            reserving: &|| self.home.mark_at_least(Mark::Reserved),
        }
        .run(&mut aside);
        // No file of the merged text is left under a temporary name.
        entry.kept.pop();
        if placed == Placed::Done {
            // A start deletes old copies of what was only run. This one a person wrote.
            entry.kept.pop();
        }
        let above = BTreeSet::from([tree::split(path).0.to_vec()]);
        aside.clear(self.home.dir.as_fd(), &above);
        match placed {
            Placed::Done => Ok(None),
            Placed::NotKept(path) => Ok(Some(path)),
            Placed::Conflict | Placed::Stopped => Err(NotMerged::EditedMeanwhile),
            Placed::FsRefused(error) | Placed::OldUnreadable(error) => {
                Err(NotMerged::Refused(error))
            }
            Placed::Displaced(path) => Err(NotMerged::Displaced(path)),
        }
    }

    /// Records the image's version as the installed one.
    fn write_installed(&mut self, path: &[u8], new: &[u8]) -> Result<(), NotMerged> {
        let digest = Digest::of(new);
        let cells = Cells::parse(new).map_err(MergeError::New)?;
        let entry = self.manifest.entries.entry(path.to_vec()).or_default();
        entry.installed = Some(Content::File(digest));
        entry.in_volume = Some(Stamp::of_size(new.len() as u64));
        entry.in_image = None;
        entry.yours = None;
        self.home.write(&mut self.manifest)?;
        self.cells
            .insert(path, digest, self.version.as_deref(), cells);
        self.cells.write(&self.manifest)?;
        self.home.clear_mark();
        Ok(())
    }
}

/// Writes the notebook to a temporary file that has the mode of `name`, and flushes it.
fn stage(dir: BorrowedFd<'_>, name: &CStr, notebook: &[u8]) -> Result<(CString, Content), Errno> {
    let mode = tree::stat_name(dir, name)?.mode & 0o777;
    let mut buffer = vec![0; atomic::BUFFER];
    let staged = atomic::stage_file(dir, notebook, mode, &mut buffer, &|| false);
    let (temp, content, _) = staged.map_err(Fault::errno)?;
    match fsync(dir, &temp) {
        Ok(()) => Ok((temp, content)),
        Err(error) => {
            atomic::discard(dir, &temp);
            Err(error)
        }
    }
}
