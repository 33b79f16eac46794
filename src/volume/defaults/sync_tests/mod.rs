//! Starts on real directories: what a row of the decision table means for the files.

#![allow(clippy::unwrap_used)]

mod anything;
mod ground;
mod killed;
mod kinds;
mod meanwhile;
mod news;
mod only_run;
mod rows;
mod stamps;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::FileType;

use super::*;
use crate::settings::{DeletedNotebooks, UpdateNotebooks};
use crate::volume::defaults::manifest::{Content, Digest, Entry, KeptCopy};
use crate::volume::testing::{
    FileSystem, Mounted, UID, as_user, changed, mount_read_only, mount_tmpfs, node, owner, path,
    tree_of, wait_past_ctime, with_mounts,
};

/// The defaults of an image, and a volume.
struct Lab {
    dir: tempfile::TempDir,
    /// The volume, if it is a mounted file system.
    mounted: Option<Mounted>,
    version: Option<String>,
    update: UpdateNotebooks,
    deleted: DeletedNotebooks,
    limits: Limits,
}

impl Lab {
    /// Makes an image of version 1.0.0 with these defaults, and an empty volume.
    fn new(files: &[(&str, &str)]) -> Self {
        let lab = Self {
            // In memory, where flushing costs nothing: the tests make many starts.
            dir: tempfile::tempdir_in("/dev/shm").unwrap(),
            mounted: None,
            version: None,
            update: UpdateNotebooks::Unmodified,
            deleted: DeletedNotebooks::Restore,
            limits: Limits::USUAL,
        };
        fs::create_dir(lab.volume("")).unwrap();
        lab.image("1.0.0", files)
    }

    /// Makes a lab whose volume is a file system of this kind.
    fn on(kind: FileSystem, files: &[(&str, &str)]) -> Self {
        Self {
            mounted: Some(kind.mount()),
            ..Self::new(files)
        }
    }

    fn policy(self, update: UpdateNotebooks, deleted: DeletedNotebooks) -> Self {
        Self {
            update,
            deleted,
            ..self
        }
    }

    fn volume(&self, name: &str) -> PathBuf {
        let volume = self.mounted.as_ref().map(Mounted::path);
        volume
            .unwrap_or_else(|| self.dir.path().join("volume"))
            .join(name)
    }

    fn source(&self, name: &str) -> PathBuf {
        self.dir.path().join("source").join(name)
    }

    /// Replaces the image by one with other defaults and another version.
    fn image(mut self, version: &str, files: &[(&str, &str)]) -> Self {
        self.version = Some(version.to_owned());
        let _ = fs::remove_dir_all(self.source(""));
        fs::create_dir(self.source("")).unwrap();
        for (name, text) in files {
            fs::create_dir_all(self.source(name).parent().unwrap()).unwrap();
            fs::write(self.source(name), text).unwrap();
        }
        self
    }

    fn defaults(&self) -> Defaults {
        Defaults {
            source: self.source(""),
            volume: self.volume(""),
            image_version: self.version.clone(),
            update: self.update,
            deleted: self.deleted,
            mode: 0o644,
        }
    }

    fn try_start(&self) -> Result<Summary, VolumeError> {
        self.start_until(&|| false)
    }

    fn start_until(&self, stop: &dyn Fn() -> bool) -> Result<Summary, VolumeError> {
        bring_in_with(&self.defaults(), self.limits, &|_| true, stop, &mut |_| {})
    }

    fn start(&self) -> Summary {
        self.try_start().unwrap()
    }

    /// Runs a start that reports exactly this summary, and no degradation.
    fn starts(&self, summary: &str) -> &Self {
        let got = self.start();
        assert_eq!(got.to_string(), format!("notebooks: {summary}"));
        assert_eq!(got.degradations, []);
        self
    }

    /// Runs a start that calls `tamper` from `stop`, while a [`big`] file of the image is read.
    fn start_while(&self, tamper: impl Fn(u32)) -> Summary {
        let calls = Cell::new(0);
        let stop = || {
            calls.set(calls.get() + 1);
            tamper(calls.get());
            false
        };
        let summary = self.start_until(&stop).unwrap();
        assert!(calls.get() > 0);
        summary
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.volume(name), text).unwrap();
        self
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.volume(name)).unwrap()
    }

    /// Returns everything in the volume except `.ai-lab` and the news.
    fn all(&self) -> BTreeMap<String, String> {
        let all = tree_of(&self.volume("")).into_iter();
        let all = all.filter(|(name, text)| {
            let is_news =
                text.starts_with("# What is new") && name == crate::volume::NEWS.as_bytes();
            !name.starts_with(b".ai-lab/") && name != b".ai-lab" && !is_news
        });
        all.map(|(name, text)| (String::from_utf8_lossy(&name).into_owned(), text))
            .collect()
    }

    /// Returns the paths of everything in `.ai-lab` except `.gitignore`.
    fn in_ai_lab(&self) -> Vec<String> {
        let all = tree_of(&self.volume(".ai-lab")).into_keys();
        let all = all.filter(|name| name != b".gitignore");
        all.map(|name| String::from_utf8(name).unwrap()).collect()
    }

    fn holds(&self, files: &[(&str, &str)]) -> &Self {
        let files = files.iter();
        let files = files.map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        assert_eq!(self.all(), files.collect());
        self
    }

    fn manifest(&self) -> Manifest {
        let text = fs::read(self.volume(".ai-lab/manifest.sha256")).unwrap();
        Manifest::parse(&text).unwrap()
    }

    fn entry(&self, name: &str) -> Entry {
        self.manifest().entries[name.as_bytes()].clone()
    }

    fn write_manifest(&self, manifest: &Manifest) {
        fs::write(self.volume(".ai-lab/manifest.sha256"), manifest.render()).unwrap();
    }
}

fn file(text: &str) -> Content {
    Content::File(Digest::of(text.as_bytes()))
}

fn causes(summary: &Summary) -> String {
    let causes: Vec<&str> = summary
        .degradations
        .iter()
        .map(|degradation| degradation.cause.as_str())
        .collect();
    causes.join("\n")
}

const TWO: &[(&str, &str)] = &[("a.ipynb", "a1"), ("dir/b.ipynb", "b1")];

/// Runs two starts, late enough that the stamps of both sides are recorded.
fn stamped(lab: &Lab, name: &str) {
    wait_past_ctime(&lab.source(name));
    lab.start();
    wait_past_ctime(&lab.volume(name));
    lab.start();
    let entry = lab.entry(name);
    assert!(entry.in_volume.is_some() && entry.in_image.is_some());
}

/// Returns a text longer than the read buffer, so that `stop` is asked while it is read.
fn big(byte: char) -> String {
    byte.to_string().repeat(300 << 10)
}
