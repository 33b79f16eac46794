#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::*;
use crate::volume::defaults::manifest::{Content, Digest, Entry};
use crate::volume::testing::{as_user, mount_read_only, tree_of, with_mounts};

/// Longer than any manifest in these tests, in bytes.
const LONGEST: u64 = 1 << 20;

struct Volume(tempfile::TempDir);

impl Volume {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(".ai-lab").join(name)
    }

    fn open_with(
        &self,
        limit: Duration,
        stop: bool,
    ) -> (Result<OpenedDir, VolumeError>, Vec<String>) {
        open_at(self.0.path(), limit, stop)
    }

    fn open(&self) -> Box<AiLabDir> {
        match self.open_with(Duration::ZERO, false) {
            (Ok(OpenedDir::Dir(ai_lab)), _) => ai_lab,
            _ => panic!("no ai_lab"),
        }
    }
}

fn open_at(
    volume: &Path,
    limit: Duration,
    stop: bool,
) -> (Result<OpenedDir, VolumeError>, Vec<String>) {
    let mut volume = Tree::new(tree::open_top(volume).unwrap());
    let mut told = Vec::new();
    let opened = open(&mut volume, limit, &|| stop, &mut told);
    let told = told.into_iter().map(|degradation| degradation.cause);
    (opened, told.collect())
}

fn manifest(names: &[(&str, &str)]) -> Manifest {
    let mut manifest = Manifest::default();
    for (name, text) in names {
        let entry = Entry {
            installed: Some(Content::File(Digest::of(text.as_bytes()))),
            ..Entry::default()
        };
        manifest.entries.insert(name.as_bytes().to_vec(), entry);
    }
    manifest
}

#[test]
fn keeps_a_manifest() {
    let volume = Volume::new();
    let mut told = Vec::new();
    let mut ai_lab = volume.open();
    assert!(ai_lab.locked);
    assert_eq!(
        ai_lab.read(LONGEST, &|| false, &mut told),
        Ok(Manifest::default())
    );
    let mut kept = manifest(&[("a", "x")]);
    ai_lab.write(&mut kept).unwrap();
    drop(ai_lab);
    let mut ai_lab = volume.open();
    assert_eq!(ai_lab.read(LONGEST, &|| false, &mut told), Ok(kept));
    assert_eq!(told, []);
    let names: Vec<_> = tree_of(&volume.at("")).into_keys().collect();
    assert_eq!(names, [&b".gitignore"[..], b"lock", b"manifest.sha256"]);
}

#[test]
fn an_unchanged_manifest_is_not_written() {
    let volume = Volume::new();
    let mut ai_lab = volume.open();
    ai_lab.write(&mut manifest(&[("a", "x")])).unwrap();
    let inode = |volume: &Volume| {
        use std::os::unix::fs::MetadataExt;
        volume.at("manifest.sha256").metadata().unwrap().ino()
    };
    let before = inode(&volume);
    ai_lab.write(&mut manifest(&[("a", "x")])).unwrap();
    assert_eq!(inode(&volume), before);
    ai_lab.write(&mut manifest(&[("a", "y")])).unwrap();
    assert_ne!(inode(&volume), before);
}

#[test]
fn a_damaged_manifest_is_set_aside() {
    for damaged in [&b"garbage"[..], b"# ai-lab notebooks 1\ncut short", b""] {
        let volume = Volume::new();
        let mut ai_lab = volume.open();
        std::fs::write(volume.at("manifest.sha256"), damaged).unwrap();
        let mut told = Vec::new();
        assert_eq!(
            ai_lab.read(LONGEST, &|| false, &mut told),
            Ok(Manifest::default())
        );
        assert_eq!(told.len(), 1);
        assert!(told[0].cause.contains("set aside"), "{}", told[0]);
        let aside = std::fs::read(volume.at("manifest.sha256.damaged")).unwrap();
        assert_eq!(aside, damaged);
        assert!(!volume.at("manifest.sha256").exists());
    }
}

#[test]
fn a_manifest_that_is_no_file_is_set_aside_and_not_followed() {
    let volume = Volume::new();
    let mut ai_lab = volume.open();
    let outside = tempfile::NamedTempFile::new().unwrap();
    let theirs = manifest(&[("a", "x")]).render();
    std::fs::write(outside.path(), &theirs).unwrap();
    std::os::unix::fs::symlink(outside.path(), volume.at("manifest.sha256")).unwrap();
    let mut told = Vec::new();
    assert_eq!(
        ai_lab.read(LONGEST, &|| false, &mut told),
        Ok(Manifest::default())
    );
    assert_eq!(told.len(), 1);
    ai_lab.write(&mut manifest(&[("b", "y")])).unwrap();
    assert_eq!(std::fs::read(outside.path()).unwrap(), theirs);
    assert!(
        volume
            .at("manifest.sha256")
            .symlink_metadata()
            .unwrap()
            .is_file()
    );
}

#[test]
fn a_newer_manifest_is_neither_read_nor_overwritten() {
    let volume = Volume::new();
    let newer = b"# ai-lab notebooks 2\nwhatever\n";
    let mut ai_lab = volume.open();
    std::fs::write(volume.at("manifest.sha256"), newer).unwrap();
    let refused = ai_lab
        .read(LONGEST, &|| false, &mut Vec::new())
        .unwrap_err();
    let NotRead::Unusable(refused) = refused else {
        panic!("stopped");
    };
    assert!(refused.cause.contains("newer version"), "{refused}");
    // As if it had appeared while we worked without the lock.
    ai_lab.locked = false;
    ai_lab.write(&mut manifest(&[("a", "x")])).unwrap();
    let now = std::fs::read(volume.at("manifest.sha256")).unwrap();
    assert_eq!(now, newer);
}

#[test]
fn without_a_lock_what_others_wrote_is_merged() {
    let volume = Volume::new();
    let mut first = volume.open();
    let base = manifest(&[("both", "old"), ("mine", "old"), ("theirs", "old")]);
    first.write(&mut base.clone()).unwrap();
    let mut second = volume.open();
    assert!(!second.locked);
    second.read(LONGEST, &|| false, &mut Vec::new()).unwrap();

    let mut theirs = manifest(&[("both", "theirs"), ("mine", "old"), ("theirs", "new")]);
    theirs
        .entries
        .append(&mut manifest(&[("added", "x")]).entries);
    theirs.image = Some("2.0.0".into());
    first.write(&mut theirs).unwrap();

    let mut ours = manifest(&[("both", "ours"), ("mine", "new"), ("theirs", "old")]);
    ours.image = Some("1.0.0".into());
    second.write(&mut ours).unwrap();

    let mut expected = manifest(&[
        ("added", "x"),
        ("both", "ours"),
        ("mine", "new"),
        ("theirs", "new"),
    ]);
    expected.image = Some("2.0.0".into());
    drop(first);
    let read = volume.open().read(LONGEST, &|| false, &mut Vec::new());
    assert_eq!(read, Ok(expected));
}

#[test]
fn without_a_lock_the_image_that_another_noted_stays_noted() {
    let volume = Volume::new();
    let mut first = volume.open();
    let mut base = manifest(&[]);
    base.image = Some("1.0.0".into());
    first.write(&mut base).unwrap();
    let mut second = volume.open();
    second.read(LONGEST, &|| false, &mut Vec::new()).unwrap();
    let mut theirs = base.clone();
    theirs.image = Some("not to be compared".into());
    first.write(&mut theirs).unwrap();
    let mut ours = manifest(&[("a", "x")]);
    ours.image = base.image;
    second.write(&mut ours).unwrap();
    assert_eq!(ours.image, theirs.image);
}

#[test]
fn waits_no_longer_for_the_lock_than_it_must() {
    let volume = Volume::new();
    let held = volume.open();
    let (opened, told) = volume.open_with(Duration::from_millis(30), false);
    assert!(matches!(opened, Ok(OpenedDir::Dir(ai_lab)) if !ai_lab.locked));
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("holds .ai-lab/lock"), "{told:?}");
    let (opened, _) = volume.open_with(Duration::from_secs(3600), true);
    assert!(matches!(opened, Err(VolumeError::Stopped)));
    drop(held);
    assert!(volume.open().locked);
}

#[test]
fn gets_the_lock_when_the_other_lets_go() {
    let volume = Volume::new();
    let held = volume.open();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| volume.open_with(Duration::from_secs(60), false));
        drop(held);
        let (opened, told) = waiting.join().unwrap();
        assert!(matches!(opened, Ok(OpenedDir::Dir(ai_lab)) if ai_lab.locked));
        assert_eq!(told.len(), 0);
    });
}

#[test]
fn no_link_is_followed() {
    let outside = tempfile::tempdir().unwrap();
    for target in [outside.path(), Path::new("/nowhere/at/all")] {
        let volume = Volume::new();
        std::os::unix::fs::symlink(target, volume.0.path().join(".ai-lab")).unwrap();
        let (opened, _) = volume.open_with(Duration::ZERO, false);
        let Ok(OpenedDir::Without(why)) = opened else {
            panic!("opened");
        };
        assert!(why.cause.contains(".ai-lab is a link"), "{why}");
    }
    let volume = Volume::new();
    std::fs::create_dir(volume.0.path().join(".ai-lab")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("lock"), volume.at("lock")).unwrap();
    let (opened, _) = volume.open_with(Duration::ZERO, false);
    assert!(matches!(opened, Ok(OpenedDir::Without(_))));
    assert_eq!(tree_of(outside.path()).len(), 0);
}

#[test]
fn a_fifo_for_a_lock_blocks_nobody() {
    let volume = Volume::new();
    std::fs::create_dir(volume.0.path().join(".ai-lab")).unwrap();
    crate::volume::testing::node(&volume.at("lock"), FileType::Fifo);
    let (opened, _) = volume.open_with(Duration::ZERO, false);
    assert!(matches!(opened, Ok(OpenedDir::Without(_))));
}

#[test]
fn a_read_only_volume_is_told_from_one_that_may_not_be_written() {
    let volume = Volume::new();
    with_mounts(|| {
        mount_read_only(volume.0.path());
        let (opened, _) = volume.open_with(Duration::ZERO, false);
        assert!(matches!(opened, Ok(OpenedDir::ReadOnly)));
    });
    drop(volume.open());
    with_mounts(|| {
        mount_read_only(volume.0.path());
        let (opened, _) = volume.open_with(Duration::ZERO, false);
        assert!(matches!(opened, Ok(OpenedDir::ReadOnly)));
    });
    // Root's directory, which the user may only read.
    let volume = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let (opened, _) = as_user(|| open_at(volume.path(), Duration::ZERO, false));
    let Ok(OpenedDir::Without(why)) = opened else {
        panic!("opened");
    };
    let told = "nothing can be saved there";
    assert!(why.cause.contains(told), "{why}");
}

#[test]
fn a_killed_start_is_remembered() {
    let volume = Volume::new();
    let mut ai_lab = volume.open();
    assert_eq!(ai_lab.mark(), Some(Mark::Nothing));
    for mark in [Mark::Temporary, Mark::Reserved] {
        ai_lab.mark_at_least(mark);
        drop(ai_lab);
        ai_lab = volume.open();
        assert_eq!(ai_lab.mark(), Some(mark));
        ai_lab.mark_at_least(Mark::Temporary);
        assert_eq!(ai_lab.mark(), Some(mark));
        ai_lab.clear_mark();
        assert_eq!(ai_lab.mark(), Some(Mark::Nothing));
    }
    // Another start holds the lock: the temporary files may be its own.
    ai_lab.mark_at_least(Mark::Temporary);
    assert_eq!(volume.open().mark(), None);
    // A start without the lock does not change the mark of the start that holds it.
    volume.open().clear_mark();
    assert_eq!(ai_lab.mark(), Some(Mark::Temporary));
    ai_lab.clear_mark();
    volume.open().mark_at_least(Mark::Temporary);
    assert_eq!(ai_lab.mark(), Some(Mark::Nothing));
}
