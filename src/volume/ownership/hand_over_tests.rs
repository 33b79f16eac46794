#![allow(clippy::unwrap_used)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use rustix::fs::StatxFlags;

use super::*;
use crate::sys::effects::WriteAccess;
use crate::volume::testing;
use crate::volume::testing::{GID, UID, mount_read_only, mount_tmpfs, with_mounts};
use crate::volume::tree::MISSING_STAT_FIELDS;

fn owner(path: &Path) -> (u32, u32) {
    let (uid, gid, _) = testing::owner(path);
    (uid, gid)
}

/// Returns a HOME of the user with these directories of root.
fn home(directories: &[&str]) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    chown(home.path(), Some(UID), Some(GID)).unwrap();
    for directory in directories {
        fs::create_dir_all(home.path().join(directory)).unwrap();
    }
    home
}

fn hand(home: &Path, change: bool) -> Vec<String> {
    let access = WriteAccess::default();
    let hand = HandOver {
        directory: home,
        notebooks: None,
        uid: UID,
        gid: GID,
        effects: match change {
            true => Effects::Make,
            false => Effects::Preview(&access),
        },
    };
    let handed = hand_over_directories(&Root::detect().unwrap(), &hand);
    let name = |path: PathBuf| path.strip_prefix(home).unwrap().display().to_string();
    handed.into_iter().map(name).collect()
}

#[test]
fn roots_directories_are_handed_over_and_nothing_in_them() {
    let home = home(&[
        ".jupyter/lab/mine",
        ".local/share/jupyter",
        "projects",
        ".ssh",
    ]);
    let file = home.path().join(".jupyter/jupyter_server_config.py");
    fs::write(&file, "").unwrap();
    let expected = [
        ".jupyter",
        ".jupyter/lab",
        ".local",
        ".local/share",
        ".local/share/jupyter",
    ];
    assert_eq!(hand(home.path(), false), expected, "previewed");
    assert_eq!(owner(&home.path().join(".jupyter")).0, 0, "and not done");
    assert_eq!(hand(home.path(), true), expected);
    for path in expected {
        assert_eq!(owner(&home.path().join(path)), (UID, GID), "{path}");
    }
    for path in [
        ".jupyter/jupyter_server_config.py",
        ".jupyter/lab/mine",
        "projects",
        ".ssh",
    ] {
        assert_eq!(owner(&home.path().join(path)).0, 0, "{path}");
    }
    assert_eq!(hand(home.path(), true), [""; 0], "once is enough");
}

#[test]
fn what_is_somebody_elses_and_what_is_closed_stays() {
    let home = home(&[".local/share", ".cache", ".config"]);
    chown(home.path().join(".local"), Some(UID + 1), None).unwrap();
    fs::set_permissions(home.path().join(".cache"), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(hand(home.path(), true), [".config"]);
}

#[test]
fn no_link_is_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("jupyter")).unwrap();
    fs::set_permissions(outside.path(), Permissions::from_mode(0o755)).unwrap();
    let home = home(&[".local"]);
    symlink(outside.path(), home.path().join(".jupyter")).unwrap();
    symlink(outside.path(), home.path().join(".config")).unwrap();
    symlink(outside.path(), home.path().join(".local/share")).unwrap();
    fs::write(home.path().join(".cache"), "").unwrap();
    assert_eq!(hand(home.path(), true), [".local"]);
    assert_eq!(owner(outside.path()).0, 0);
    assert_eq!(owner(&outside.path().join("jupyter")).0, 0);
}

#[test]
fn a_new_mount_is_handed_over_and_one_with_content_of_roots_is_left() {
    mounts(StatxFlags::empty());
}

#[test]
fn so_it_is_where_the_kernel_does_not_tell_mounts_apart() {
    mounts(StatxFlags::MNT_ID);
}

fn mounts(untold: StatxFlags) {
    let home = home(&[
        ".jupyter",
        ".ipython",
        ".local",
        ".config/matplotlib",
        ".cache/deep/er",
    ]);
    let at = |name: &str| home.path().join(name);
    with_mounts(|| {
        MISSING_STAT_FIELDS.set(untold);
        for name in [
            ".jupyter",
            ".ipython",
            ".local",
            ".config/matplotlib",
            ".cache/deep/er",
        ] {
            mount_tmpfs(&at(name), "1m");
        }
        // New: only `lost+found` from mkfs, and the parents of a mount.
        fs::create_dir(at(".jupyter/lost+found")).unwrap();
        fs::create_dir_all(at(".local/share/jupyter/kernels")).unwrap();
        mount_tmpfs(&at(".local/share/jupyter/kernels"), "1m");
        fs::write(at(".local/share/jupyter/kernels/x"), "").unwrap();
        // Content of the host.
        fs::create_dir(at(".ipython/profile_default")).unwrap();
        fs::write(at(".ipython/profile_default/x"), "").unwrap();
        let handed = hand(home.path(), true);
        let expected = [
            ".cache",
            ".cache/deep",
            ".config",
            ".config/matplotlib",
            ".jupyter",
            ".local",
            ".local/share",
            ".local/share/jupyter",
        ];
        assert_eq!(handed, expected);
        assert_eq!(owner(&at(".ipython")).0, 0);
        assert_eq!(owner(&at(".cache/deep/er")).0, 0, "not one of ours");
        // A read-only mount is neither handed over nor listed.
        chown(at(".jupyter"), Some(0), None).unwrap();
        mount_read_only(&at(".jupyter"));
        assert_eq!(hand(home.path(), false), [""; 0]);
        assert_eq!(hand(home.path(), true), [""; 0]);
    });
}

/// A volume for all of HOME, as Kubernetes mounts one.
#[test]
fn home_itself_is_handed_over_only_as_a_new_mount() {
    let home = home(&[]);
    chown(home.path(), Some(0), None).unwrap();
    assert_eq!(hand(home.path(), true), [""; 0]);
    with_mounts(|| {
        mount_tmpfs(home.path(), "1m");
        assert_eq!(hand(home.path(), true), [""]);
        assert_eq!(owner(home.path()), (UID, GID));
    });
    with_mounts(|| {
        mount_tmpfs(home.path(), "1m");
        fs::write(home.path().join("x"), "").unwrap();
        fs::create_dir(home.path().join(".cache")).unwrap();
        assert_eq!(
            hand(home.path(), true),
            [""; 0],
            "a directory of the host's"
        );
    });
}

/// What the engine makes for `docker run --workdir`, or above a mount point.
#[test]
fn a_persons_home_is_handed_over_where_only_the_engine_can_have_made_it() {
    let place = tempfile::tempdir_in("/srv").unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let home = place.path().join("alice");
    let handed = |directory: &Path, effects| {
        let (uid, gid) = (UID, GID);
        let hand = HandOver {
            directory,
            notebooks: None,
            uid,
            gid,
            effects,
        };
        hand_over_volumes(&Root::detect().unwrap(), &hand)
    };
    let hand = |home: &Path| !handed(home, Effects::Make).is_empty();
    let renewed = |more: &str| {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join(more)).unwrap();
    };
    renewed("work/deep");
    assert!(hand(&home));
    assert_eq!(owner(&home), (UID, GID));
    assert_eq!(owner(&home.join("work")).0, 0, "only the top");
    renewed("work");
    fs::write(home.join("work/file"), "").unwrap();
    assert!(!hand(&home), "with something in it");
    renewed("");
    fs::set_permissions(&home, Permissions::from_mode(0o1777)).unwrap();
    assert!(!hand(&home), "a place of everybody's");
    renewed("");
    for (uid, mode) in [(UID, 0o755), (0, 0o777)] {
        chown(place.path(), Some(uid), None).unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(mode)).unwrap();
        assert!(!hand(&home), "put there by others");
    }
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let link = place.path().join("link");
    symlink(&home, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(UID), None).unwrap();
    assert!(!hand(&link), "behind a link");
    let access = WriteAccess::default();
    for path in ["/srv", "/usr/local/games", "/var/opt"] {
        let handed = handed(Path::new(path), Effects::Preview(&access));
        assert!(handed.is_empty(), "{path}");
    }
}

#[test]
fn a_fresh_mount_inside_the_notebooks_is_handed_over_and_no_other() {
    let notebooks = home(&[
        "fresh",
        "filled",
        "theirs",
        "read-only",
        "deep/fresh",
        "plain",
    ]);
    let at = |name: &str| notebooks.path().join(name);
    with_mounts(|| {
        for name in ["fresh", "filled", "theirs", "deep/fresh"] {
            mount_tmpfs(&at(name), "1m");
        }
        fs::create_dir(at("fresh/lost+found")).unwrap();
        fs::write(at("filled/data.csv"), "").unwrap();
        chown(at("theirs"), Some(4444), None).unwrap();
        mount_read_only(&at("read-only"));
        let access = WriteAccess::default();
        for effects in [Effects::Preview(&access), Effects::Make] {
            let hand = HandOver {
                directory: notebooks.path(),
                notebooks: None,
                uid: UID,
                gid: GID,
                effects,
            };
            let handed = hand_over_mounts(&Root::detect().unwrap(), &hand);
            assert_eq!(handed, [at("deep/fresh"), at("fresh")]);
        }
        for (name, uid) in [
            ("fresh", UID),
            ("fresh/lost+found", 0),
            ("filled", 0),
            ("theirs", 4444),
            ("read-only", 0),
            ("deep/fresh", UID),
            ("plain", 0),
        ] {
            assert_eq!(owner(&at(name)).0, uid, "{name}");
        }
    });
}
