//! Handing over single entries.

use super::*;

#[test]
fn everything_becomes_the_users() {
    let ground = TestVolume::new();
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
    let ground = TestVolume::new();
    fs::create_dir(ground.volume("dir")).unwrap();
    ground.file("dir/file");
    symlink("file", ground.volume("dir/link")).unwrap();
    ground.chown();
    // The user may choose another group.
    lchown(ground.volume("dir/file"), Some(UID), Some(GID + 1)).unwrap();
    let paths = ["", "dir", "dir/file", "dir/link"].map(|name| ground.volume(name));
    paths.iter().for_each(|path| wait_past_ctime(path));
    let before = paths.each_ref().map(|path| changed(path));
    let claimed = ground.chown();
    assert_eq!((claimed.checked, claimed.changed), (4, 0));
    assert_eq!(paths.each_ref().map(|path| changed(path)), before);
    assert_eq!(owner(&paths[2]).1, GID + 1);
}

#[test]
fn uid_and_gid_are_set_together() {
    let ground = TestVolume::new();
    let file = ground.file("file");
    chown(&file, Some(UID + 1), Some(GID + 1)).unwrap();
    ground.chown();
    assert!(is_users(&file));
}

#[test]
fn no_link_is_followed() {
    let ground = TestVolume::new();
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
    let ground = TestVolume::new();
    fs::write(ground.outside("shadow"), "secret").unwrap();
    for link in ["one", "two"] {
        fs::hard_link(ground.outside("shadow"), ground.volume(link)).unwrap();
    }
    wait_past_ctime(&ground.outside("shadow"));
    let before = changed(&ground.outside("shadow"));
    let claimed = ground.chown();
    assert_eq!(owner(&ground.outside("shadow")).0, 0);
    assert_eq!(changed(&ground.outside("shadow")), before);
    assert!(causes(&claimed).contains("links outside the volume: 1, first"));
}

#[test]
fn a_file_with_all_its_links_in_the_volume_is_handed_over() {
    let ground = TestVolume::new();
    fs::create_dir(ground.volume("dir")).unwrap();
    let file = ground.file("one");
    fs::hard_link(&file, ground.volume("two")).unwrap();
    fs::hard_link(&file, ground.volume("dir/three")).unwrap();
    let link = ground.volume("link");
    symlink("/etc/shadow", &link).unwrap();
    fs::hard_link(&link, ground.volume("dir/link")).unwrap();
    wait_past_ctime(&file);
    wait_past_ctime(&link);
    let claimed = ground.chown();
    assert!(is_users(&file));
    assert!(is_users(&link));
    assert_eq!(causes(&claimed), "");
    assert_eq!((claimed.checked, claimed.changed), (7, 4));
}

#[test]
fn a_name_that_moves_ahead_of_the_walk_does_not_stand_for_one_outside() {
    let ground = TestVolume::new();
    fs::write(ground.outside("shadow"), "secret").unwrap();
    fs::create_dir(ground.volume("later")).unwrap();
    fs::hard_link(ground.outside("shadow"), ground.volume("name")).unwrap();
    // Enough entries for a progress call between the first stat of the name and the
    // directory that it moves to.
    for number in 0..3 * REPORT_EVERY {
        fs::write(ground.volume(&format!("{number}")), "").unwrap();
    }
    wait_past_ctime(&ground.outside("shadow"));
    let root = Root::detect().unwrap();
    let request = Claim {
        directory: ground.volume(""),
        policy: VolumeOwner::Chown,
        uid: UID,
        gid: GID,
    };
    // The walk enters directories after the entries beside them.
    let moved = AtomicBool::new(false);
    let claimed = claim(&root, &request, Effects::Make, &|| false, &mut |progress| {
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
    let ground = TestVolume::new();
    let program = ground.file("program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    let shared = ground.volume("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
    ground.chown();
    assert_eq!(owner(&program), (UID, GID, 0o755));
    // On a directory, setgid sets the group of new files.
    assert_eq!(owner(&shared), (UID, GID, 0o2775));
    // A file that belongs to the user already keeps its bits.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    ground.chown();
    assert_eq!(owner(&program), (UID, GID, 0o4755));
}

#[test]
fn special_files_block_nobody_and_devices_stay_roots() {
    let ground = TestVolume::new();
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
fn other_mounts_are_not_entered() {
    other_mounts(StatxFlags::empty());
}

#[test]
fn nor_are_they_where_the_kernel_does_not_tell_mounts_apart() {
    other_mounts(StatxFlags::MNT_ID);
}

fn other_mounts(untold: StatxFlags) {
    let ground = TestVolume::new();
    let mount = ground.volume("a mount");
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
        // On the same file system, so that the device number is the same.
        rustix::mount::mount_bind(ground.outside("bound"), &file).unwrap();
        rustix::mount::mount_bind(ground.outside("dir"), ground.volume("dir")).unwrap();
        MISSING_STAT_FIELDS.set(untold);
        let claimed = ground.chown();
        assert_eq!(owner(&mount).0, 0);
        assert_eq!(owner(&mount.join("inside")).0, 0);
        assert_eq!(causes(&claimed), "");
    });
    for name in ["bound", "dir", "dir/file"] {
        assert_eq!(owner(&ground.outside(name)).0, 0, "{name}");
    }
    assert!(is_users(&ground.volume("after")));
}

#[test]
fn what_the_file_system_refuses_is_told_once() {
    let ground = TestVolume::new();
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
