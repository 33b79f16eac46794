//! `NB_USER`: a home that the engine made as root, for the container's working directory or above a
//! mount point, is the person's.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Image, PROGRAM, Start, UID};

/// A start in a copy of the system, and the same start again.
const TWICE: &str =
    "cd $0; mkdir -p layer; mount -t tmpfs tmpfs layer; cd layer; mkdir new work root
mount -t overlay overlay root -o lowerdir=/,upperdir=$PWD/new,workdir=$PWD/work; cd root
for place in /dev /proc $0 ${1%/*}; do mount --rbind $place .$place; done
exec chroot . sh -ec '\"$@\"; exec \"$@\"' sh \"$@\"";

fn start(image: &Image, name: &str, uid: u32, options: &[&str], command: &str) -> Start {
    after("", image, name, uid, options, command)
}

/// The same after a script in the image's directory.
pub fn after(
    script: &str,
    image: &Image,
    name: &str,
    uid: u32,
    options: &[&str],
    command: &str,
) -> Start {
    let path = |name: &str| image.path(name).display().to_string();
    let script = format!("cd $0\n{script}\n{TWICE}");
    Start::wrapped("sh")
        .args(["-ec", &script, image.dir.path().to_str().unwrap(), PROGRAM])
        .args(["--notebook-defaults", &path("defaults")])
        .args(["--venv", &path("venv"), "--state-dir", &path("state")])
        .args(["--docker-socket", &path("no.sock")])
        .args(options)
        .args(["--", "sh", "-c", command])
        .env("NB_USER", name)
        .env("NB_UID", &uid.to_string())
}

#[test]
fn what_the_engine_made_is_the_persons() {
    let place = tempfile::tempdir_in("/srv").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let image = Image::new();
    let home = place.path().join("alice");
    fs::create_dir_all(home.join("data/deep")).unwrap();
    let start = |options: &[&str], command: &str| {
        let start = start(&image, "alice", UID, options, command);
        start.env("HOME", home.to_str().unwrap()).run()
    };
    let dry = start(&["--dry-run"], "true");
    for planned in [
        format!("  hand over {}/\n", home.display()),
        format!("  make {}/notebooks\n", home.display()),
    ] {
        assert!(
            dry.stdout.contains(&planned),
            "{}{}",
            dry.stdout,
            dry.stderr
        );
    }
    let ended = start(&[], "touch ~/x; stat -c %u ~ ~/x ~/data; ls ~/notebooks");
    let said = format!("{UID}\n{UID}\n0\nstart.ipynb\n");
    assert_eq!(ended.stdout, said.repeat(2), "{}", ended.stderr);
    assert!(!ended.stderr.contains("cannot be"), "{}", ended.stderr);
}
