//! The owner of the volume under each policy.

use super::*;

#[test]
fn adopt_takes_the_volumes_owner_and_changes_nothing() {
    let ground = TestVolume::new();
    let file = ground.file("file");
    chown(ground.volume(""), Some(1000), Some(1001)).unwrap();
    let claimed = ground.claim(VolumeOwner::Adopt).unwrap();
    assert_eq!(claimed.adopted, Some((1000, 1001)));
    assert_eq!(owner(&file).0, 0);
    // The user's group replaces group 0.
    chown(ground.volume(""), Some(1000), Some(0)).unwrap();
    let claimed = ground.claim(VolumeOwner::Adopt).unwrap();
    assert_eq!(claimed.adopted, Some((1000, GID)));
    assert_eq!(owner(&ground.volume("")).1, 0);
}

#[test]
fn adopt_refuses_root() {
    let ground = TestVolume::new();
    chown(ground.volume(""), Some(0), Some(1001)).unwrap();
    let refused = ground.claim(VolumeOwner::Adopt).unwrap_err();
    assert!(matches!(refused, VolumeError::AdoptRoot(_)));
    assert!(refused.to_string().contains("--volume-owner chown"));
}

#[test]
fn keep_touches_nothing() {
    let ground = TestVolume::new();
    let file = ground.file("file");
    let before = [changed(&file), changed(&ground.volume(""))];
    let claimed = ground.claim(VolumeOwner::Keep).unwrap();
    assert_eq!([changed(&file), changed(&ground.volume(""))], before);
    assert_eq!((claimed.checked, claimed.changed), (0, 0));
    assert_eq!(owner(&file).0, 0);
}

#[test]
fn a_missing_volume_is_made_for_the_user() {
    for policy in [VolumeOwner::Chown, VolumeOwner::Adopt] {
        let ground = TestVolume::new();
        let missing = ground.outside("a/b");
        let claimed = claim_at(&missing, policy).unwrap();
        assert!(claimed.created);
        assert_eq!(owner(&missing), (UID, GID, 0o755));
        assert_eq!(owner(&ground.outside("a")), (UID, GID, 0o755));
        assert_eq!(owner(&ground.outside("")).0, 0);
        assert!(!claim_at(&missing, policy).unwrap().created);
    }
}

/// The host's directories of a bind mount and of a Docker volume.
const HOST: &str = "home/me/work";
const ENGINE: &str = "var/lib/docker/volumes/nb/_data";

#[test]
fn auto_adopts_a_bind_mount_of_another_ordinary_user_alone() {
    for (source, uid, adopted) in [
        (HOST, 4444, true),
        (HOST, 501, true),
        (HOST, 100_001, true),
        (HOST, UID, false),
        (HOST, 0, false),
        (HOST, 33, false),
        (HOST, 65_534, false),
        (HOST, u32::MAX - 1, false),
        (ENGINE, 4444, false),
        (ENGINE, 0, false),
    ] {
        let ground = TestVolume::new();
        let source = ground.outside(source);
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("file"), "").unwrap();
        for path in [source.clone(), source.join("file")] {
            chown(path, Some(uid), Some(4445)).unwrap();
        }
        let claimed = with_mounts(|| {
            rustix::mount::mount_bind(&source, ground.volume("")).unwrap();
            ground.claim(VolumeOwner::Auto).unwrap()
        });
        let case = format!("{} of uid {uid}", source.display());
        assert_eq!(claimed.adopted.is_some(), adopted, "{case}");
        let expected = if adopted { uid } else { UID };
        assert_eq!(owner(&source.join("file")).0, expected, "{case}");
        if !adopted && uid != UID {
            assert_eq!(claimed.former, [(uid, 2)].into(), "{case}");
        }
    }
}

/// Such as an NFS export, a disk or a Kubernetes volume.
#[test]
fn auto_adopts_a_whole_file_system_of_another_ordinary_user() {
    let ground = TestVolume::new();
    let adopted = with_mounts(|| {
        mount_tmpfs(&ground.volume(""), "1m");
        chown(ground.volume(""), Some(4444), Some(4445)).unwrap();
        ground.claim(VolumeOwner::Auto).unwrap().adopted
    });
    assert_eq!(adopted, Some((4444, 4445)));
}

#[test]
fn auto_hands_over_a_directory_of_the_containers_own() {
    let ground = TestVolume::new();
    chown(ground.volume(""), Some(4444), Some(4444)).unwrap();
    assert_eq!(ground.claim(VolumeOwner::Auto).unwrap().adopted, None);
    assert_eq!(owner(&ground.volume("")).0, UID);
}

#[test]
fn former_owners_are_counted_as_far_as_they_are_few() {
    let ground = TestVolume::new();
    for uid in 2000..2020 {
        chown(ground.file(&uid.to_string()), Some(uid), None).unwrap();
    }
    let claimed = ground.chown();
    assert_eq!(claimed.changed, 21);
    assert_eq!(claimed.former.len(), 8);
}
