//! The defaults arrive, are the user's, and nothing outside the volume is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use crate::support::{Image, PROGRAM, Start, UID};

#[test]
fn the_defaults_are_in_the_volume_and_the_users() {
    let image = Image::new();
    let ended = image.command(["true"]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("notebooks: 1 installed"),
        "{}",
        ended.stderr
    );
    let file = fs::metadata(image.path("notebooks/start.ipynb")).unwrap();
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o777),
        (UID, UID, 0o644)
    );
}

#[test]
fn a_volume_that_root_may_not_list_is_the_users_all_the_same() {
    for policy in ["chown", "adopt", "keep"] {
        let image = Image::new();
        let volume = image.path("notebooks");
        fs::create_dir(&volume).unwrap();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&volume, Some(UID), Some(UID)).unwrap();
        let ended = Start::wrapped("setpriv")
            .args(["--bounding-set=-dac_override,-dac_read_search", PROGRAM])
            .args(image.options())
            .args([
                "--volume-owner",
                policy,
                "--",
                "ls",
                volume.to_str().unwrap(),
            ])
            .run();
        assert_eq!(ended.code, 0, "{policy}: {}", ended.stderr);
        assert_eq!(ended.stdout, "start.ipynb\n", "{policy}: {}", ended.stderr);
        let told = ended.stderr.contains("could not hand over to");
        assert_eq!(told, policy == "chown", "{}", ended.stderr);
    }
}

/// Where the user may go and root may not, as over NFS, the user makes the directory.
#[test]
fn what_root_may_not_get_to_is_made_and_filled_by_the_user() {
    for policy in ["chown", "keep", "adopt"] {
        let image = Image::new();
        let above = image.path("above");
        fs::create_dir(&above).unwrap();
        fs::set_permissions(&above, fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&above, Some(UID), Some(UID)).unwrap();
        let volume = above.join("notebooks").display().to_string();
        let start = |more: &[&str]| {
            Start::wrapped("setpriv")
                .args(["--bounding-set=-dac_override,-dac_read_search", PROGRAM])
                .args(image.options())
                .args(["--notebooks", &volume, "--volume-owner", policy])
                .args(more)
                .args(["--", "ls", &volume])
                .run()
        };
        let (dry, real) = (start(&["--dry-run"]), start(&[]));
        if policy == "adopt" {
            // Whose it is nobody can tell.
            assert_eq!((dry.code, real.code), (1, 1), "{}", real.stderr);
            continue;
        }
        assert_eq!((dry.code, real.code), (0, 0), "{}", real.stderr);
        assert_eq!(real.stdout, "start.ipynb\n", "{}", real.stderr);
        let made = format!("notebooks directory\n  make {volume}\n");
        assert!(dry.stdout.contains(&made), "{}", dry.stdout);
        assert!(
            dry.stdout.contains("install: start.ipynb"),
            "{}",
            dry.stdout
        );
        for said in [&dry.stderr, &real.stderr] {
            assert!(said.contains("its owner stays as it is"), "{said}");
        }
        assert!(!real.stderr.contains("Did chown"), "{}", real.stderr);
    }
}

#[test]
fn without_root_the_user_makes_the_directory() {
    let image = Image::new();
    let above = image.path("above");
    fs::create_dir(&above).unwrap();
    std::os::unix::fs::chown(&above, Some(UID), Some(UID)).unwrap();
    let start = |volume: &str| {
        let user = UID.to_string();
        Start::wrapped("setpriv")
            .args(["--clear-groups", "--reuid", &user, "--regid", &user, "--"])
            .arg(PROGRAM)
            .args(image.options())
            .args(["--notebooks", volume, "--", "ls", volume])
            .run()
    };
    let ended = start(above.join("a/b").to_str().unwrap());
    assert_eq!(ended.stdout, "start.ipynb\n", "{}", ended.stderr);
    let ended = start("/proc/nowhere");
    let told = "cannot open or create the notebooks directory /proc/nowhere";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn an_update_replaces_what_nobody_changed_and_nothing_else() {
    let image = Image::new();
    fs::write(image.path("defaults/other.ipynb"), "{}").unwrap();
    let start = |version| {
        let ended = image.command(["true"]).env("AI_LAB_VERSION", version).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr
    };
    start("1.0.0");
    fs::write(image.path("notebooks/start.ipynb"), "mine").unwrap();
    for name in ["start", "other"] {
        fs::write(
            image.path(&format!("defaults/{name}.ipynb")),
            "{\"new\": 1}",
        )
        .unwrap();
    }
    let told = start("1.1.0");
    assert!(
        told.contains("1 updated, 1 kept (changed by you)"),
        "{told}"
    );
    let read = |name: &str| fs::read_to_string(image.path(&format!("notebooks/{name}"))).unwrap();
    assert_eq!(read("start.ipynb"), "mine");
    assert_eq!(read("other.ipynb"), "{\"new\": 1}");
}

/// Containers whose users have one group in common, without root.
#[test]
fn a_volume_of_a_group_is_updated_by_each_of_its_users() {
    let image = Image::new();
    let volume = image.path("notebooks");
    fs::create_dir(&volume).unwrap();
    std::os::unix::fs::chown(&volume, None, Some(UID)).unwrap();
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o2775)).unwrap();
    fs::set_permissions(image.path("home"), fs::Permissions::from_mode(0o777)).unwrap();
    let notebook = |version: u32, outputs: u32| {
        format!(
            r#"{{"nbformat": 4, "cells": [{{"cell_type": "code", "source": "{version}", "outputs": [{outputs}]}}]}}"#
        )
    };
    let at = |name: &str| image.path(name).display().to_string();
    let start = |uid: u32, version: u32| {
        fs::write(at("defaults/run.ipynb"), notebook(version, 0)).unwrap();
        fs::write(at("defaults/plain.md"), version.to_string()).unwrap();
        let (uid, gid) = (uid.to_string(), UID.to_string());
        let ended = Start::wrapped("setpriv")
            .args(["--clear-groups", "--reuid", &uid, "--regid", &gid, "--"])
            .arg(PROGRAM)
            .args(["--notebook-defaults", &at("defaults")])
            .args(["--notebooks", &at("notebooks")])
            .args(["--umask", "002", "--notebook-mode", "664", "--", "true"])
            .env("HOME", &at("home"))
            .env("AI_LAB_VERSION", &format!("{version}.0.0"))
            .run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr
    };
    start(4301, 1);
    for (uid, version) in [(4302, 2), (4301, 3), (4303, 4)] {
        fs::write(volume.join("run.ipynb"), notebook(version - 1, version)).unwrap();
        let told = start(uid, version);
        assert!(
            told.contains("2 updated, 0 kept (changed by you), 1 current, 1 replaced after"),
            "{uid}: {told}"
        );
    }
}

/// The times of a file do not survive a copy of the volume.
#[test]
fn a_long_default_that_nobody_changed_is_replaced_by_a_short_one() {
    let image = Image::new();
    let at = |name: &str| image.path(name);
    let long = fs::File::create(at("defaults/data.csv")).unwrap();
    long.set_len((64 << 20) + 1).unwrap();
    let start = |version| {
        let ended = image.command(["true"]).env("AI_LAB_VERSION", version).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr
    };
    start("1.0.0");
    let copy = fs::File::open(at("notebooks/data.csv")).unwrap();
    copy.set_modified(std::time::UNIX_EPOCH).unwrap();
    fs::write(at("defaults/data.csv"), "short").unwrap();
    let told = start("1.1.0");
    assert!(
        told.contains("1 updated, 0 kept (changed by you)"),
        "{told}"
    );
}

/// AI_LAB_VERSION comes from a base image, or was not increased.
#[test]
fn each_new_content_is_put_beside_a_changed_file_whatever_its_version() {
    let image = Image::new();
    let at = |name: &str| image.path(name);
    let start = |version: &str, text: &str| {
        fs::write(at("defaults/a.md"), text).unwrap();
        let options = ["--update-notebooks", "beside"];
        let start = Start::pid1().args(image.options()).args(options);
        let start = start.args(["--", "true"]).env("AI_LAB_VERSION", version);
        let ended = start.run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    };
    start("1.0.0", "one");
    fs::write(at("notebooks/a.md"), "mine").unwrap();
    for text in ["two", "six", "three", "three"] {
        start("2.0.0", text);
    }
    let files = fs::read_dir(at("notebooks")).unwrap().flatten();
    let files = files.filter(|file| file.file_name().to_string_lossy().ends_with(".md"));
    let texts = files.map(|file| (fs::read_to_string(file.path()).unwrap(), file.file_name()));
    let mut texts: Vec<_> = texts.filter(|(text, _)| !text.starts_with('#')).collect();
    texts.sort();
    let (texts, names): (Vec<_>, Vec<_>) = texts.into_iter().unzip();
    assert_eq!(texts, ["mine", "six", "three", "two"], "{names:?}");
    assert_eq!(
        (&names[0], &names[3]),
        (&"a.md".into(), &"a.2.0.0.md".into())
    );
}

#[test]
fn a_name_that_is_too_long_with_the_version_is_told_once() {
    let image = Image::new();
    let name = format!("{}.md", "x".repeat(249));
    let start = |version: &str| {
        fs::write(image.path("defaults").join(&name), version).unwrap();
        let options = ["--update-notebooks", "beside"];
        let start = Start::pid1().args(image.options()).args(options);
        let ended = start.args(["--", "true"]).env("AI_LAB_VERSION", version);
        ended.run().stderr.contains("File name too long")
    };
    assert!(!start("1.0.0"));
    fs::write(image.path("notebooks").join(&name), "mine").unwrap();
    assert!(start("2.0.0"));
    assert!(!start("2.0.0"));
}

#[test]
fn a_start_that_waits_for_another_one_says_so() {
    let image = Image::new();
    assert_eq!(image.command(["true"]).run().code, 0);
    let lock = fs::File::open(image.path("notebooks/.ai-lab/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut running = image.command(["true"]).start();
    running.wait_for("on the same notebooks; it is waited for, 30s at most");
    drop(lock);
    running.wait_for("notebooks: 0 installed, 0 updated, 0 kept (changed by you), 1 current");
    assert_eq!(running.end(), 0);
}

#[test]
fn git_does_not_list_our_directory_in_a_checkout_of_the_person() {
    let image = Image::new();
    let start = || assert_eq!(image.command(["true"]).run().code, 0);
    let ignored = image.path("notebooks/.ai-lab/.gitignore");
    start();
    assert_eq!(fs::read_to_string(&ignored).unwrap(), "*\n");
    fs::write(&ignored, "mine").unwrap();
    start();
    fs::remove_file(image.path("notebooks/.ai-lab/lock")).unwrap();
    start();
    assert_eq!(fs::read_to_string(&ignored).unwrap(), "mine");
}

#[test]
fn links_out_of_the_volume_are_not_followed() {
    let image = Image::new();
    let secret = image.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("shadow"), "root's").unwrap();
    let notebooks = image.path("notebooks");
    fs::create_dir(&notebooks).unwrap();
    symlink(secret.join("shadow"), notebooks.join("start.ipynb")).unwrap();
    symlink(&secret, notebooks.join("dir")).unwrap();
    symlink(&secret, notebooks.join(".ai-lab")).unwrap();
    let before = fs::metadata(secret.join("shadow")).unwrap();
    let ended = image.command(["true"]).run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let after = fs::metadata(secret.join("shadow")).unwrap();
    assert_eq!((after.uid(), after.mtime()), (before.uid(), before.mtime()));
    assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(secret.join("shadow")).unwrap(), "root's");
}

#[test]
fn an_absent_source_is_said() {
    let image = Image::new();
    fs::remove_dir_all(image.path("defaults")).unwrap();
    let ended = image.command(["true"]).run();
    let phrase = format!(
        "Source directory not found: {}",
        image.path("defaults").display()
    );
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.contains(&phrase), "{}", ended.stderr);
}

/// Kubernetes shows a ConfigMap as links to files in the directory of its version.
#[test]
fn the_files_of_a_config_map_come_in_and_not_its_links() {
    let image = Image::new();
    let map = image.path("defaults");
    fs::remove_file(map.join("start.ipynb")).unwrap();
    symlink("..data/start.ipynb", map.join("start.ipynb")).unwrap();
    symlink("..data/more", map.join("more")).unwrap();
    let publish = |version: &str, text: &str| {
        let place = map.join(format!("..{version}"));
        fs::create_dir_all(place.join("more")).unwrap();
        fs::write(place.join("start.ipynb"), text).unwrap();
        fs::write(place.join("more/a.txt"), text).unwrap();
        symlink(format!("..{version}"), map.join("..new")).unwrap();
        fs::rename(map.join("..new"), map.join("..data")).unwrap();
        let start = image.command(["find", image.path("notebooks").to_str().unwrap()]);
        let ended = start.env("AI_LAB_VERSION", version).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended
    };
    let first = publish("1.0.0", "first");
    assert!(
        first.stderr.contains("notebooks: 2 installed"),
        "{}",
        first.stderr
    );
    assert!(!first.stdout.contains("/.."), "{}", first.stdout);
    let start = image.path("notebooks/start.ipynb");
    fs::write(&start, "mine").unwrap();
    let second = publish("2.0.0", "second");
    let told = "notebooks: 0 installed, 1 updated, 1 kept (changed by you)";
    assert!(second.stderr.contains(told), "{}", second.stderr);
    assert_eq!(fs::read_to_string(&start).unwrap(), "mine");
    let other = fs::read_to_string(image.path("notebooks/more/a.txt"));
    assert_eq!(other.unwrap(), "second");
}

/// A file of a repository that comes back takes a person's commits away.
#[test]
fn a_repository_among_the_defaults_stays_there() {
    let image = Image::new();
    for directory in [".git/refs", "course/.ipynb_checkpoints"] {
        let place = image.path("defaults").join(directory);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("file"), "text").unwrap();
    }
    fs::create_dir(image.path("defaults/part")).unwrap();
    fs::write(image.path("defaults/part/.git"), "gitdir: elsewhere").unwrap();
    let ended = image.command(["find", image.path("notebooks").to_str().unwrap()]);
    let ended = ended.run();
    let told = ".git is not brought in: a repository changes only as a whole";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("notebooks: 1 installed"),
        "{}",
        ended.stderr
    );
    for name in ["/.git", "checkpoints", "/part"] {
        assert!(
            !ended.stdout.contains(&format!("{name}\n")),
            "{}",
            ended.stdout
        );
    }
}

/// An earlier version brought them in. They stay, and not each file is told at each start.
#[test]
fn a_repository_that_is_in_the_volume_already_is_a_persons() {
    let image = Image::new();
    fs::create_dir(image.path("defaults/git")).unwrap();
    fs::write(image.path("defaults/git/x"), "text").unwrap();
    assert_eq!(image.command(["true"]).run().code, 0);
    fs::remove_dir_all(image.path("defaults/git")).unwrap();
    let volume = image.path("notebooks");
    fs::rename(volume.join("git"), volume.join(".git")).unwrap();
    let record = volume.join(".ai-lab/manifest.sha256");
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains("git/x"), "{text}");
    fs::write(&record, text.replace("git/x", ".git/x")).unwrap();
    let ended = image.command(["cat", volume.join(".git/x").to_str().unwrap()]);
    let ended = ended.run();
    assert_eq!(ended.stdout, "text\n", "{}", ended.stderr);
    assert!(
        !ended.stderr.contains("no longer a default"),
        "{}",
        ended.stderr
    );
}
