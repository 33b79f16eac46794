//! Volumes and defaults that cannot be read, written, or told apart.

use super::*;

#[test]
fn directories_that_cannot_be_written_are_told_and_the_rest_arrives() {
    let lab = Lab::new(&[("a", "a1"), ("locked/b", "b1"), ("locked/c", "c1")]);
    fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(lab.volume(""), Some(UID), None).unwrap();
    fs::create_dir(lab.volume("locked")).unwrap();
    let summary = as_user(|| lab.start());
    assert_eq!(summary.installed, 1);
    let told = causes(&summary);
    assert!(
        told.starts_with("could not write 2 entries, first locked/b"),
        "{told}"
    );
    lab.holds(&[("a", "a1"), ("locked", "dir")]);
    // The next start finishes the job.
    std::os::unix::fs::chown(lab.volume("locked"), Some(UID), None).unwrap();
    as_user(|| {
        lab.starts("2 installed, 0 updated, 0 kept (changed by you), 1 current");
    });
}

#[test]
fn files_that_cannot_be_read_are_the_users_business() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1"), ("c", "c1")]);
    fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(lab.volume(""), Some(UID), None).unwrap();
    // One has another size than the default, which shows that it is the user's.
    let theirs = [("a", "s1"), ("c", "secret")];
    for (name, text) in theirs {
        fs::write(lab.volume(name), text).unwrap();
        fs::set_permissions(lab.volume(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let summary = as_user(|| lab.start());
    assert_eq!((summary.installed, summary.kept), (1, 1));
    assert!(causes(&summary).starts_with("could not read 1 entry, first a"));
    lab.holds(&[("a", "s1"), ("b", "b1"), ("c", "secret")]);
}

#[test]
fn what_cannot_be_read_in_the_image_is_not_said_to_be_gone() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1"), ("closed/c", "c1")]);
    fs::set_permissions(lab.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(lab.volume(""), Some(UID), None).unwrap();
    as_user(|| lab.start());
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2"), ("closed/c", "c2")]);
    for (name, mode) in [("a", 0o600), ("closed", 0o700)] {
        fs::set_permissions(lab.source(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let summary = as_user(|| lab.start());
    assert_eq!(
        summary.to_string(),
        "notebooks: 0 installed, 1 updated, 0 kept (changed by you), 0 current"
    );
    assert_eq!(summary.reported, Vec::<String>::new());
    assert!(causes(&summary).starts_with("could not read 2 entries, first closed"));
    lab.holds(&[
        ("a", "a1"),
        ("b", "b2"),
        ("closed", "dir"),
        ("closed/c", "c1"),
    ]);
    let standing =
        as_user(|| crate::volume::defaults_status(&Dropped::for_tests(), &lab.defaults()).unwrap());
    let files: Vec<_> = standing
        .files
        .iter()
        .map(crate::volume::Action::shown)
        .collect();
    assert_eq!((files, standing.degradations.len()), (vec!["b".into()], 1));
    // Once they can be read again, they are brought in.
    for (name, mode) in [("a", 0o644), ("closed", 0o755)] {
        fs::set_permissions(lab.source(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    as_user(|| {
        lab.starts("0 installed, 2 updated, 0 kept (changed by you), 1 current");
    });
}

#[test]
fn a_read_only_volume_is_left_alone_and_that_is_told() {
    let lab = Lab::new(TWO);
    with_mounts(|| {
        mount_read_only(&lab.volume(""));
        let summary = lab.start();
        assert!(
            causes(&summary).contains("is read-only"),
            "{}",
            causes(&summary)
        );
        assert_eq!(summary.installed, 0);
    });
    lab.holds(&[]);
}

#[test]
fn a_full_volume_keeps_what_was_there_and_the_next_start_finishes() {
    let big = "x".repeat(600 << 10);
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    with_mounts(|| {
        mount_tmpfs(&lab.volume(""), "1m");
        lab.start();
        let lab = lab.image("1.1.0", &[("a", &big), ("b", &big), ("c", "c2")]);
        let summary = lab.start();
        assert!(causes(&summary).contains("is full"), "{}", causes(&summary));
        let all = lab.all();
        for (name, old) in [("a", "a1"), ("b", "b1")] {
            assert!(
                all[name] == old || all[name] == big,
                "{name}: neither old nor new"
            );
        }
        assert!(
            all.keys().all(|name| !name.contains(".ai-lab")),
            "{:?}",
            all.keys()
        );
        rustix::mount::mount_remount(
            lab.volume(""),
            rustix::mount::MountFlags::empty(),
            c"size=8m",
        )
        .unwrap();
        let summary = lab.start();
        assert_eq!(summary.degradations, []);
        assert_eq!(lab.all()["a"], big);
        assert_eq!(lab.all()["b"], big);
        assert_eq!(lab.all()["c"], "c2");
    });
}

#[test]
fn defaults_on_another_mount_inside_the_volume_are_the_users_too() {
    let lab = Lab::new(TWO);
    with_mounts(|| {
        fs::create_dir(lab.volume("dir")).unwrap();
        mount_tmpfs(&lab.volume("dir"), "1m");
        lab.starts("2 installed, 0 updated, 0 kept (changed by you), 0 current")
            .holds(&[("a.ipynb", "a1"), ("dir", "dir"), ("dir/b.ipynb", "b1")]);
    });
}

#[test]
fn every_file_system_gets_the_defaults_and_their_updates() {
    for kind in FileSystem::ALL {
        let lab = Lab::on(kind, &[("a", "a1"), ("dir/b", "b1"), ("mine", "m1")]);
        lab.starts("3 installed, 0 updated, 0 kept (changed by you), 0 current");
        lab.write("mine", "mine");
        let new = [
            ("a", "a2"),
            ("dir/b", "b2"),
            ("dir/c", "c2"),
            ("mine", "m2"),
        ];
        let lab = lab.image("1.1.0", &new);
        lab.starts("1 installed, 2 updated, 1 kept (changed by you), 0 current")
            .starts("0 installed, 0 updated, 1 kept (changed by you), 3 current");
        lab.holds(&[
            ("a", "a2"),
            ("dir", "dir"),
            ("dir/b", "b2"),
            ("dir/c", "c2"),
            ("mine", "mine"),
        ]);
        assert_eq!(lab.in_ai_lab(), ["lock", "manifest.sha256"], "{kind:?}");
    }
}

#[test]
fn of_defaults_that_differ_in_case_one_has_the_file_and_keeps_it() {
    // Whether their contents differ or not.
    for first in ["i1", "other"] {
        let mut lab = Lab::on(FileSystem::Exfat, &[]);
        for (version, intro, changes) in [
            ("1.0.0", first, "2 installed, 0 updated"),
            ("1.0.0", first, "0 installed, 0 updated"),
            ("1.1.0", "i2", "0 installed, 1 updated"),
            ("1.1.0", "i2", "0 installed, 0 updated"),
        ] {
            lab = lab.image(
                version,
                &[("Intro", intro), ("a", "a1"), ("intro", "other")],
            );
            let summary = lab.start();
            let told = summary.to_string();
            assert!(
                told.starts_with(&format!("notebooks: {changes}, 0 kept")),
                "{told}"
            );
            assert!(
                told.ends_with(", 1 with something else in the way"),
                "{told}"
            );
            let told = "intro is not brought in: another default has this name but for the case";
            assert!(summary.reported[0].starts_with(told), "{summary:?}");
            lab.holds(&[("Intro", intro), ("a", "a1")]);
        }
    }
}

#[test]
fn a_file_of_the_users_with_another_case_is_the_users() {
    let lab = Lab::on(FileSystem::Exfat, &[("intro", "i1")]);
    lab.write("INTRO", "mine");
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current");
    let lab = lab.image("1.1.0", &[("intro", "i2")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current")
        .holds(&[("INTRO", "mine")]);
}

#[test]
fn an_old_file_that_can_be_neither_exchanged_nor_moved_aside_stays_and_that_is_told() {
    let lab = Lab::new(&[("a", "a1"), ("bound/b", "b1")]);
    fs::create_dir(lab.volume("bound")).unwrap();
    with_mounts(|| {
        let bound = FileSystem::Bindfs.mount();
        rustix::mount::mount_bind(bound.path(), lab.volume("bound")).unwrap();
        lab.starts("2 installed, 0 updated, 0 kept (changed by you), 0 current");
        let lab = lab.image(
            "1.1.0",
            &[("a", "a2"), ("bound/b", "b2"), ("bound/c", "c2")],
        );
        let summary = lab.start();
        assert_eq!((summary.installed, summary.updated), (1, 1));
        assert!(causes(&summary).starts_with(
            "1 newer notebook defaults were not brought in: the file system mounted in the notebooks"
        ));
        assert_eq!(lab.all()["bound/b"], "b1");
        assert_eq!(lab.in_ai_lab(), ["lock", "manifest.sha256"]);
    });
}

#[test]
fn a_missing_source_and_a_missing_volume_are_errors() {
    let lab = Lab::new(&[]);
    fs::remove_dir(lab.source("")).unwrap();
    let error = lab.try_start().unwrap_err();
    let phrase = format!("Source directory not found: {}", lab.source("").display());
    assert_eq!(error.to_string(), phrase);
    let lab = Lab::new(&[]);
    fs::remove_dir(lab.volume("")).unwrap();
    assert!(matches!(lab.try_start(), Err(VolumeError::Open { .. })));
}

#[test]
fn defaults_that_are_or_contain_the_volume_do_not_multiply() {
    let mut lab = Lab::new(&[("a", "a1")]);
    lab.start();
    let mut defaults = lab.defaults();
    defaults.source = lab.volume("");
    let summary = bring_in_with(&defaults, lab.limits, &|_| true, &|| false, &mut |_| {}).unwrap();
    assert_eq!((summary.installed, summary.current), (0, 0));
    fs::rename(lab.volume(""), lab.source("volume")).unwrap();
    fs::create_dir(lab.source("other")).unwrap();
    fs::write(lab.source("other/b"), "b").unwrap();
    defaults = lab.defaults();
    defaults.volume = lab.source("volume");
    for installed in [1, 0] {
        let summary =
            bring_in_with(&defaults, lab.limits, &|_| true, &|| false, &mut |_| {}).unwrap();
        assert_eq!(summary.installed, installed);
    }
    assert!(!lab.source("volume/volume").exists());
    lab.version = None;
}

#[test]
fn what_the_image_has_under_our_own_name_is_not_brought_in() {
    let lab = Lab::new(&[(".ai-lab/lock", "theirs"), ("a", "a1")]);
    lab.starts("1 installed, 0 updated, 0 kept (changed by you), 0 current");
    assert_eq!(lab.read(".ai-lab/lock"), "");
}

#[test]
fn a_damaged_record_overwrites_nothing() {
    let lab = Lab::new(&[("a", "a1"), ("b", "b1")]);
    lab.start();
    lab.write("b", "mine")
        .write(".ai-lab/manifest.sha256", "garbage");
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2"), ("c", "c2")]);
    let summary = lab.start();
    assert!(causes(&summary).contains("is damaged (line 1) and was set aside"));
    lab.holds(&[("a", "a1"), ("b", "mine"), ("c", "c2")]);
    assert_eq!(lab.read(".ai-lab/manifest.sha256.damaged"), "garbage");
    // From here on, the manifest is kept again.
    let lab = lab.image("1.2.0", &[("c", "c3")]);
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
}

#[test]
fn a_record_of_a_newer_version_is_neither_used_nor_written() {
    let lab = Lab::new(&[("a", "a1")]);
    lab.start();
    let newer = "# ai-lab notebooks 2\n";
    lab.write(".ai-lab/manifest.sha256", newer);
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2")]);
    let summary = lab.start();
    assert!(causes(&summary).contains("written by a newer version"));
    assert_eq!(
        (summary.installed, summary.updated, summary.kept),
        (1, 0, 1)
    );
    lab.holds(&[("a", "a1"), ("b", "b2")]);
    assert_eq!(lab.read(".ai-lab/manifest.sha256"), newer);
}
