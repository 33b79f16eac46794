//! The path to the volume, deep trees, and trees that change during the walk.

use super::*;

#[test]
fn the_volume_is_reached_through_links_of_roots_only() {
    let ground = TestVolume::new();
    fs::create_dir(ground.outside("real")).unwrap();
    let link = ground.outside("link");
    symlink("real", &link).unwrap();
    claim_at(&link, VolumeOwner::Chown).unwrap();
    assert!(is_users(&ground.outside("real")));
    assert_eq!(owner(&link).0, 0);

    // A link of the user, as the container's last run may have left it.
    lchown(ground.outside("real"), Some(0), Some(0)).unwrap();
    lchown(&link, Some(UID), Some(GID)).unwrap();
    let refused = claim_at(&link, VolumeOwner::Chown).unwrap_err();
    assert!(matches!(refused, VolumeError::Link { .. }), "{refused}");
    // A link of root, in a directory where others can replace it.
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
    let ground = TestVolume::new();
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
        assert!(matches!(refused, VolumeError::IsRootDirectory), "{refused}");
    }
    fs::write(ground.outside("file"), "").unwrap();
    let refused = claim_at(&ground.outside("file"), VolumeOwner::Keep).unwrap_err();
    assert!(matches!(refused, VolumeError::InTheWay { .. }), "{refused}");
}

#[test]
fn a_tree_deeper_than_what_is_held_open_is_walked_whole() {
    let ground = TestVolume::new();
    let depth = 3 * OPEN_LEVELS;
    let mut way = ground.volume("");
    for level in 0..depth {
        // The way down leads through one of them and leaves the other one beside it.
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
    let ground = TestVolume::new();
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
    let claimed = claim(&root, &request, Effects::Make, &|| false, &mut |_| {
        seen.push(open())
    })
    .unwrap();
    assert_eq!(claimed.changed, REPORT_EVERY + 11);
    // The walk reports on its way down and back, and more often if it is slow.
    assert!(
        seen.len() > 1 && seen.contains(&(OPEN_LEVELS - 1)),
        "{seen:?}"
    );
    assert!(seen.iter().all(|open| *open < OPEN_LEVELS + 2), "{seen:?}");
    assert!(is_users(&deep));
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_walked_whole() {
    let ground = TestVolume::new();
    let top = fs::File::open(ground.volume("")).unwrap();
    let name = CString::new(vec![b'n'; 200]).unwrap();
    let mut dir = OwnedFd::from(top);
    for _ in 0..40 {
        rustix::fs::mkdirat(&dir, &name, Mode::from(0o755)).unwrap();
        dir = tree::open_dir(&dir, &name).unwrap();
    }
    let claimed = ground.chown();
    assert_eq!((claimed.changed, causes(&claimed).as_str()), (41, ""));
    assert_eq!(tree::stat_fd(&dir).unwrap().uid, UID);
}

#[test]
fn a_stop_ends_the_walk() {
    let ground = TestVolume::new();
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
    let stopped = claim(&root, &request, Effects::Make, &|| true, &mut |progress| {
        seen.push(progress.done);
    });
    assert!(matches!(stopped, Err(VolumeError::Stopped)));
    // The count includes the volume itself. A slow walk reports earlier.
    assert!(
        matches!(seen[..], [done] if done <= REPORT_EVERY + 1),
        "{seen:?}"
    );
}

/// Another user swaps a directory and a file for links to the outside and back, as fast as
/// possible, while root walks.
#[test]
fn nothing_outside_changes_however_the_volume_does() {
    let ground = TestVolume::new();
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

    // The same names inside, and for each a link to swap it with.
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
            // Every entry must be changed in every round.
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
    // Once the swaps have ended, everything inside is handed over.
    ground.chown();
    for name in ["dir", "dir/7", "file", "dir-link", "file-link"] {
        assert!(is_users(&ground.volume(name)), "{name}");
    }
    assert_eq!(fs::metadata(ground.outside("file")).unwrap().uid(), 0);
}
