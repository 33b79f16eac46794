//! Account files in every shape, and namespaces that lack an id.

use super::golden::{lived, start};
use super::rights::socket;
use crate::support::{Image, PROGRAM, Start};

/// A start in a copy of the system whose `/etc/group` has these lines besides; `also` is
/// done in its `/etc` before.
fn with_accounts(image: &Image, lines: &str, also: &str, options: &[&str]) -> Start {
    let program = std::path::Path::new(PROGRAM).parent().unwrap();
    let script = format!(
        "cd {image}\nmkdir layer\nmount -t tmpfs tmpfs layer\n\
         mkdir layer/new layer/work layer/root\n\
         mount -t overlay overlay layer/root \
         -o lowerdir=/,upperdir=$PWD/layer/new,workdir=$PWD/layer/work\n\
         cd layer/root\n\
         for place in /dev /proc {image} {program}; do mount --rbind $place .$place; done\n\
         cd etc\n\
         printf 'root:x:0:0::/root:/bin/sh\\ntoor:x:0:0::/root:/bin/sh\\n' >passwd\n\
         printf 'daemon:x:1:1::/:/bin/sh\\n' >>passwd\n\
         printf 'root:x:0:\\ndaemon:x:1:\\n{lines}' >group\n\
         rm -f gshadow\n{also}\n\
         exec chroot .. {PROGRAM} \"$@\"",
        image = image.dir.path().display(),
        program = program.display(),
    );
    Start::wrapped("unshare")
        .args(["-m", "sh", "-e", "-c", &script, "sh"])
        .args(image.options())
        .args(["--user", "daemon", "--group", "daemon"])
        .args(options)
        .args(["--", "true"])
}

#[test]
fn the_group_file() {
    const GRANTED: &str = "echo docker:daemon >.ai-lab-grants";
    let other = "docker:x:999:daemon\\n";
    start("group-withdrawn", |image| {
        with_accounts(image, other, GRANTED, &[])
    });
    start("group-damaged-stays", |image| {
        with_accounts(image, "docker:x\\n", GRANTED, &[])
    });
    let joins = |name: &str, lines: &str, also: &str, group: &str| {
        start(name, |image| {
            let socket = socket(image, 55_555, 0o660);
            let options = ["--docker-socket", &socket, "--docker-group", group];
            with_accounts(image, lines, also, &options)
        });
    };
    joins("group-damaged", "docker:x\\n", "", "docker");
    joins("group-twice", "docker:x:7:\\ndocker:x:8:\\n", "", "docker");
    joins("group-misnamed", "", "", "+docker");
    // Of a process that lives for as long as it is waited for.
    let hold = "sleep 600 &\\necho $! >group.lock".replace("\\n", "\n");
    joins("group-locked", "", &hold, "docker");
}

/// A uid without a name, in an image that lets its users write `/etc/passwd`.
#[test]
fn a_start_without_root_that_can_enter_its_name() {
    for (name, other, options) in [
        ("name-appended", "", &["--dry-run"][..]),
        ("name-taken", "lab-4242:x:1007:7::/:/bin/sh", &[]),
    ] {
        start(name, |image| {
            let also = format!(
                "printf 'lab:x:1007:7::{}:/bin/sh\\n{other}\\n' >>passwd\n\
                 chmod 666 passwd\n\
                 install -d -o 4242 {}\n\
                 exec chroot --userspec=4242:4242 .. {PROGRAM} \"$@\"",
                image.path("home").display(),
                image.path("state").display()
            );
            with_accounts(image, "", &also, options)
        });
    }
}

/// It is entered into the group file, so the file must not be the machine's.
#[test]
fn a_socket_of_root() {
    for (name, also) in [
        ("socket-of-root", ""),
        ("socket-of-root-in-a-lax-image", "chmod 664 passwd"),
    ] {
        start(name, |image| {
            let socket = socket(image, 0, 0o660);
            with_accounts(image, "", also, &["--docker-socket", &socket])
        });
    }
    start("socket-of-root-withdrawn", |image| {
        with_accounts(
            image,
            "",
            "sed -i 's/^root.*/&daemon/' group; echo root:daemon >.ai-lab-grants",
            &[],
        )
    });
    start("socket-without-its-owner", |image| {
        let socket = socket(image, 55_555, 0o066);
        std::os::unix::fs::chown(&socket, Some(1), None).unwrap();
        with_accounts(image, "", "", &["--docker-socket", &socket])
    });
}

#[test]
fn groups_of_root() {
    start("groups-of-root", |image| {
        let lines = "disk:x:6:root\\nshadow:x:42:toor\\n";
        with_accounts(image, lines, "", &[]).under(&["setpriv", "--groups", "6,42", "--"])
    });
}

#[test]
fn another_name_for_root() {
    start("user-is-root", |image| {
        with_accounts(image, "", "", &["--user", "toor"])
    });
}

/// A start as root of a user namespace with these maps.
fn in_namespace(image: &Image, [uids, gids, setgroups]: [&str; 3], options: &[&str]) -> Start {
    let script = format!(
        "cd {}\nmkfifo up go\n\
         unshare --user sh -c 'echo up >up; read x <go; exec {PROGRAM} \"$@\"' sh \"$@\" &\n\
         read x <up\n\
         echo {setgroups} >/proc/$!/setgroups\n\
         echo {uids} >/proc/$!/uid_map\n\
         echo {gids} >/proc/$!/gid_map\n\
         echo go >go\n\
         wait $!",
        image.dir.path().display()
    );
    let start = Start::wrapped("sh").args(["-c", &script, "sh"]);
    let start = start.args(image.options()).args(options);
    start.args(["--", "true"])
}

#[test]
fn a_user_namespace_that_lacks_an_id() {
    for (name, maps) in [
        ("namespace-no-uid", ["0 0 1", "0 0 1", "allow"]),
        ("namespace-no-gid", ["0 0 9999", "0 0 1", "allow"]),
        ("namespace-no-setgroups", ["0 0 9999", "0 0 9999", "deny"]),
    ] {
        lived(
            name,
            // A group that is to go.
            |image| in_namespace(image, maps, &[]).under(&["setpriv", "--groups", "0", "--"]),
            |running| running.end(),
        );
    }
}

/// As with `--group-add keep-groups` of a rootless Podman.
#[test]
fn groups_that_the_user_namespace_lacks() {
    start("groups-of-the-host", |image| {
        let maps = ["0 0 9999", "0 0 9999", "allow"];
        in_namespace(image, maps, &[]).under(&["setpriv", "--groups", "44444", "--"])
    });
}

#[test]
fn a_socket_whose_group_the_user_namespace_lacks() {
    start("socket-of-no-group-here", |image| {
        let socket = socket(image, 55_555, 0o660);
        let maps = ["0 0 9999", "0 0 9999", "allow"];
        in_namespace(image, maps, &["--docker-socket", &socket])
    });
}
