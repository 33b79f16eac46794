//! The record of a merged notebook, and the exchange of the two files.

use std::collections::{BTreeSet, HashSet};
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::notebook::Notebook;
use crate::notebook::cells::Cell;
use crate::volume::defaults::aside::Aside;
use crate::volume::defaults::atomic;
use crate::volume::defaults::atomic::{OursCheck, StagedText};
use crate::volume::defaults::compare::{forget_another_image, policy};
use crate::volume::defaults::installed_cells::{Installed, InstalledCells};
use crate::volume::defaults::kept;
use crate::volume::defaults::kept::KeptCopies;
use crate::volume::defaults::manifest::{
    Content, Digest, Entry, KeptCopy, Manifest, Merging, Stamp,
};
use crate::volume::defaults::not_merged::NotMerged;
use crate::volume::defaults::open::Defaults;
use crate::volume::defaults::place::{Placed, Replacement};
use crate::volume::defaults::recover::clean_up;
use crate::volume::defaults::source::Offers;
use crate::volume::defaults::store::LOCK_TIMEOUT;
use crate::volume::defaults::store::{AiLabDir, Mark, NAME, StagedManifest};
use crate::volume::defaults::sync::{open_manifest, read_only_volume};
use crate::volume::tree;
use crate::volume::tree::Tree;

fn content(bytes: &[u8]) -> Content {
    Content::File(Digest::of(bytes))
}

/// The record of the volume's notebooks.
pub(super) struct Record {
    ai_lab: Box<AiLabDir>,
    /// True if files of a killed start may be left.
    keeps_mark: bool,
    manifest: Manifest,
    cells: InstalledCells,
    /// The image's version, if it has one.
    version: Option<String>,
    /// True if the image is older than the one that brought defaults in.
    older: bool,
    /// The version that the person changed, once it is known.
    base: Option<Digest>,
}

impl Record {
    /// Opens the record, and cleans up after a start that was killed.
    pub fn open(
        defaults: &Defaults,
        volume: &mut Tree,
        offers: &Offers,
        degradations: &mut Vec<Degradation>,
    ) -> Result<Self, NotMerged> {
        let mut found = Vec::new();
        let (stop, longest) = (|| false, offers.manifest_limit());
        let opened = open_manifest(volume, LOCK_TIMEOUT, longest, &stop, &mut found)?;
        let Some((Some(ai_lab), mut manifest)) = opened else {
            let why = found.pop().unwrap_or_else(|| read_only_volume(defaults));
            return Err(NotMerged::NoRecord(why));
        };
        let cleaned = clean_up(&ai_lab, volume, offers, &mut manifest, &stop, &mut found);
        found.retain(|found| !degradations.contains(found));
        degradations.append(&mut found);
        cleaned?;
        forget_another_image(defaults, &mut manifest);
        let older = policy(defaults, &manifest).older;
        if !older && defaults.image_version.is_some() {
            manifest.image.clone_from(&defaults.image_version);
        }
        Ok(Self {
            cells: InstalledCells::of(Some(&ai_lab.dir), false),
            keeps_mark: ai_lab.is_marked(),
            ai_lab,
            manifest,
            version: defaults.image_version.clone(),
            older,
            base: None,
        })
    }

    /// Returns the version that the person changed, and its checksum. After `restore --kept` that
    /// is the version before the installed one: the one with which the file has more cells in common.
    pub fn base(
        &mut self,
        path: &[u8],
        mine: &[u8],
        new: &[u8],
    ) -> Result<(Installed, Digest), NotMerged> {
        let found = (Some(content(mine)), None);
        self.manifest
            .resolve(|other| (other == path).then_some(found));
        let entry = self.manifest.entries.get(path);
        let Some((entry, Content::File(installed))) =
            entry.and_then(|entry| Some((entry, entry.installed?)))
        else {
            return Err(NotMerged::BaseUnknown);
        };
        let my_cells = Notebook::parse(mine).unwrap_or_default();
        let in_common = |(known, _): &(Installed, Digest)| {
            let known: HashSet<&Cell> = known.notebook.cells().iter().collect();
            let mine = my_cells.cells().iter();
            mine.filter(|cell| known.contains(cell)).count()
        };
        // The last of equal ones is taken.
        let versions = [entry.earlier, Some(installed)].into_iter().flatten();
        let known = versions.filter_map(|digest| Some((self.cells.get(path, digest)?, digest)));
        let base = known.max_by_key(in_common);
        let digest = base.as_ref().map_or(installed, |(_, digest)| *digest);
        if Digest::of(new) == digest {
            return Err(NotMerged::NotNewer);
        }
        if self.older {
            return Err(NotMerged::Older);
        }
        if content(mine) == Content::File(installed) {
            return Err(NotMerged::Unchanged);
        }
        self.base = Some(digest);
        base.ok_or(NotMerged::BaseUnknown)
    }

    /// Records where the person's file is to be kept, and returns that path in the volume. If the
    /// merge is killed, the next start finds their file or the merged one under a temporary name:
    /// it moves the first there, and deletes the second.
    pub fn kept_place(
        &mut self,
        path: &[u8],
        [mine, merged]: [&[u8]; 2],
        (version, installed): (Option<&str>, Digest),
    ) -> Result<Vec<u8>, Errno> {
        let directory =
            KeptCopies::open(&self.ai_lab, 0)?.directory_for(path, version, installed)?;
        let place = kept::path_of(&directory, path);
        let digest = Digest::of(mine);
        let merging = Merging {
            mine: KeptCopy {
                directory,
                digest,
                stamp: None,
            },
            merged: Digest::of(merged),
        };
        self.entry(path).merging = Some(merging);
        self.ai_lab.mark_at_least(Mark::Temporary);
        let written = self.ai_lab.write(&mut self.manifest);
        written.inspect_err(|_| self.clear_mark())?;
        Ok([NAME.to_bytes(), b"/", &place].concat())
    }

    fn clear_mark(&self) {
        if !self.keeps_mark {
            self.ai_lab.clear_mark();
        }
    }

    fn entry(&mut self, path: &[u8]) -> &mut Entry {
        self.manifest.entries.entry(path.to_vec()).or_default()
    }

    /// Puts the merged notebook in the place of the person's file, which is kept, and records the
    /// image's version. Returns the path of their file if it could not be moved to where it is to
    /// be kept, and the error if this could not be recorded.
    pub fn replace(
        &mut self,
        volume: &mut Tree,
        path: &[u8],
        [mine, merged, new]: [&[u8]; 3],
    ) -> Result<(Option<Vec<u8>>, Option<Errno>), NotMerged> {
        let merging = self.entry(path).merging.clone().ok_or(Errno::NOENT)?;
        let mut kept = KeptCopies::open(&self.ai_lab, 0)?;
        let keep = kept.place(&kept::path_of(&merging.mine.directory, path))?;
        let (dir, name) = volume.parent(path, false)?;
        kept.check_mount(dir)?;
        let mode = tree::stat_name(dir, &name)?.mode & 0o777;
        // What needs room comes before the exchange.
        let staged = self.stage_installed(path, new)?;
        let (temp, merged_content) = atomic::stage_flushed(dir, merged, mode)?;
        let mut aside = Aside::default();
        let placed = Replacement {
            dir,
            temp: &temp,
            name: &name,
            path,
            new: merged_content,
            check: OursCheck {
                ours: &|found| found == content(mine),
                size: &|size| [mine, merged].iter().any(|text| text.len() as u64 == size),
                stop: &|| false,
            },
            keep: Some(keep.at()),
            ai_lab: Some(self.ai_lab.dir.as_fd()),
            reserving: &|| self.ai_lab.mark_at_least(Mark::Reserved),
        }
        .run(&mut aside);
        let above = BTreeSet::from([tree::split(path).0.to_vec()]);
        let clean = aside.clear(self.ai_lab.dir.as_fd(), &above);
        if placed == Placed::Done {
            let recorded = self.put_in_place(staged);
            if clean && recorded.is_ok() {
                self.clear_mark();
            }
            return Ok((None, recorded.err()));
        }
        drop(staged);
        match placed {
            Placed::NotKept(moved) => {
                // The next start tries again to keep it.
                let base = self.base;
                set_installed(self.entry(path), new, base);
                Ok((Some(moved), self.ai_lab.write(&mut self.manifest).err()))
            }
            Placed::FsRefused(error) | Placed::OldUnreadable(error) => {
                Err(NotMerged::Refused(error))
            }
            Placed::Displaced(path) => Err(NotMerged::Displaced(path)),
            Placed::Done | Placed::Conflict | Placed::Stopped => Err(NotMerged::ChangedMeanwhile),
        }
    }

    /// Records that nothing was merged. If that fails, the next start does it.
    pub fn give_up(&mut self, path: &[u8]) {
        self.entry(path).merging = None;
        let _ = self.ai_lab.write(&mut self.manifest);
    }

    /// Records the image's version as the installed one.
    pub fn write_installed(&mut self, path: &[u8], new: &[u8]) -> Result<(), Errno> {
        let staged = self.stage_installed(path, new)?;
        self.put_in_place(staged)
    }

    /// Writes the record with the image's version as the installed one under temporary names.
    fn stage_installed(&mut self, path: &[u8], new: &[u8]) -> Result<StagedRecord, Errno> {
        let digest = Digest::of(new);
        let mut manifest = self.manifest.clone();
        let entry = manifest.entries.entry(path.to_vec()).or_default();
        set_installed(entry, new, self.base);
        entry.merging = None;
        let version = self.version.as_deref();
        if let Ok(notebook) = Notebook::parse(new) {
            self.cells.insert(path, digest, version, notebook);
        }
        let cells = self.cells.stage(&manifest)?;
        let manifest = self.ai_lab.stage(&mut manifest)?;
        Ok(StagedRecord { manifest, cells })
    }

    fn put_in_place(&mut self, staged: StagedRecord) -> Result<(), Errno> {
        if let Some(manifest) = staged.manifest {
            self.ai_lab.put_in_place(manifest)?;
        }
        staged.cells.map_or(Ok(()), StagedText::put_in_place)
    }
}

/// Records the image's version as the installed one, and that from which the person's file comes.
fn set_installed(entry: &mut Entry, new: &[u8], base: Option<Digest>) {
    entry.earlier = base;
    entry.installed = Some(content(new));
    entry.in_volume = Some(Stamp::of_size(new.len() as u64));
    entry.in_image = None;
    entry.yours = None;
}

/// A record under temporary names.
struct StagedRecord {
    /// `None`: nothing changes.
    manifest: Option<StagedManifest>,
    /// The same for the cells.
    cells: Option<StagedText>,
}
