#![allow(clippy::unwrap_used)]

mod files;
mod policies;
mod trees;

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, StatxFlags};

use super::*;
use crate::volume::REPORT_EVERY;
use crate::volume::ownership::walk::OPEN_LEVELS;
use crate::volume::testing::{
    GID, UID, changed, mount_read_only, mount_tmpfs, node, owner, path, wait_past_ctime,
    with_mounts,
};
use crate::volume::tree::MISSING_STAT_FIELDS;

/// A volume with a directory outside it, on the same file system.
struct TestVolume {
    dir: tempfile::TempDir,
}

impl TestVolume {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("volume")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        Self { dir }
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.dir.path().join("volume").join(name)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.dir.path().join("outside").join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        let path = self.volume(name);
        fs::write(&path, name).unwrap();
        path
    }

    fn claim(&self, policy: VolumeOwner) -> Result<Claimed, VolumeError> {
        claim_at(&self.volume(""), policy)
    }

    fn chown(&self) -> Claimed {
        self.claim(VolumeOwner::Chown).unwrap()
    }
}

fn claim_at(directory: &Path, policy: VolumeOwner) -> Result<Claimed, VolumeError> {
    let root = Root::detect().unwrap();
    let request = Claim {
        directory: directory.to_owned(),
        policy,
        uid: UID,
        gid: GID,
    };
    claim(&root, &request, Effects::Make, &|| false, &mut |_| {})
}

fn causes(claimed: &Claimed) -> String {
    let causes: Vec<&str> = claimed
        .degradations
        .iter()
        .map(|degradation| degradation.cause.as_str())
        .collect();
    causes.join("\n")
}

fn is_users(path: &Path) -> bool {
    let (uid, gid, _) = owner(path);
    (uid, gid) == (UID, GID)
}
