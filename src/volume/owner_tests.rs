#![allow(clippy::unwrap_used)]

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode};

use super::*;
use crate::volume::REPORT_EVERY;
use crate::volume::testing::{
    GID, UID, changed, mount_read_only, mount_tmpfs, node, owner, path, settle, with_mounts,
};
use crate::volume::walk::OPEN_LEVELS;

/// A volume with a directory outside it, on the same file system.
struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
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
    claim(&root, &request, &|| false, &mut |_| {})
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

#[test]
fn everything_becomes_the_users() {
    let ground = Ground::new();
    fs::create_dir_all(ground.volume("a/b/c")).unwrap();
    let odd = ground.volume("a/b").join(path(b"new\nline \xff"));
    fs::write(&odd, "x").unwrap();
    let claimed = ground.chown();
    for path in ["", "a", "a/b", "a/b/c"] {
        assert!(is_users(&ground.volume(path)), "{path}");
    }
    assert!(is_users(&odd));
    assert_eq!((claimed.checked, claimed.changed), (5, 5));
    assert_eq!(causes(&claimed), "");
    assert!(!claimed.created);
}

#[test]
fn what_is_the_users_already_costs_no_write() {
    let ground = Ground::new();
    fs::create_dir(ground.volume("dir")).unwrap();
    ground.file("dir/file");
    symlink("file", ground.volume("dir/link")).unwrap();
    ground.chown();
    // Another group is the user's own business.
    lchown(ground.volume("dir/file"), Some(UID), Some(GID + 1)).unwrap();
    let paths = ["", "dir", "dir/file", "dir/link"].map(|name| ground.volume(name));
    paths.iter().for_each(|path| settle(path));
    let before = paths.each_ref().map(|path| changed(path));
    let claimed = ground.chown();
    assert_eq!((claimed.checked, claimed.changed), (4, 0));
    assert_eq!(paths.each_ref().map(|path| changed(path)), before);
    assert_eq!(owner(&paths[2]).1, GID + 1);
}

#[test]
fn uid_and_gid_are_set_together() {
    let ground = Ground::new();
    let file = ground.file("file");
    chown(&file, Some(UID + 1), Some(GID + 1)).unwrap();
    ground.chown();
    assert!(is_users(&file));
}

#[test]
fn no_link_is_followed() {
    let ground = Ground::new();
    fs::create_dir(ground.outside("dir")).unwrap();
    fs::write(ground.outside("dir/file"), "").unwrap();
    fs::write(ground.outside("file"), "").unwrap();
    symlink(ground.outside("file"), ground.volume("to-file")).unwrap();
    symlink(ground.outside("dir"), ground.volume("to-dir")).unwrap();
    symlink("/nowhere", ground.volume("dangling")).unwrap();
    symlink("loop", ground.volume("loop")).unwrap();
    let names = ["", "file", "dir", "dir/file"];
    let before = names.map(|name| (owner(&ground.outside(name)), changed(&ground.outside(name))));
    let claimed = ground.chown();
    let after = names.map(|name| (owner(&ground.outside(name)), changed(&ground.outside(name))));
    assert_eq!(after, before);
    for link in ["to-file", "to-dir", "dangling", "loop"] {
        assert!(is_users(&ground.volume(link)), "{link}");
    }
    assert_eq!(causes(&claimed), "");
}

#[test]
fn a_file_with_a_link_outside_is_not_handed_over() {
    let ground = Ground::new();
    fs::write(ground.outside("shadow"), "secret").unwrap();
    for link in ["one", "two"] {
        fs::hard_link(ground.outside("shadow"), ground.volume(link)).unwrap();
    }
    settle(&ground.outside("shadow"));
    let before = changed(&ground.outside("shadow"));
    let claimed = ground.chown();
    assert_eq!(owner(&ground.outside("shadow")).0, 0);
    assert_eq!(changed(&ground.outside("shadow")), before);
    assert!(causes(&claimed).contains("links outside the volume: 1, first"));
}

#[test]
fn a_file_with_all_its_links_in_the_volume_is_handed_over() {
    let ground = Ground::new();
    fs::create_dir(ground.volume("dir")).unwrap();
    let file = ground.file("one");
    fs::hard_link(&file, ground.volume("two")).unwrap();
    fs::hard_link(&file, ground.volume("dir/three")).unwrap();
    let link = ground.volume("link");
    symlink("/etc/shadow", &link).unwrap();
    fs::hard_link(&link, ground.volume("dir/link")).unwrap();
    settle(&file);
    settle(&link);
    let claimed = ground.chown();
    assert!(is_users(&file));
    assert!(is_users(&link));
    assert_eq!(causes(&claimed), "");
    assert_eq!((claimed.checked, claimed.changed), (7, 4));
}

#[test]
fn a_name_that_moves_ahead_of_the_walk_does_not_stand_for_one_outside() {
    let ground = Ground::new();
    fs::write(ground.outside("shadow"), "secret").unwrap();
    fs::create_dir(ground.volume("later")).unwrap();
    fs::hard_link(ground.outside("shadow"), ground.volume("name")).unwrap();
    // Enough to be asked whether to stop between the first sight of the name and
    // the directory that it moves to.
    for number in 0..2 * REPORT_EVERY {
        fs::write(ground.volume(&format!("{number}")), "").unwrap();
    }
    settle(&ground.outside("shadow"));
    let root = Root::detect().unwrap();
    let request = Claim {
        directory: ground.volume(""),
        policy: VolumeOwner::Chown,
        uid: UID,
        gid: GID,
    };
    // Directories are entered after the entries beside them.
    let moved = AtomicBool::new(false);
    let claimed = claim(&root, &request, &|| false, &mut |progress| {
        if progress.done >= 2 * REPORT_EVERY {
            let to = ground.volume("later/name");
            moved.fetch_or(
                fs::rename(ground.volume("name"), to).is_ok(),
                Ordering::Relaxed,
            );
        }
    });
    let claimed = claimed.unwrap();
    assert!(moved.into_inner());
    assert_eq!(owner(&ground.outside("shadow")).0, 0);
    assert!(causes(&claimed).contains("links outside the volume: 1, first"));
}

#[test]
fn a_setuid_file_does_not_become_the_users_setuid_file() {
    let ground = Ground::new();
    let program = ground.file("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let shared = ground.volume("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    ground.chown();
    assert_eq!(owner(&program), (UID, GID, 0o755));
    // On a directory it says whose group new files get.
    assert_eq!(owner(&shared), (UID, GID, 0o2775));
    // The user's own keeps its bits.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    ground.chown();
    assert_eq!(owner(&program), (UID, GID, 0o4755));
}

#[test]
fn special_files_block_nobody_and_devices_stay_roots() {
    let ground = Ground::new();
    node(&ground.volume("fifo"), FileType::Fifo);
    node(&ground.volume("socket"), FileType::Socket);
    node(&ground.volume("null"), FileType::CharacterDevice);
    node(&ground.volume("disk"), FileType::BlockDevice);
    let claimed = ground.chown();
    assert!(is_users(&ground.volume("fifo")));
    assert!(is_users(&ground.volume("socket")));
    assert_eq!(owner(&ground.volume("null")).0, 0);
    assert_eq!(owner(&ground.volume("disk")).0, 0);
    assert!(causes(&claimed).starts_with("did not hand over device nodes: 2, first"));
}

#[test]
fn other_mounts_are_not_entered_and_are_told() {
    let ground = Ground::new();
    let mount = ground.volume("mount");
    fs::create_dir(&mount).unwrap();
    let file = ground.file("file");
    ground.file("after");
    fs::write(ground.outside("bound"), "").unwrap();
    fs::create_dir(ground.outside("dir")).unwrap();
    fs::create_dir(ground.volume("dir")).unwrap();
    fs::write(ground.outside("dir/file"), "").unwrap();
    with_mounts(|| {
        mount_tmpfs(&mount, "1m");
        fs::write(mount.join("inside"), "").unwrap();
        fs::write(mount.join("inside too"), "").unwrap();
        // On the same file system, so that the device says nothing.
        rustix::mount::mount_bind(ground.outside("bound"), &file).unwrap();
        rustix::mount::mount_bind(ground.outside("dir"), ground.volume("dir")).unwrap();
        let claimed = ground.chown();
        assert_eq!(owner(&mount).0, 0);
        assert_eq!(owner(&mount.join("inside")).0, 0);
        assert!(causes(&claimed).starts_with("did not enter other mounts inside the volume: 3"));
    });
    for name in ["bound", "dir", "dir/file"] {
        assert_eq!(owner(&ground.outside(name)).0, 0, "{name}");
    }
    assert!(is_users(&ground.volume("after")));
}

#[test]
fn what_the_file_system_refuses_is_told_once() {
    let ground = Ground::new();
    for name in ["a", "b", "c"] {
        ground.file(name);
    }
    with_mounts(|| {
        mount_read_only(&ground.volume(""));
        let claimed = ground.chown();
        assert_eq!(claimed.changed, 0);
        let causes = causes(&claimed);
        assert!(
            causes.starts_with("could not hand over to 4321:8765 4 entries"),
            "{causes}"
        );
        assert_eq!(causes.lines().count(), 1);
    });
    assert_eq!(owner(&ground.volume("a")).0, 0);
}

#[test]
fn adopt_takes_the_volumes_owner_and_changes_nothing() {
    let ground = Ground::new();
    let file = ground.file("file");
    chown(ground.volume(""), Some(1000), Some(1001)).unwrap();
    let claimed = ground.claim(VolumeOwner::Adopt).unwrap();
    assert_eq!(claimed.adopted, Some((1000, 1001)));
    assert_eq!(owner(&file).0, 0);
    // Group 0 is replaced by the user's.
    chown(ground.volume(""), Some(1000), Some(0)).unwrap();
    let claimed = ground.claim(VolumeOwner::Adopt).unwrap();
    assert_eq!(claimed.adopted, Some((1000, GID)));
    assert_eq!(owner(&ground.volume("")).1, 0);
}

#[test]
fn adopt_refuses_root() {
    let ground = Ground::new();
    chown(ground.volume(""), Some(0), Some(1001)).unwrap();
    let refused = ground.claim(VolumeOwner::Adopt).unwrap_err();
    assert!(matches!(refused, VolumeError::AdoptRoot(_)));
    assert!(refused.to_string().contains("--volume-owner chown"));
}

#[test]
fn keep_touches_nothing() {
    let ground = Ground::new();
    let file = ground.file("file");
    let before = [changed(&file), changed(&ground.volume(""))];
    let claimed = ground.claim(VolumeOwner::Keep).unwrap();
    assert_eq!([changed(&file), changed(&ground.volume(""))], before);
    assert_eq!((claimed.checked, claimed.changed), (0, 0));
    assert_eq!(owner(&file).0, 0);
}

#[test]
fn a_missing_volume_is_made_for_the_user() {
    for policy in [VolumeOwner::Chown, VolumeOwner::Adopt] {
        let ground = Ground::new();
        let missing = ground.outside("a/b");
        let claimed = claim_at(&missing, policy).unwrap();
        assert!(claimed.created);
        assert_eq!(owner(&missing), (UID, GID, 0o755));
        assert_eq!(owner(&ground.outside("a")), (UID, GID, 0o755));
        assert_eq!(owner(&ground.outside("")).0, 0);
        assert!(!claim_at(&missing, policy).unwrap().created);
    }
}

#[test]
fn the_volume_is_reached_through_links_of_roots_only() {
    let ground = Ground::new();
    fs::create_dir(ground.outside("real")).unwrap();
    let link = ground.outside("link");
    symlink("real", &link).unwrap();
    claim_at(&link, VolumeOwner::Chown).unwrap();
    assert!(is_users(&ground.outside("real")));
    assert_eq!(owner(&link).0, 0);

    // The user's link, as the container's last run may have left it.
    lchown(ground.outside("real"), Some(0), Some(0)).unwrap();
    lchown(&link, Some(UID), Some(GID)).unwrap();
    let refused = claim_at(&link, VolumeOwner::Chown).unwrap_err();
    assert!(matches!(refused, VolumeError::Link { .. }), "{refused}");
    // Root's link, where others can replace it.
    lchown(&link, Some(0), Some(0)).unwrap();
    fs::set_permissions(ground.outside(""), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = claim_at(&link, VolumeOwner::Chown).unwrap_err();
    assert!(matches!(refused, VolumeError::Link { .. }), "{refused}");
    fs::set_permissions(ground.outside(""), fs::Permissions::from_mode(0o755)).unwrap();
    chown(ground.outside(""), Some(UID), None).unwrap();
    let refused = claim_at(&link.join("below"), VolumeOwner::Chown).unwrap_err();
    assert!(matches!(refused, VolumeError::Link { .. }), "{refused}");
    assert_eq!(owner(&ground.outside("real")).0, 0);
    assert!(!ground.outside("real/below").exists());
}

#[test]
fn links_in_a_circle_and_the_whole_file_system_are_refused() {
    let ground = Ground::new();
    symlink("b", ground.outside("a")).unwrap();
    symlink("a", ground.outside("b")).unwrap();
    let refused = claim_at(&ground.outside("a"), VolumeOwner::Chown).unwrap_err();
    assert!(matches!(refused, VolumeError::Open { .. }), "{refused}");
    symlink("/", ground.outside("root")).unwrap();
    for directory in [
        &ground.outside("root"),
        Path::new("/"),
        Path::new("/tmp/.."),
    ] {
        let refused = claim_at(directory, VolumeOwner::Keep).unwrap_err();
        assert!(matches!(refused, VolumeError::Everything), "{refused}");
    }
    fs::write(ground.outside("file"), "").unwrap();
    let refused = claim_at(&ground.outside("file"), VolumeOwner::Keep).unwrap_err();
    assert!(matches!(refused, VolumeError::Open { .. }), "{refused}");
}

#[test]
fn a_tree_deeper_than_what_is_held_open_is_walked_whole() {
    let ground = Ground::new();
    let depth = 3 * OPEN_LEVELS;
    let mut way = ground.volume("");
    for level in 0..depth {
        // One subdirectory before and one after the way down.
        fs::create_dir(way.join("a")).unwrap();
        fs::create_dir(way.join("z")).unwrap();
        fs::write(way.join("file"), "").unwrap();
        way.push(if level % 2 == 0 { "a" } else { "z" });
    }
    let claimed = ground.chown();
    assert_eq!(causes(&claimed), "");
    assert_eq!(claimed.changed, 3 * depth as u64 + 1);
    assert_eq!(ground.chown().changed, 0);
    assert!(is_users(&way));
}

#[test]
fn a_deep_tree_does_not_use_up_the_descriptors() {
    let ground = Ground::new();
    let mut deep = ground.volume("");
    for _ in 0..REPORT_EVERY + 10 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    let open = || {
        let all = fs::read_dir("/proc/self/fd").unwrap();
        all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .filter(|path| path.starts_with(ground.volume("")))
            .count()
    };
    let root = Root::detect().unwrap();
    let request = Claim {
        directory: ground.volume(""),
        policy: VolumeOwner::Chown,
        uid: UID,
        gid: GID,
    };
    let mut seen = Vec::new();
    let claimed = claim(&root, &request, &|| false, &mut |_| seen.push(open())).unwrap();
    assert_eq!(claimed.changed, REPORT_EVERY + 11);
    assert!(
        matches!(seen[..], [open] if (1..OPEN_LEVELS + 2).contains(&open)),
        "{seen:?}"
    );
    assert!(is_users(&deep));
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_walked_whole() {
    let ground = Ground::new();
    let top = fs::File::open(ground.volume("")).unwrap();
    let name = CString::new(vec![b'n'; 200]).unwrap();
    let mut dir = OwnedFd::from(top);
    for _ in 0..40 {
        rustix::fs::mkdirat(&dir, &name, Mode::from(0o755)).unwrap();
        dir = tree::open_dir(&dir, &name).unwrap();
    }
    let claimed = ground.chown();
    assert_eq!((claimed.changed, causes(&claimed).as_str()), (41, ""));
    assert_eq!(tree::look_at(&dir).unwrap().uid, UID);
}

#[test]
fn a_stop_ends_the_walk() {
    let ground = Ground::new();
    for number in 0..2 * REPORT_EVERY {
        fs::write(ground.volume(&format!("{number}")), "").unwrap();
    }
    let root = Root::detect().unwrap();
    let request = Claim {
        directory: ground.volume(""),
        policy: VolumeOwner::Chown,
        uid: UID,
        gid: GID,
    };
    let mut seen = Vec::new();
    let stopped = claim(&root, &request, &|| true, &mut |progress| {
        seen.push(progress.done);
    });
    assert!(matches!(stopped, Err(VolumeError::Stopped)));
    assert_eq!(seen, [REPORT_EVERY]);
}

/// A stranger swaps a directory and a file for links to the outside, and back, as
/// fast as they can, while root walks.
#[test]
fn nothing_outside_changes_however_the_volume_does() {
    let ground = Ground::new();
    fs::create_dir(ground.outside("dir")).unwrap();
    for number in 0..20 {
        fs::write(ground.outside(&format!("dir/{number}")), "").unwrap();
    }
    fs::write(ground.outside("file"), "").unwrap();
    let outside = || {
        let all = ["", "dir", "file"].map(String::from).into_iter();
        all.chain((0..20).map(|number| format!("dir/{number}")))
            .map(|name| {
                (
                    owner(&ground.outside(&name)),
                    changed(&ground.outside(&name)),
                )
            })
            .collect::<Vec<_>>()
    };
    let before = outside();

    // The same names inside, and a link with each name to swap it for.
    fs::create_dir(ground.volume("dir")).unwrap();
    for number in 0..20 {
        ground.file(&format!("dir/{number}"));
    }
    ground.file("file");
    symlink(ground.outside("dir"), ground.volume("dir-link")).unwrap();
    symlink(ground.outside("file"), ground.volume("file-link")).unwrap();
    let swap = |a: &str, b: &str| {
        let how = rustix::fs::RenameFlags::EXCHANGE;
        let (a, b) = (ground.volume(a), ground.volume(b));
        rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, how).unwrap();
    };
    let done = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let mut swaps = 0;
            while !done.load(Ordering::Relaxed) || swaps % 2 == 1 {
                swap("dir", "dir-link");
                swap("file", "file-link");
                swaps += 1;
            }
            swaps
        });
        for round in 0..400 {
            // Everything is to be changed in every round.
            let (uid, gid) = (Some(5000 + round % 2), Some(0));
            for name in ["", "dir", "dir-link", "file", "file-link"] {
                lchown(ground.volume(name), uid, gid).unwrap();
            }
            ground.chown();
        }
        done.store(true, Ordering::Relaxed);
        stranger.join().unwrap()
    });
    assert!(swaps > 400, "only {swaps} swaps");
    assert_eq!(outside(), before);
    // And when they stop, everything inside is handed over.
    ground.chown();
    for name in ["dir", "dir/7", "file", "dir-link", "file-link"] {
        assert!(is_users(&ground.volume(name)), "{name}");
    }
    assert_eq!(fs::metadata(ground.outside("file")).unwrap().uid(), 0);
}
