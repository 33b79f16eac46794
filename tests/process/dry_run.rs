//! `--dry-run` promises what a start does, and tells what a start tells: also where
//! nothing can be written, where no program is, and where somebody put a link.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::support::ground::{Ground, snapshot};
use crate::support::{Image, PROGRAM, Start, UID};

/// A start as PID 1 whose root file system is read-only; `also` is mounted before.
fn on_a_read_only_system(also: &str) -> Start {
    let script = format!("{also}\nmount -o remount,bind,ro /\nexec {PROGRAM} \"$@\"");
    Start::wrapped("unshare").args(["-m", "sh", "-e", "-c", &script, "sh"])
}

/// What warnings say, without their times.
pub fn warnings(stderr: &str) -> BTreeSet<String> {
    let warnings = stderr.lines().filter(|line| line.starts_with("[W "));
    let said = warnings.map(|line| line.split_once("] ").unwrap().1.to_owned());
    said.collect()
}

#[test]
fn where_nothing_can_be_written_nothing_is_promised_and_everything_is_told() {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    fs::write(image.path("notebooks/mine"), "").unwrap();
    let socket = image.path("docker.sock").display().to_string();
    let _socket = UnixListener::bind(&socket).unwrap();
    chown(&socket, None, Some(55_555)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o660)).unwrap();
    let log = image.path("home/log").display().to_string();
    for (also, state) in [
        ("mount -t tmpfs tmpfs /dev/shm", "write /dev/shm/ai-lab-1-"),
        ("mount -t tmpfs tmpfs /dev/shm -o ro", ""),
    ] {
        let start = |options: &[&str]| {
            on_a_read_only_system(also)
                .args(image.options())
                // An account of every image, so that the group file is asked.
                .args(["--user", "daemon", "--docker-socket", &socket])
                .args(["--jupyter-server", "jupyter-lab", "--password", "ailab"])
                .args(["--jupyter-logfile", &log])
                .args(options)
        };
        let dry = start(&["--dry-run"]).run();
        assert_eq!(dry.code, 0, "{}", dry.stderr);
        let mut running = start(&[]).start();
        running.wait_for("] ready in ");
        running.signal(libc::SIGTERM);
        running.end();
        let (_, stderr) = running.everything();
        let told = warnings(&dry.stderr);
        assert_eq!(told, warnings(&stderr), "{}", dry.stdout);
        for part in [
            "/etc/group is not changed (Read-only file system",
            "could not hand over to 1:",
            "is read-only: the notebook defaults were left alone",
            "cannot be written in HOME",
            "the logfile ",
        ] {
            assert!(
                told.iter().any(|line| line.contains(part)),
                "{part}: {told:#?}"
            );
        }
        // Memory takes it where no disk does.
        let password = told
            .iter()
            .any(|line| line.contains("password is not effective"));
        assert_eq!(password, state.is_empty(), "{told:#?}");
        let nowhere = told.iter().any(|line| line.contains("can be kept nowhere"));
        assert_eq!(nowhere, state.is_empty(), "{told:#?}");
        let promised = |line: &&str| {
            [
                "write ",
                "append ",
                "install",
                "record ",
                "/etc/",
                "hand over",
            ]
            .iter()
            .any(|word| line.trim_start().starts_with(word))
        };
        let promised: Vec<&str> = dry.stdout.lines().filter(promised).collect();
        let none = format!(
            "hand over to daemon:{UID}: 0 of 2 in {}",
            image.path("notebooks").display()
        );
        // The record is in `/run`, which can be written here, and the streams are pipes.
        let other = [
            &*none,
            "write /run/ai-lab-settings.toml",
            "hand over stdout",
            "hand over stderr",
        ];
        let all = promised.iter().map(|line| line.trim());
        let (known, all): (Vec<&str>, Vec<&str>) = all.partition(|line| other.contains(line));
        assert_eq!(known.len(), other.len(), "{known:#?}");
        match nowhere {
            true => assert!(all.is_empty(), "{all:#?}"),
            false => {
                let [hash, file] = all[..] else {
                    panic!("{all:#?}")
                };
                assert!(
                    hash.starts_with("write its hash to /dev/shm/ai-lab-home-1/"),
                    "{hash}"
                );
                assert!(file.starts_with(state), "{file}");
            }
        }
    }
}

#[test]
fn a_volume_that_cannot_be_made_ends_a_dry_run_as_it_ends_a_start() {
    let image = Image::new();
    let [dry, start] = [&["--dry-run"][..], &[]].map(|options| {
        let start = on_a_read_only_system("")
            .args(image.options())
            .args(options);
        start.args(["--", "true"]).run()
    });
    let said = |stderr: &str| {
        let last = stderr
            .lines()
            .rfind(|line| line.starts_with("[E "))
            .unwrap();
        last.split_once("] ").unwrap().1.to_owned()
    };
    assert_eq!(
        (dry.code, start.code),
        (1, 1),
        "{} {}",
        dry.stderr,
        start.stderr
    );
    assert_eq!(said(&dry.stderr), said(&start.stderr));
}

#[test]
fn a_program_that_cannot_be_started_is_told_with_its_code() {
    let image = Image::new();
    let plain = image.path("plain").display().to_string();
    fs::write(&plain, "x").unwrap();
    let lost = image.path("lost").display().to_string();
    fs::write(&lost, "#!/nonexistent/python\n").unwrap();
    fs::set_permissions(&lost, fs::Permissions::from_mode(0o755)).unwrap();
    for command in [
        "true",
        "/nonexistent/program",
        "helthcheck",
        &plain,
        &lost,
        "/",
    ] {
        let start = |options: &[&str]| {
            let start = Start::pid1().args(image.options()).args(options);
            start.args(["--", command]).run()
        };
        let (dry, real) = (start(&["--dry-run"]), start(&[]));
        assert_eq!(dry.code, real.code, "{command}: {}", dry.stderr);
        assert!(
            dry.stdout.ends_with("nothing was changed\n"),
            "{}",
            dry.stdout
        );
        let said = |stderr: &str| {
            let last = stderr.lines().rfind(|line| line.starts_with("[E "));
            last.map(|line| line.split_once("] ").unwrap().1.to_owned())
        };
        assert_eq!(said(&dry.stderr), said(&real.stderr), "{command}");
    }
}

#[test]
fn root_follows_no_link_of_the_users() {
    let ground = Ground::new();
    let closed = ground.outside("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    // What root would read there would be told.
    fs::write(closed.join("jupyter_server_config.json"), "planted").unwrap();
    fs::write(closed.join("manifest.sha256"), "planted").unwrap();
    let before = snapshot(&ground.outside(""));
    let config = ground.image.path("home/config").display().to_string();
    let dry = |notebooks: &str| {
        Start::pid1()
            .args(ground.image.options())
            .args(["--notebooks", notebooks, "--password", "ailab", "--dry-run"])
            .args(["--jupyter-server", "jupyter-lab"])
            .env("JUPYTER_CONFIG_DIR", &config)
            .run()
    };

    // On the way to the volume: nothing of it is handed over, and the user looks there.
    let way = ground.volume("way");
    symlink(&closed, &way).unwrap();
    for path in [&way, &ground.volume("")] {
        std::os::unix::fs::lchown(path, Some(UID), Some(UID)).unwrap();
    }
    let ended = dry(&format!("{}/deeper", way.display()));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!ended.stdout.contains("hand over to"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("planted") && !ended.stderr.contains("planted"));
    for told in [
        "is a symbolic link that root did not make",
        "cannot open or create the notebooks directory",
    ] {
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }

    // In the volume, in HOME, and instead of a default.
    for (at, to) in [
        (ground.volume(".ai-lab"), &closed),
        (ground.volume("start.ipynb"), &closed),
        (ground.image.path("home/config"), &closed),
    ] {
        symlink(to, at).unwrap();
    }
    let ended = dry(ground.volume("").to_str().unwrap());
    assert!(!ended.stdout.contains("planted") && !ended.stderr.contains("planted"));
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let told =
        "jupyter_server_config.json (Permission denied (os error 13)) cannot be evaluated here";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    fs::remove_file(&config).unwrap();
    let ended = dry(ground.volume("").to_str().unwrap());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        !ended.stdout.contains("closed") && !ended.stdout.contains("install: start.ipynb"),
        "{}",
        ended.stdout
    );
    assert_eq!(snapshot(&ground.outside("")), before);
}

/// A volume of root's that others may not enter, with a file that has a name outside and
/// one that will be the logfile; and, adopted, what another user's Jupyter left in HOME.
#[test]
fn what_will_be_handed_over_is_taken_for_the_users() {
    let image = Image::new();
    let volume = image.path("notebooks");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("linked"), "").unwrap();
    fs::hard_link(volume.join("linked"), image.path("outside")).unwrap();
    let log = volume.join("log");
    fs::write(&log, "").unwrap();
    for path in [&volume, &log] {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o700;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let start = |options: &[&str]| {
        Start::pid1()
            .args(image.options())
            .args(["--jupyter-server", "jupyter-lab", "--password", "ailab"])
            .args(["--jupyter-logfile", log.to_str().unwrap()])
            .args(options)
    };
    let same_as_a_start = |options: &[&str]| {
        let dry = start(&[options, &["--dry-run"]].concat()).run();
        assert_eq!(dry.code, 0, "{options:?}: {}", dry.stderr);
        let mut running = start(options).start();
        running.wait_for("] ready in ");
        running.signal(libc::SIGTERM);
        running.end();
        let (_, stderr) = running.everything();
        assert_eq!(warnings(&dry.stderr), warnings(&stderr), "{}", dry.stdout);
        dry.stdout
    };
    same_as_a_start(&[]);
    let other = UID + 1;
    let owner = format!("{other}:{other}");
    let given = Command::new("chown")
        .args(["-R", &owner])
        .arg(&volume)
        .status();
    assert!(given.unwrap().success());
    let plan = same_as_a_start(&["--volume-owner", "adopt"]);
    assert!(plan.contains("once it is handed over"), "{plan}");
}

/// What a start as the user, or as the owner of what is adopted, could not keep or write.
#[test]
fn what_the_user_may_not_write_in_the_volume_is_not_promised() {
    let own = |path: &std::path::Path, uid: u32| chown(path, Some(uid), Some(uid)).unwrap();
    let other = UID + 1;
    for (what, options) in [
        ("theirs", &["--volume-owner", "keep"][..]),
        ("record", &["--volume-owner", "adopt"]),
        ("link", &["--volume-owner", "keep"]),
        ("deeper", &["--volume-owner", "keep"]),
        ("absent", &["--volume-owner", "keep"]),
    ] {
        let image = Image::new();
        let volume = image.path("notebooks");
        fs::create_dir(image.path("defaults/deep")).unwrap();
        fs::write(image.path("defaults/deep/file"), "").unwrap();
        if what != "absent" {
            fs::create_dir(&volume).unwrap();
            own(&volume, UID);
        }
        match what {
            "theirs" => own(&volume, other),
            "record" => {
                // An earlier start, as another user, made it.
                own(&volume, other);
                fs::create_dir(volume.join(".ai-lab")).unwrap();
                own(&volume.join(".ai-lab"), UID);
            }
            "link" => symlink("/tmp", volume.join(".ai-lab")).unwrap(),
            "deeper" => fs::create_dir(volume.join("deep")).unwrap(),
            _ => {}
        }
        let start = |more: &[&str]| {
            let start = Start::pid1().args(image.options()).args(options);
            start.args(more).args(["--", "true"]).run()
        };
        let before = volume.exists().then(|| snapshot(&volume));
        let dry = start(&["--dry-run"]);
        assert_eq!(dry.code, 0, "{what}: {}", dry.stderr);
        assert_eq!(volume.exists().then(|| snapshot(&volume)), before, "{what}");
        let real = start(&[]);
        assert_eq!(real.code, 0, "{what}: {}", real.stderr);
        assert_eq!(warnings(&dry.stderr), warnings(&real.stderr), "{what}");
        for name in ["start.ipynb", "deep/file"] {
            let promised = dry.stdout.contains(&format!("install: {name}\n"));
            assert_eq!(
                promised,
                volume.join(name).exists(),
                "{what}: {}",
                dry.stdout
            );
        }
        let recorded = volume.join(".ai-lab/manifest.sha256").exists();
        assert_eq!(dry.stdout.contains("record them in"), recorded, "{what}");
    }
}

/// Without root nobody makes the volume.
#[test]
fn a_volume_that_nobody_makes_is_not_filled() {
    let image = Image::new();
    let user = UID.to_string();
    let start = |more: &[&str]| {
        Start::wrapped("setpriv")
            .args(["--clear-groups", "--reuid", &user, "--regid", &user, "--"])
            .arg(PROGRAM)
            .args(image.options())
            .args(more)
            .args(["--", "true"])
            .run()
    };
    let (dry, real) = (start(&["--dry-run"]), start(&[]));
    assert_eq!((dry.code, real.code), (0, 0), "{}", dry.stderr);
    assert_eq!(warnings(&dry.stderr), warnings(&real.stderr));
    assert!(!dry.stdout.contains("install"), "{}", dry.stdout);
}
