//! Root gives away what is new, and no directory of the host's that is mounted in the container.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use crate::persons_home;
use crate::support::{Image, PROGRAM, Start, UID};

/// What may be mounted, in `host`: the first line is new, or holds what engines make in HOME. Docker
/// gives a tmpfs the mode that the image's HOME has. `root` is the host's root file system, of which
/// engines mount files, and `data` another disk.
const MADE: &str = "umask 022; mkdir -p host; cd host
mkdir -p new way/to/it volumes/nb/_data/empty volumes/nb/_data/mine fresh
mkdir -p tmp/.X11-unix tmp/systemd-private-1/tmp home/alice mnt/usb drop open team disk root data
mount -t tmpfs -o mode=755 tmpfs way/to/it
mount -t tmpfs -o mode=1775 tmpfs fresh; mkdir fresh/lost+found
mount -t tmpfs -o mode=755 tmpfs disk; mkdir disk/lost+found disk/alice
mount -t tmpfs tmpfs root; mkdir -p root/srv root/var/lib/engine
mount -t tmpfs tmpfs data; mkdir -p data/srv data/home
chown 4242 volumes/nb/_data/mine home/alice disk/alice
chmod 1777 tmp drop; chmod 777 open; chgrp 4321 team; chmod 2775 team; cd ..
put() { mkdir -p $2; mount --rbind host/$1 $2; }
";

const NAMES: [&str; 11] = [
    "new",
    "way",
    "fresh",
    "volumes/nb/_data",
    "tmp",
    "home",
    "mnt",
    "drop",
    "open",
    "team",
    "disk",
];

/// Mounts all of them in a directory, each under the last name of its path.
fn put_in(directory: &str) -> String {
    let mut script = format!(
        "{MADE}put root/var/lib/engine engine; put root/srv {directory}/srv\n\
         put data/srv {directory}/data\n"
    );
    for name in NAMES {
        let last = name.rsplit('/').next().unwrap();
        script.push_str(&format!("put {name} {directory}/{last}\n"));
    }
    script
}

/// The owners of these, as a command tells them.
const OWNERS: &str = "stat -c '%n %u:%g' *";

fn judge(stdout: &str, stderr: &str) {
    let all = "_data 4242:4242
data 4242:4242
disk 0:0
drop 0:0
fresh 4242:4242
home 0:0
mnt 0:0
new 4242:4242
open 0:0
srv 0:0
team 0:4321
tmp 0:0
way 0:0
";
    let mounts = stdout
        .lines()
        .filter(|line| !line.starts_with("start.ipynb"));
    let mounts: String = mounts.map(|line| format!("{line}\n")).collect();
    assert_eq!(mounts, all, "{stderr}");
}

/// A start after a script in the image's directory.
fn after(image: &Image, script: &str) -> Start {
    let script = format!("cd {}\n{script}\nexec \"$@\"", image.dir.path().display());
    let start = Start::wrapped("sh").args(["-ec", &script, "sh", PROGRAM]);
    start.args(image.options())
}

#[test]
fn a_directory_of_the_hosts_inside_the_notebooks_stays_the_hosts() {
    let image = Image::new();
    let command = format!("cd {}; {OWNERS}", image.path("notebooks").display());
    let ended = after(&image, &put_in("notebooks"))
        .args(["--", "sh", "-c", &command])
        .run();
    judge(&ended.stdout, &ended.stderr);
}

/// As SystemUserSpawner mounts them beside a person's home.
#[test]
fn so_it_is_in_a_persons_home() {
    let image = Image::new();
    let home = image.path("alice");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(UID), Some(UID)).unwrap();
    let command = format!("cd; rm -rf notebooks; {OWNERS}");
    let ended = persons_home::after(&put_in("alice"), &image, "alice", UID, &[], &command)
        .env("HOME", home.to_str().unwrap())
        .run();
    let (first, second) = ended.stdout.split_at(ended.stdout.len() / 2);
    judge(first, &ended.stderr);
    assert_eq!(first, second);
}

#[test]
fn so_it_is_where_jupyter_keeps_its_files_and_for_home_itself() {
    let command = "cd; stat -c '%n %u:%g' .cache .config .ipython .jupyter .local";
    let places = [
        ("tmp", ".cache"),
        ("home", ".config"),
        ("new", ".ipython"),
        ("drop", ".jupyter"),
        ("team", ".local"),
    ];
    let puts = places.map(|(name, place)| format!("put {name} home/{place}\n"));
    let image = Image::new();
    let start = after(&image, &format!("{MADE}{}", puts.concat()));
    let ended = start.args(["--", "sh", "-c", command]).run();
    let said = ".cache 0:0\n.config 0:0\n.ipython 4242:4242\n.jupyter 0:0\n.local 0:4321\n";
    assert_eq!(ended.stdout, said, "{}", ended.stderr);

    let below = |image: &Image| image.path("home/work/deep").display().to_string();
    for (name, owner) in [
        ("home", 0),
        ("drop", 0),
        ("new", UID),
        ("way", UID),
        ("data/home", UID),
    ] {
        let image = Image::new();
        let start = after(&image, &format!("{MADE}put {name} home\n"));
        let start = start.args(["--notebooks", &below(&image)]);
        let ended = start.args(["--", "sh", "-c", "stat -c %u ~"]).run();
        let owner = format!("{owner}\n");
        assert_eq!(ended.stdout, owner, "{name}: {}", ended.stderr);
    }
}

/// Such as `-v /tmp:/home/jupyter/notebooks`: everyone can write there.
#[test]
fn the_hosts_tmp_as_notebooks_stays_as_it_is() {
    let image = Image::new();
    let script =
        format!("{MADE}touch host/tmp/theirs; chown 4711 host/tmp/theirs\nput tmp notebooks");
    let start = |policy| {
        let start = after(&image, &script).args(["--volume-owner", policy]);
        let notebooks = image.path("notebooks");
        let look = format!(
            "cd {}; stat -c %u . theirs .X11-unix start.ipynb",
            notebooks.display()
        );
        let look = ["--", "sh", "-c", &look];
        let ended = start.args(look).run();
        (ended.stdout, ended.stderr)
    };
    let (stdout, stderr) = start("auto");
    assert_eq!(stdout, "0\n4711\n0\n4242\n", "{stderr}");
    let (stdout, stderr) = start("chown");
    assert_eq!(stdout, "4242\n".repeat(4), "{stderr}");
}

#[test]
fn an_adopted_owner_gets_nothing_else_of_the_hosts() {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    chown(image.path("notebooks"), Some(4711), Some(4711)).unwrap();
    let script = format!(
        "{MADE}mkdir host/conf host/bobs; touch host/conf/a host/bobs/b; chown -R 4712 host/bobs\n\
         put conf home/.config; put bobs home/.jupyter"
    );
    let ended = after(&image, &script)
        .args(["--volume-owner", "adopt", "--", "id", "-u"])
        .run();
    assert_eq!(ended.stdout, "4711\n", "{}", ended.stderr);
    for (name, uid) in [
        ("host/conf", 0),
        ("host/conf/a", 0),
        ("host/bobs", 4712),
        ("host/bobs/b", 4712),
        ("home/.cache", 4711),
    ] {
        let data = fs::metadata(image.path(name)).unwrap();
        assert_eq!(data.uid(), uid, "{name}: {}", ended.stderr);
    }
}

/// HOME is the host's, and what an earlier start left there becomes the adopted owner's.
#[test]
fn an_adopted_owner_gets_what_is_kept_in_a_home_of_the_hosts() {
    let image = Image::new();
    fs::create_dir(image.path("notebooks")).unwrap();
    chown(image.path("notebooks"), Some(4711), Some(4711)).unwrap();
    let script = format!(
        "{MADE}mkdir -p host/me/.jupyter host/me/.local host/me/.config; chown -R {UID} host/me\n\
         put me home; put drop home/.config"
    );
    let ended = after(&image, &script)
        .args(["--volume-owner", "adopt", "--"])
        .args(["sh", "-c", "cd; stat -c '%n %u' .jupyter .local .config"])
        .run();
    let owners = ".jupyter 4711\n.local 4711\n.config 0\n";
    assert_eq!(ended.stdout, owners, "{}", ended.stderr);
}
