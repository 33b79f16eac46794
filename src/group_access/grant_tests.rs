#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use super::*;
use crate::group_access::testing::{GROUPS, World, causes};

#[test]
fn a_group_with_the_sockets_gid_gets_the_user() {
    let world = World::new(GROUPS);
    let access = world.socket(700, 0o660).start();
    assert_eq!(access.gids, [700]);
    assert_eq!(access.enabled, [world.path("docker.sock")]);
    assert_eq!(access.degradations, []);
    let expected = GROUPS.replace("ann", "ann,bob");
    assert_eq!(world.text("etc/group"), expected);
    assert!(world.text("etc/gshadow").contains("taken:!:adm:ann,bob\n"));
    let socket = fs::metadata(world.path("docker.sock")).unwrap();
    assert_eq!((socket.gid(), socket.mode() & 0o7777), (700, 0o660));
}

#[test]
fn without_such_a_group_the_docker_group_gets_the_gid() {
    for (before, after) in [("", ""), ("docker:x:998:eve\n", "eve,")] {
        let world = World::new(&format!("{GROUPS}{before}"));
        let access = world.socket(1234, 0o660).start();
        assert_eq!(access.gids, [1234]);
        let expected = format!("{GROUPS}docker:x:1234:{after}bob\n");
        assert_eq!(world.text("etc/group"), expected);
        assert!(world.text("etc/gshadow").contains("docker:!::bob\n"));
    }
}

#[test]
fn a_second_start_changes_nothing() {
    let world = World::new(GROUPS);
    let first = world.socket(1234, 0o660).start();
    let stat = |name: &str| fs::metadata(world.path(name)).unwrap().ino();
    let before = (stat("etc/group"), stat("etc/gshadow"));
    assert_eq!(world.start(), first);
    assert_eq!((stat("etc/group"), stat("etc/gshadow")), before);
}

fn left(user: &str, group: &str) -> (String, String) {
    (user.to_owned(), group.to_owned())
}

#[test]
fn memberships_that_no_longer_apply_are_withdrawn() {
    let world = World::new(GROUPS);
    world.socket(700, 0o660).start();
    assert_eq!(world.account().groups, [700]);

    // On another host, the socket has another gid.
    world.socket(1234, 0o660);
    let account = world.account();
    let access = world.start();
    assert_eq!(access.withdrawn, [left("bob", "taken")]);
    assert_eq!(access.gids, [1234]);
    assert_eq!(access.own_groups(&account), Vec::<u32>::new());
    let expected = format!("{GROUPS}docker:x:1234:bob\n");
    assert_eq!(world.text("etc/group"), expected);
    assert!(world.text("etc/gshadow").contains("taken:!:adm:ann\n"));

    // On a third host: the docker group gets the new gid, and no group has its old one.
    world.socket(1235, 0o660);
    let account = world.account();
    let access = world.start();
    assert_eq!((access.withdrawn.len(), &access.gids[..]), (0, &[1235][..]));
    assert_eq!(access.own_groups(&account), Vec::<u32>::new());

    // Another user; then no socket.
    let world = World {
        user: "eve",
        ..world
    };
    assert_eq!(world.start().withdrawn, [left("bob", "docker")]);
    fs::remove_file(world.path("docker.sock")).unwrap();
    let access = world.start();
    assert_eq!(access.withdrawn, [left("eve", "docker")]);
    assert_eq!(world.text("etc/group"), format!("{GROUPS}docker:x:1235:\n"));
    assert_eq!(world.text(&format!("etc/{RECORD}")), "");
}

#[test]
fn the_images_own_memberships_are_never_withdrawn() {
    let groups = GROUPS.replace("ann", "bob");
    let world = World::new(&groups);
    let account = world.account();
    for gid in [700, 1234] {
        let access = world.socket(gid, 0o660).start();
        assert_eq!((access.gids, access.withdrawn.len()), (vec![gid], 0));
    }
    let access = world.start();
    assert_eq!(access.own_groups(&account), [700]);
    assert!(world.text("etc/group").starts_with(&groups));
}

#[test]
fn a_fixed_group_of_the_distribution_is_for_the_process_alone() {
    let world = World::new(GROUPS);
    let access = world.socket(42, 0o660).start();
    assert_eq!((&access.gids[..], access.enabled.len()), (&[42][..], 1));
    assert!(causes(&access).contains("the system's group shadow"));
    assert_eq!(world.text("etc/group"), GROUPS);
}

#[test]
fn group_root_is_given_with_a_warning() {
    let world = World::new(GROUPS);
    let access = world.socket(0, 0o660).start();
    assert_eq!((&access.gids[..], access.enabled.len()), (&[0][..], 1));
    assert!(causes(&access).contains("bob gets group root"));
    assert_eq!(
        world.text("etc/group"),
        GROUPS.replace("root:x:0:", "root:x:0:bob")
    );
    assert_eq!(world.start(), access, "each start says so");
    fs::remove_file(world.path("docker.sock")).unwrap();
    let access = world.start();
    assert_eq!(access.withdrawn, [("bob".into(), "root".into())]);
    assert!(access.own_groups(&world.account()).is_empty());
    assert_eq!(world.text("etc/group"), GROUPS);
    // Without the group's line, the process alone gets it.
    fs::write(world.path("etc/group"), "docker:x:700:\n").unwrap();
    let access = world.socket(0, 0o660).start();
    assert_eq!(access.gids, [0]);
    assert_eq!(world.text("etc/group"), "docker:x:700:\n");
}

#[test]
fn what_group_root_can_write_besides_is_named() {
    let world = World::new(GROUPS);
    fs::create_dir_all(world.path("usr/bin")).unwrap();
    for (name, gid, mode) in [
        ("etc/passwd", 0, 0o664),
        ("etc/of-another-group", 7, 0o664),
        ("etc/of-everybody", 0, 0o666),
        ("usr/bin/program", 0, 0o755),
    ] {
        fs::write(world.path(name), "").unwrap();
        chown(world.path(name), Some(0), Some(gid)).unwrap();
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let access = world.socket(0, 0o660).start();
    let passwd = world.path("etc/passwd").display().to_string();
    let said = causes(&access);
    assert!(said.contains(&format!("can write {passwd} here")), "{said}");
    // Five, of which three are named.
    for name in ["etc/a/b/c", "etc/d", "usr/bin/e", "usr/bin/f"] {
        fs::create_dir_all(world.path(name)).unwrap();
        fs::set_permissions(world.path(name), fs::Permissions::from_mode(0o775)).unwrap();
    }
    let said = causes(&world.start());
    assert!(
        said.contains(&format!("{passwd} and 2 more here")),
        "{said}"
    );
    // For a socket of another group all that means nothing.
    assert_eq!(causes(&world.socket(700, 0o660).start()), "");
}

#[test]
fn an_absent_socket_is_silent_and_an_absent_path_is_not() {
    let world = World::new(GROUPS);
    assert_eq!(world.start(), Access::default());
    let mut docker = world.docker();
    docker.grant_access = vec![world.path("renderD128")];
    let access = world.grant(&world.account(), &docker);
    assert!(causes(&access).contains("renderD128"));
    assert_eq!(access.enabled, Vec::<PathBuf>::new());
}

#[test]
fn a_second_path_gets_a_group_of_its_own() {
    let world = World::new(GROUPS);
    world.socket(1234, 0o660);
    let device = world.path("renderD128");
    fs::write(&device, "").unwrap();
    chown(&device, None, Some(1105)).unwrap();
    fs::set_permissions(&device, fs::Permissions::from_mode(0o660)).unwrap();
    let mut docker = world.docker();
    docker.grant_access = vec![device];
    let access = world.grant(&world.account(), &docker);
    assert_eq!(access.gids, [1105, 1234]);
    assert_eq!(access.degradations, []);
    let expected = format!("{GROUPS}docker:x:1234:bob\nai-lab-1105:x:1105:bob\n");
    assert_eq!(world.text("etc/group"), expected);
}

#[test]
fn the_users_own_group_is_not_moved() {
    let world = World::new("docker:x:1000:\n");
    let access = world.socket(1234, 0o660).start();
    assert_eq!(access.gids, [1234]);
    assert!(causes(&access).contains("the user's own"));
    assert_eq!(world.text("etc/group"), "docker:x:1000:\n");
}

#[test]
fn a_user_without_a_name_gets_the_group_as_a_process() {
    let world = World::new(GROUPS);
    world.socket(700, 0o660);
    let account = Account {
        in_passwd: false,
        ..world.account()
    };
    let access = world.grant(&account, &world.docker());
    assert_eq!(
        (&access.gids[..], access.degradations.len()),
        (&[700][..], 0)
    );
    assert_eq!(world.text("etc/group"), GROUPS);
}

#[test]
fn who_has_access_already_joins_nothing() {
    let world = World::new(GROUPS);
    world.socket(700, 0o660);
    // One has the gid as its primary group, the other from another source than the file.
    let (mut primary, mut elsewhere) = (world.account(), world.account());
    primary.gid = 700;
    elsewhere.groups = vec![700];
    for account in [primary, elsewhere] {
        let access = world.grant(&account, &world.docker());
        assert_eq!((access.enabled.len(), &access.gids[..]), (1, &[700][..]));
        assert_eq!(world.text("etc/group"), GROUPS, "{account:?}");
    }
    world.socket(700, 0o000);
    let root = Account {
        uid: 0,
        ..world.account()
    };
    let access = world.grant(&root, &world.docker());
    assert_eq!((access.enabled.len(), access.gids.len()), (1, 0));
}

#[test]
fn a_group_file_that_cannot_be_edited_costs_a_warning() {
    let damaged = World::new("taken:x:700:\ntaken:x:701:\n");
    let link = World::new(GROUPS);
    fs::rename(link.path("etc/group"), link.path("etc/real")).unwrap();
    std::os::unix::fs::symlink("real", link.path("etc/group")).unwrap();
    let absent = World::new(GROUPS);
    fs::remove_file(absent.path("etc/group")).unwrap();
    for world in [damaged, link, absent] {
        let access = world.socket(700, 0o660).start();
        assert_eq!(access.gids, [700]);
        assert_eq!(access.enabled.len(), 1);
        assert!(causes(&access).contains("processes"), "{access:?}");
    }
}

/// Runs itself again in a mount namespace of its own, because it mounts.
#[test]
fn a_read_only_etc_costs_a_warning() {
    const NAME: &str = "group_access::grant::tests::a_read_only_etc_costs_a_warning";
    const CHILD: &str = "AI_LAB_TEST_READ_ONLY";
    if std::env::var_os(CHILD).is_none() {
        let output = Command::new("unshare")
            .args(["-m"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let world = World::new(GROUPS);
    world.socket(700, 0o660).start();
    let before = world.text("etc/group");
    let etc = world.path("etc");
    let mount = |options: &str| {
        let status = Command::new("mount")
            .args(["-o", options])
            .arg(&etc)
            .arg(&etc)
            .status();
        assert!(status.unwrap().success());
    };
    mount("bind");
    mount("remount,bind,ro");
    // Nothing has to change, so there is no warning.
    assert_eq!(world.start().degradations, []);
    world.socket(1234, 0o660);
    let account = world.account();
    let access = world.start();
    assert_eq!(access.gids, [1234]);
    assert!(causes(&access).contains("Read-only"), "{access:?}");
    assert_eq!(access.withdrawn, []);
    assert_eq!(
        access.own_groups(&account),
        Vec::<u32>::new(),
        "gone for the process"
    );
    assert_eq!(world.text("etc/group"), before);
    // The directory can be removed only when nothing is mounted in it.
    let status = Command::new("umount").arg(&etc).status();
    assert!(status.unwrap().success());
}
