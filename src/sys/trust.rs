//! Checks that only root can write the files and directories that tell root what to do.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The most links that the kernel follows in one path.
pub const MOST_LINKS: usize = 40;

/// Checks that only root can write `path`, every directory above it, and every directory on the way
/// of its links: a user who can replace a link chooses the file that root reads. If part of the
/// path does not exist, the directories above that part must pass, so that no other user can create
/// it. The caller decides whether `path` may be absent.
///
/// # Errors
/// Names the first path that another user could write, or says `cannot be resolved: ...`.
pub fn root_only_path(path: &Path) -> Result<(), String> {
    let way = path_steps(path)?;
    // The path nearest to the file is reported first.
    way.iter()
        .rev()
        .filter(|step| !step.data.is_symlink())
        .try_for_each(|step| check_writers(&step.path, &step.data))
}

/// Returns `path` with its links resolved. The file may belong to another user, but each link on
/// the way must be root's and in a directory where no one else can replace it, so that root decides
/// where it leads. Kubernetes' secrets are such links, in a sticky directory.
///
/// # Errors
/// Names the first link that another user could have made, or says `cannot be resolved: ...`.
pub fn resolve_root_links(path: &Path) -> Result<PathBuf, String> {
    let way = path_steps(path)?;
    for link in way.iter().filter(|step| step.data.is_symlink()) {
        let above = way
            .iter()
            .find(|step| Some(step.path.as_path()) == link.path.parent());
        if link.data.uid() != 0 || !above.is_some_and(|above| root_controls(&above.data)) {
            let link = link.path.display();
            return Err(format!(
                "{link} is a link that others than root could have made"
            ));
        }
    }
    let end = way.into_iter().next_back().map(|step| step.path);
    Ok(end.unwrap_or_else(|| path.to_owned()))
}

/// Reports whether only root can rename root's files in a directory, or replace them.
pub fn root_only_renames(directory: &Path) -> bool {
    fs::symlink_metadata(directory).is_ok_and(|data| data.is_dir() && root_controls(&data))
}

/// Reports whether a directory is root's and others cannot write there or, if it is sticky, cannot
/// touch root's files.
fn root_controls(data: &Metadata) -> bool {
    data.uid() == 0 && (data.mode() & 0o1000 != 0 || data.mode() & 0o022 == 0)
}

/// One step of a path: a directory, a link, or its end.
struct Step {
    path: PathBuf,
    data: Metadata,
}

/// Follows a path from `/` as the kernel does, up to the first name that does not exist.
fn path_steps(path: &Path) -> Result<Vec<Step>, String> {
    let unresolved = |error: io::Error| format!("cannot be resolved: {error}");
    let path = std::path::absolute(path).map_err(unresolved)?;
    let mut here = PathBuf::from("/");
    let mut way = vec![Step {
        path: here.clone(),
        data: fs::metadata(&here).map_err(unresolved)?,
    }];
    let mut rest = names(&path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let path = here.join(name);
        let data = match fs::symlink_metadata(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(unresolved(error)),
        };
        if data.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(unresolved(io::Error::from_raw_os_error(libc::ELOOP)));
            }
            let target = fs::read_link(&path).map_err(unresolved)?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            rest.extend(names(&target));
        } else {
            here.clone_from(&path);
        }
        way.push(Step { path, data });
    }
    Ok(way)
}

/// Returns the names in a path, with `..` and without `.`, last one first.
pub fn names(path: &Path) -> Vec<OsString> {
    let components = path.components().rev();
    components
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Checks that only root can write the directory `path` itself, wherever it is.
///
/// # Errors
/// As [`root_only_path`].
pub fn root_only_directory(path: &Path) -> Result<(), String> {
    let unresolved = |error: io::Error| format!("cannot be resolved: {error}");
    let path = fs::canonicalize(path).map_err(unresolved)?;
    check_writers(&path, &fs::metadata(&path).map_err(unresolved)?)
}

fn check_writers(place: &Path, data: &Metadata) -> Result<(), String> {
    let writable_by = if data.uid() != 0 {
        format!("uid {}", data.uid())
    } else if data.mode() & 0o002 != 0 {
        "everyone".into()
    } else if data.mode() & 0o020 != 0 {
        format!("gid {}", data.gid())
    } else {
        return Ok(());
    };
    Err(format!(
        "{} can be written by {writable_by}",
        place.display()
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn a_file_under_a_directory_that_others_write_is_refused() {
        // Only root can write in /root; all users can write in the system's temporary directory.
        let base = tempfile::tempdir_in("/root").unwrap();
        let file = base.path().join("f");
        fs::write(&file, "").unwrap();
        assert_eq!(root_only_path(&file), Ok(()));
        for (mode, uid, gid) in [(0o777, 0, 0), (0o775, 0, 1), (0o775, 0, 0), (0o755, 1, 0)] {
            fs::set_permissions(base.path(), fs::Permissions::from_mode(mode)).unwrap();
            chown(base.path(), Some(uid), Some(gid)).unwrap();
            assert!(
                root_only_path(&file)
                    .unwrap_err()
                    .contains("can be written by")
            );
        }
    }

    #[test]
    fn a_link_that_another_user_could_put_elsewhere_is_refused() {
        use std::os::unix::fs::symlink;
        let base = tempfile::tempdir_in("/root").unwrap();
        let at = |name: &str| base.path().join(name);
        for name in ["open", "ours", "ours/d"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("ours/d/f"), "").unwrap();
        symlink("../ours/d", at("open/way")).unwrap();
        symlink("d/../d/f", at("ours/link")).unwrap();
        symlink(at("open/way/f"), at("ours/round")).unwrap();
        symlink("loop", at("ours/loop")).unwrap();
        assert_eq!(root_only_path(&at("ours/link")), Ok(()));
        assert_eq!(root_only_path(&at("ours/round")), Ok(()));
        assert!(
            root_only_path(&at("ours/loop"))
                .unwrap_err()
                .contains("os error")
        );
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o777)).unwrap();
        for name in ["open/way/f", "ours/round"] {
            let problem = root_only_path(&at(name)).unwrap_err();
            assert!(
                problem.contains("/open can be written"),
                "{name}: {problem}"
            );
        }
        assert_eq!(root_only_path(&at("ours/link")), Ok(()));
    }

    #[test]
    fn a_link_is_followed_only_if_root_alone_could_have_made_it() {
        use std::os::unix::fs::{lchown, symlink};
        let base = tempfile::tempdir_in("/root").unwrap();
        let at = |name: &str| base.path().join(name);
        fs::write(at("file"), "").unwrap();
        chown(at("file"), Some(1), None).unwrap();
        fs::create_dir(at("d")).unwrap();
        symlink("../file", at("d/link")).unwrap();
        symlink("d/link", at("round")).unwrap();
        let mode = |mode| fs::set_permissions(at("d"), fs::Permissions::from_mode(mode)).unwrap();
        for (rights, firm) in [
            (0o755, true),
            (0o1777, true),
            (0o777, false),
            (0o775, false),
        ] {
            mode(rights);
            assert_eq!(resolve_root_links(&at("file")), Ok(at("file")));
            let found = resolve_root_links(&at("round"));
            assert_eq!(
                found.is_ok_and(|found| found == at("file")),
                firm,
                "{rights:o}"
            );
        }
        mode(0o1777);
        lchown(at("d/link"), Some(1), None).unwrap();
        assert!(
            resolve_root_links(&at("round"))
                .unwrap_err()
                .contains("d/link is a link")
        );
    }

    #[test]
    fn what_does_not_exist_passes_where_root_alone_can_make_it() {
        assert_eq!(root_only_path(Path::new("/nonexistent/file")), Ok(()));
        let base = tempfile::tempdir_in("/root").unwrap();
        let absent = base.path().join("absent/file");
        assert_eq!(root_only_path(&absent), Ok(()));
        chown(base.path(), Some(1), None).unwrap();
        assert!(root_only_path(&absent).unwrap_err().contains("uid 1"));
    }
}
