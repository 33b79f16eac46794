#![allow(clippy::unwrap_used)]

use std::os::unix::fs::chown;

use super::*;
use crate::group_access::testing::{GROUPS, World, causes};

#[test]
fn without_group_permissions_the_exact_command_is_named() {
    for (mode, shown) in [
        (0o600, "-rw-------"),
        (0o755, "-rwxr-xr-x"),
        (0o640, "-rw-r-----"),
    ] {
        let world = World::new(GROUPS);
        let access = world.socket(700, mode).start();
        let socket = world.path("docker.sock").display().to_string();
        let expected = Degradation::new(
            format!("No rw permissions for group in {shown} {socket}."),
            format!("docker run --rm -v {socket}:{socket} debian chmod g+rw {socket}"),
        );
        assert_eq!(access.degradations, [expected]);
        assert_eq!((access.gids.len(), access.enabled.len()), (0, 0));
        assert_eq!(world.text("etc/group"), GROUPS);
    }
}

/// The kernel asks nothing about others, once the owner has failed.
#[test]
fn an_owner_without_permissions_is_told_so_whatever_others_can() {
    let world = World::new(GROUPS);
    for mode in [0o066, 0o406, 0o060] {
        world.socket(700, mode);
        chown(world.path("docker.sock"), Some(1000), None).unwrap();
        let access = world.start();
        assert_eq!(
            (access.gids.len(), access.enabled.len()),
            (0, 0),
            "{mode:o}"
        );
        let said = causes(&access);
        assert!(said.starts_with("No rw permissions for its owner, bob, in -"));
    }
}

#[test]
fn what_everyone_or_the_owner_may_use_needs_no_group() {
    let world = World::new(GROUPS);
    for (gid, mode) in [(700, 0o606), (700, 0o666), (0, 0o666)] {
        let access = world.socket(gid, mode).start();
        assert_eq!((access.gids.len(), access.enabled.len()), (0, 1), "{gid}");
        assert!(access.degradations.is_empty(), "{access:?}");
    }
    world.socket(700, 0o600);
    chown(world.path("docker.sock"), Some(1000), None).unwrap();
    assert_eq!(world.start().enabled.len(), 1);
    assert_eq!(world.text("etc/group"), GROUPS);
    // For members the group's bits count, even if others may do more.
    let groups = GROUPS.replace("ann", "bob");
    let world = World::new(&groups);
    assert!(causes(&world.socket(700, 0o606).start()).contains("No rw"));
}

#[test]
fn a_directory_in_the_sockets_place_is_reported() {
    let world = World::new(GROUPS);
    fs::create_dir(world.path("docker.sock")).unwrap();
    let access = world.start();
    assert!(causes(&access).contains("not a socket"));
    assert_eq!(access.gids, Vec::<u32>::new());
}
