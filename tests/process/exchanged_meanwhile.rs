//! What root gives to the user is what root has looked at, at whatever moment somebody who can
//! write above it puts something else in its place.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use crate::support::tracer::{End, Then, stop_before_each};
use crate::support::{Image, Start, UID, repeated};

/// How many system calls root makes with the directory until it is the user, at the very least.
const FEWEST: usize = 10;

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// A state directory below one of the user's: another container with the same volume is the
/// user at any moment. Exhaustive: the way is exchanged before each of root's calls in
/// turn, from the first that names it.
#[test]
fn a_directory_above_the_state_directory_is_exchanged() {
    let image = Image::new();
    let at = |name: &str| image.path(name);
    let [way, kept, victim] = ["shared/way", "shared/kept", "victim"].map(at);
    let mut given = 0;
    for nth in (1..).step_by(repeated(5, 1)) {
        for gone in ["shared", "victim"] {
            let _ = fs::remove_dir_all(at(gone));
        }
        fs::create_dir_all(&way).unwrap();
        fs::create_dir_all(victim.join("state")).unwrap();
        for users in [at("shared"), way.clone()] {
            chown(users, Some(UID), Some(UID)).unwrap();
        }
        let state = way.join("state");
        let start = Start::plain().args(image.options()).args([
            "--state-dir",
            state.to_str().unwrap(),
            "--",
            "true",
        ]);
        let mut begun = false;
        let mut calls = 0;
        let mut exchanged = false;
        let end = stop_before_each(start, |call| {
            let drops = [libc::SYS_setresuid, libc::SYS_setuid].contains(&call.number);
            let named = || {
                call.args[..2]
                    .iter()
                    .any(|word| call.text(*word, 4096).contains("shared"))
            };
            begun = begun || named();
            calls += usize::from(begun && !call.is_internal());
            if drops {
                return Then::LetGo;
            }
            if calls < nth {
                return Then::GoOn;
            }
            fs::rename(&way, &kept).unwrap();
            symlink(&victim, &way).unwrap();
            exchanged = true;
            Then::LetGo
        });
        assert_eq!(end, End::Exited(0), "exchanged before call {nth}");
        for path in [victim.clone(), victim.join("state")] {
            assert_eq!(owner(&path), 0, "exchanged before call {nth}");
        }
        let made = kept.join("state");
        given += usize::from(made.exists() && owner(&made) == UID);
        if !exchanged {
            assert!(nth > FEWEST, "only {nth} calls were seen");
            break;
        }
    }
    assert!(given > 0, "it was never given to the user");
}
