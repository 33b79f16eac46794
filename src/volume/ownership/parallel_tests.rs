#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::*;
use crate::identity::Root;
use crate::settings::VolumeOwner;
use crate::sys::effects::Effects;
use crate::volume::ownership::claim::claim;
use crate::volume::testing::{GID, UID, owner, wait_past_ctime};

/// Hands a volume over, and stops once `stop` entries are reported as done.
fn hand(volume: &Path, stop: u64) -> (Result<Claimed, VolumeError>, Vec<u64>) {
    let request = Claim {
        directory: volume.to_owned(),
        policy: VolumeOwner::Chown,
        uid: UID,
        gid: GID,
    };
    let (done, told) = (Cell::new(0), Cell::new(Vec::new()));
    let claimed = claim(
        &Root::detect().unwrap(),
        &request,
        Effects::Make,
        &|| done.get() >= stop,
        &mut |progress| {
            done.set(progress.done);
            let mut all = told.take();
            all.push(progress.done);
            told.set(all);
        },
    );
    (claimed, told.into_inner())
}

/// Makes nested directories with files and links. Returns the number of entries.
fn grow(top: &Path, files: u32) -> u64 {
    let mut entries = 1;
    for number in 0..40 {
        let dir = top.join(format!("{number}/{}/deep", number % 7));
        fs::create_dir_all(&dir).unwrap();
        entries += 3;
        for file in 0..files {
            fs::write(dir.join(format!("{file}")), "").unwrap();
            entries += 1;
        }
        if number > 0 {
            let first = top.join("0/0/deep/0");
            fs::hard_link(first, dir.join("link")).unwrap();
            entries += 1;
        }
    }
    wait_past_ctime(&top.join("0/0/deep/0"));
    entries
}

fn all_are_users(dir: &Path) -> bool {
    let (uid, gid, _) = owner(dir);
    let below = fs::read_dir(dir).unwrap().all(|entry| {
        let entry = entry.unwrap();
        let (uid, gid, _) = owner(&entry.path());
        match entry.file_type().unwrap().is_dir() {
            true => all_are_users(&entry.path()),
            false => (uid, gid) == (UID, GID),
        }
    });
    below && (uid, gid) == (UID, GID)
}

#[test]
fn a_large_volume_is_handed_over_as_a_whole() {
    let volume = tempfile::tempdir().unwrap();
    let entries = grow(volume.path(), 150);
    assert!(
        entries > SINGLE_THREAD_ENTRIES,
        "one thread does not do it alone"
    );
    let (claimed, told) = hand(volume.path(), u64::MAX);
    let claimed = claimed.unwrap();
    // One file has 40 names.
    let changed = entries - 39;
    assert_eq!((claimed.checked, claimed.changed), (entries, changed));
    assert_eq!(claimed.degradations.len(), 0);
    assert!(all_are_users(volume.path()));
    assert!(told.is_sorted(), "{told:?}");
    assert!(told.last().unwrap() > &SINGLE_THREAD_ENTRIES, "{told:?}");
    let (again, _) = hand(volume.path(), u64::MAX);
    let again = again.unwrap();
    assert_eq!((again.checked, again.changed), (entries, 0));
}

#[test]
fn what_has_a_link_outside_stays_whoever_finds_its_names() {
    let ground = tempfile::tempdir().unwrap();
    let volume = ground.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let entries = grow(&volume, 150);
    let outside = ground.path().join("outside");
    fs::hard_link(volume.join("0/0/deep/0"), &outside).unwrap();
    let claimed = hand(&volume, u64::MAX).0.unwrap();
    assert_eq!((claimed.checked, claimed.changed), (entries, entries - 40));
    assert_eq!(owner(&outside).0, 0);
    let cause = &claimed.degradations[0].cause;
    assert!(cause.starts_with("did not hand over files that have links outside the volume: 1,"));
}

#[test]
fn a_deep_volume_is_handed_over_to_its_end() {
    let volume = tempfile::tempdir().unwrap();
    let mut dir = volume.path().to_owned();
    let mut entries = 1;
    for _ in 0..2 * crate::volume::ownership::walk::OPEN_LEVELS {
        for file in 0..20 {
            fs::write(dir.join(format!("{file}")), "").unwrap();
            fs::create_dir(dir.join(format!("side-{file}"))).unwrap();
        }
        dir.push("d");
        fs::create_dir(&dir).unwrap();
        entries += 41;
    }
    let claimed = hand(volume.path(), u64::MAX).0.unwrap();
    assert_eq!((claimed.checked, claimed.changed), (entries, entries));
    assert!(all_are_users(volume.path()));
}

#[test]
fn a_stop_ends_all_threads() {
    let volume = tempfile::tempdir().unwrap();
    let entries = grow(volume.path(), 400);
    let (claimed, told) = hand(volume.path(), SINGLE_THREAD_ENTRIES + 1);
    assert!(matches!(claimed, Err(VolumeError::Stopped)), "{told:?}");
    // Each thread reports once or twice more before it sees the stop.
    assert!(
        told.last().unwrap() + SINGLE_THREAD_ENTRIES < entries,
        "{told:?}"
    );
}

/// Renaming a directory does not update the ctime of the files in it.
#[test]
fn a_directory_that_is_moved_ahead_of_the_walk_makes_no_second_link() {
    let ground = tempfile::tempdir().unwrap();
    let volume = ground.path().join("volume");
    let inside = |side: &str| volume.join(side).join("e/x");
    let outside = |side: &str| ground.path().join(side);
    for side in ["a", "b"] {
        fs::create_dir_all(inside(side).parent().unwrap()).unwrap();
        fs::write(inside(side), "").unwrap();
        fs::hard_link(inside(side), outside(side)).unwrap();
    }
    wait_past_ctime(&outside("b"));
    let dir = OwnedFd::from(fs::File::open(&volume).unwrap());
    let common = WalkContext {
        claim: &Claim {
            directory: volume.clone(),
            policy: VolumeOwner::Chown,
            uid: UID,
            gid: GID,
        },
        top: tree::stat_fd(&dir).unwrap(),
        mounts: HashSet::new(),
        chown_mode: ChownMode::Apply,
        links: Links::default(),
        chown_works: OnceLock::new(),
    };
    let mut tell = |_| true;
    let mut walk = Walk::new(&common, &mut tell);
    let mut rest = walk.begin(dir).unwrap();
    let mut moved = false;
    let seen = |side: &str| {
        let ino = fs::metadata(outside(side)).unwrap().ino();
        lock(&common.links.found)
            .keys()
            .any(|inode| inode.ino == ino)
    };
    let walked = walk.run(&mut rest, |_, _| {
        for (first, other) in [("a", "b"), ("b", "a")] {
            if !moved && seen(first) {
                let to = volume.join(other).join("again");
                fs::rename(volume.join(first).join("e"), to).unwrap();
                moved = true;
            }
        }
        false
    });
    walked.unwrap();
    assert!(moved && walk.walk_counts.checked > 7, "it was seen twice");
    assert_eq!((owner(&outside("a")).0, owner(&outside("b")).0), (0, 0));
}
