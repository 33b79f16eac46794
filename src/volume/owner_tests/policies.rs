//! Whom the volume belongs to under each policy.

use super::*;

#[test]
fn adopt_takes_the_volumes_owner_and_changes_nothing() {
    let ground = Ground::new();
    let file = ground.file("file");
    chown(ground.volume(""), Some(1000), Some(1001)).unwrap();
    let claimed = ground.claim(VolumeOwner::Adopt).unwrap();
    assert_eq!(claimed.adopted, Some((1000, 1001)));
    assert_eq!(owner(&file).0, 0);
    // Group 0 is replaced by the user's.
    chown(ground.volume(""), Some(1000), Some(0)).unwrap();
    let claimed = ground.claim(VolumeOwner::Adopt).unwrap();
    assert_eq!(claimed.adopted, Some((1000, GID)));
    assert_eq!(owner(&ground.volume("")).1, 0);
}

#[test]
fn adopt_refuses_root() {
    let ground = Ground::new();
    chown(ground.volume(""), Some(0), Some(1001)).unwrap();
    let refused = ground.claim(VolumeOwner::Adopt).unwrap_err();
    assert!(matches!(refused, VolumeError::AdoptRoot(_)));
    assert!(refused.to_string().contains("--volume-owner chown"));
}

#[test]
fn keep_touches_nothing() {
    let ground = Ground::new();
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
        let ground = Ground::new();
        let missing = ground.outside("a/b");
        let claimed = claim_at(&missing, policy).unwrap();
        assert!(claimed.created);
        assert_eq!(owner(&missing), (UID, GID, 0o755));
        assert_eq!(owner(&ground.outside("a")), (UID, GID, 0o755));
        assert_eq!(owner(&ground.outside("")).0, 0);
        assert!(!claim_at(&missing, policy).unwrap().created);
    }
}
