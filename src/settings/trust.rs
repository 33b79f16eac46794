//! What root is told to do, only root may have written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Checks that `path` and every directory above it are writable by root alone.
///
/// Links are resolved first, so that the real place is judged. A path that does not
/// exist passes: whether it may be absent is for the reader to say.
///
/// # Errors
/// The first thing another user could write, as a sentence without its subject.
pub fn root_alone(path: &Path) -> Result<(), String> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot be resolved: {error}")),
    };
    for place in real.ancestors() {
        let data = fs::metadata(place)
            .map_err(|error| format!("{} cannot be examined: {error}", place.display()))?;
        let writable_by = if data.uid() != 0 {
            format!("uid {}", data.uid())
        } else if data.mode() & 0o002 != 0 {
            "everyone".into()
        } else if data.mode() & 0o020 != 0 {
            format!("gid {}", data.gid())
        } else {
            continue;
        };
        return Err(format!(
            "{} can be written by {writable_by}",
            place.display()
        ));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn a_file_under_a_directory_that_others_write_is_refused() {
        // /root belongs to root alone; the system's temporary directory does not.
        let base = tempfile::tempdir_in("/root").unwrap();
        let file = base.path().join("f");
        fs::write(&file, "").unwrap();
        assert_eq!(root_alone(&file), Ok(()));
        for (mode, uid, gid) in [(0o777, 0, 0), (0o775, 0, 1), (0o775, 0, 0), (0o755, 1, 0)] {
            fs::set_permissions(base.path(), fs::Permissions::from_mode(mode)).unwrap();
            chown(base.path(), Some(uid), Some(gid)).unwrap();
            assert!(root_alone(&file).unwrap_err().contains("can be written by"));
        }
    }

    #[test]
    fn what_does_not_exist_passes() {
        assert_eq!(root_alone(Path::new("/nonexistent/file")), Ok(()));
    }
}
