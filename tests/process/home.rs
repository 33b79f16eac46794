//! Jupyter's and matplotlib's files are where the variables put them, and move only from a
//! directory that cannot be written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;

use crate::support::{Image, PROGRAM, Start, UID};

/// A directory of the user's.
fn users(image: &Image, name: &str) -> PathBuf {
    let directory = image.path(name);
    fs::create_dir(&directory).unwrap();
    chown(&directory, Some(UID), Some(UID)).unwrap();
    directory
}

/// HOME of a person; what engines and `sudo -E` set is nobody's wish.
#[test]
fn a_home_in_the_environment_that_has_no_effect_is_reported_as_root_and_as_the_user() {
    let image = Image::new();
    let place = tempfile::tempdir_in("/srv").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = place.path().join("x.toml");
    let home = image.path("home").display().to_string();
    fs::write(
        &file,
        format!("[user]\nname = \"{UID}\"\nhome = \"{home}\"\n"),
    )
    .unwrap();
    let user = UID.to_string();
    let as_user = ["--clear-groups", "--reuid", &user, "--regid", &user, "--"];
    for options in [&[][..], &as_user] {
        for (set, told) in [
            ("/work", true),
            ("/root", false),
            ("/", false),
            ("/bin", false),
        ] {
            let start = Start::wrapped("setpriv").args(options).arg(PROGRAM);
            let start = start.args(["--config", file.to_str().unwrap()]);
            let start = start.args(["--state-dir", &format!("{home}/state")]);
            let ended = start.args(["--", "true"]).env("HOME", set).run();
            assert_eq!(ended.code, 0, "{}", ended.stderr);
            let said = ended.stderr.contains(&format!("HOME={set} has no effect"));
            assert_eq!(said, told, "{set}: {}", ended.stderr);
        }
    }
}

/// `--user 1234 -v passwd:/etc/passwd -v ./me:/home/me`: what a server keeps there, such as the hash of
/// a password that everybody knows, would stay on the host.
#[test]
fn a_start_without_root_leaves_the_uids_own_home_as_it_is() {
    let image = Image::new();
    let own = users(&image, "me");
    let line = format!("me:x:{UID}:{UID}::{}:/bin/sh\n", own.display());
    fs::write(
        image.path("passwd"),
        format!("root:x:0:0::/root:/bin/sh\n{line}"),
    )
    .unwrap();
    let [images, passwd] = ["home", "passwd"].map(|name| image.path(name).display().to_string());
    let settings = image.path("x.toml");
    fs::write(
        &settings,
        format!("[user]\nname = \"jupyter\"\nhome = \"{images}\"\n"),
    )
    .unwrap();
    let script = format!(
        "mount --bind {passwd} /etc/passwd; mount --bind {images} {images}
         mount -o remount,bind,ro {images}
         exec setpriv --clear-groups --reuid {UID} --regid {UID} -- \"$@\""
    );
    let state = users(&image, "state").display().to_string();
    let ended = Start::wrapped("sh")
        .args(["-ec", &script, "sh", PROGRAM])
        .args(["--config", settings.to_str().unwrap()])
        .args(["--state-dir", &state])
        .args(["--", "sh", "-c", "echo $HOME"])
        .env("HOME", own.to_str().unwrap())
        .run();
    assert_eq!(ended.stdout.trim(), images, "{}", ended.stderr);
    assert_eq!(fs::read_dir(own).unwrap().count(), 0, "{}", ended.stderr);
}

/// A start whose directories of these names are read-only, with a directory for temporary files.
fn read_only(image: &Image, names: &[&str]) -> Start {
    let mounts = names.iter().map(|name| {
        let path = image.path(name).display().to_string();
        format!("mount --bind {path} {path}; mount -o remount,bind,ro {path}; ")
    });
    let script = format!("set -e; {}exec \"$@\"", mounts.collect::<String>());
    let temporary = image.path("temporary");
    if !temporary.exists() {
        users(image, "temporary");
    }
    Start::wrapped("sh")
        .args(["-c", &script, "sh", PROGRAM])
        .args(image.options())
        .env("TMPDIR", temporary.to_str().unwrap())
}

/// Of a group of the system's, and of a uid of it, a start with `NB_UID` and `NB_GID` would end with 78.
#[test]
fn the_remedy_for_a_home_of_another_person_names_only_what_can_be_asked_for() {
    for (uid, gid, remedy) in [
        (
            "4711",
            "4712",
            "--env NB_UID=4711 --env NB_GID=4712, without",
        ),
        (
            "4711",
            "0",
            "--env NB_UID=4711, without root with --user 4711:0",
        ),
        (
            "4711",
            "4",
            "--env NB_UID=4711, without root with --user 4711:4",
        ),
        ("600", "600", "with --home"),
    ] {
        let image = Image::new();
        let known = "printf 'known:x:600:600::/:/bin/sh\\n' | cat /etc/passwd - >passwd";
        let script = format!(
            "cd {}; {known}; mount --bind passwd /etc/passwd
             chown {uid}:{gid} home; mount --bind home home; exec \"$@\"",
            image.dir.path().display()
        );
        let ended = Start::wrapped("sh")
            .args(["-ec", &script, "sh", PROGRAM])
            .args(image.options())
            .env("TMPDIR", users(&image, "temporary").to_str().unwrap())
            .args(["--", "true"])
            .run();
        let said = ended.stderr.lines().find(|line| line.contains("in HOME"));
        assert!(said.unwrap().contains(remedy), "{}", ended.stderr);
    }
}

#[test]
fn sockets_whose_paths_are_too_long_move_wherever_the_data_are() {
    let image = Image::new();
    let long = image.path("home").join("long".repeat(20));
    let moved = format!(
        "set JUPYTER_RUNTIME_DIR={}/ai-lab-home-{UID}/",
        image.path("temporary").display()
    );
    for variable in ["JUPYTER_DATA_DIR", "XDG_DATA_HOME"] {
        let start = read_only(&image, &[]).env(variable, long.to_str().unwrap());
        let dry = start.args(["--dry-run", "--", "true"]).run();
        assert!(dry.stdout.contains(&moved), "{}{}", dry.stdout, dry.stderr);
        assert!(
            !dry.stdout.contains("set JUPYTER_DATA_DIR"),
            "{}",
            dry.stdout
        );
    }
}

#[test]
fn what_is_kept_outside_of_home_stays_there() {
    let image = Image::new();
    let (data, config) = (users(&image, "data"), users(&image, "config"));
    let script =
        "echo ${JUPYTER_DATA_DIR-unset} ${JUPYTER_RUNTIME_DIR-unset} ${MPLCONFIGDIR-unset}";
    let start = |read: &[&str]| {
        let ended = read_only(&image, read)
            .args(["--", "sh", "-c", script])
            .env("XDG_DATA_HOME", data.to_str().unwrap())
            .env("XDG_CONFIG_HOME", config.to_str().unwrap())
            .run();
        (ended.stdout, ended.stderr)
    };
    let (stdout, stderr) = start(&["home"]);
    assert_eq!(stdout, "unset unset unset\n", "{stderr}");
    let (stdout, stderr) = start(&["data", "config"]);
    assert_eq!(
        stdout.matches("ai-lab-home-").count(),
        3,
        "{stdout}{stderr}"
    );
    let told = format!("{}/jupyter, ", data.display());
    assert!(stderr.contains(&told), "{stderr}");
    assert!(!stderr.contains("in HOME"), "{stderr}");
}

/// A ConfigMap, which is read-only.
#[test]
fn a_password_is_set_beside_a_configuration_that_cannot_be_written() {
    let image = Image::new();
    let config = image.path("config");
    fs::create_dir(&config).unwrap();
    fs::write(config.join("jupyter_server_config.json"), "{}").unwrap();
    let script =
        "cat ${JUPYTER_CONFIG_PATH%%:*}/jupyter_server_config.json; echo $JUPYTER_CONFIG_PATH";
    let ended = read_only(&image, &["config"])
        .args(["--", "sh", "-c", script])
        .env("JUPYTER_CONFIG_DIR", config.to_str().unwrap())
        .env("JUPYTER_PASSWORD", "of my own")
        .run();
    assert!(
        ended.stdout.contains("argon2:"),
        "{}{}",
        ended.stdout,
        ended.stderr
    );
    let last = format!("/.jupyter:{}\n", config.display());
    assert!(ended.stdout.ends_with(&last), "{}", ended.stdout);
}

#[test]
fn two_containers_with_one_directory_for_temporary_files_have_a_home_each() {
    let image = Image::new();
    let script = "echo runtime is $JUPYTER_RUNTIME_DIR; exec sleep 1000";
    let start = || {
        let start = read_only(&image, &["home"]).args(["--", "sh", "-c", script]);
        let mut running = start.start();
        let line = running.wait_for("runtime is /");
        (running, line)
    };
    let (mut one, first) = start();
    let (mut other, second) = start();
    assert_ne!(first, second);
    for running in [&mut one, &mut other] {
        running.signal(15);
        assert_eq!(running.end(), 143);
    }
    assert_eq!(start().1, first, "a restart");
}
