//! Writes files whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::sys::env;
use crate::sys::kernel_file;

/// The mode of a file that only its owner can read.
pub const PRIVATE: u32 = 0o600;

/// Replaces a file atomically, and makes its directory if it is missing. The file has
/// this mode, whatever the umask is, and only its owner can open it during the write. Of a [`PRIVATE`]
/// one, a file system may refuse to set the mode. `flush`: write the new
/// content to disk before it replaces the old one.
///
/// # Errors
/// The directory or the file cannot be written.
pub fn replace(path: &Path, content: &[u8], mode: u32, flush: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let mut name = path.to_owned().into_os_string();
    // Containers that share the directory may have the same process id, and those on another
    // machine the same container id, too.
    let host = kernel_file::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.push(format!(".{}", host.trim_end().replace('/', "-")));
    name.push(format!(".{}", env::container_id()));
    name.push(format!(".{}.tmp", std::process::id()));
    let new = Temporary(name.into());
    // A start that was killed may have left one behind.
    let _ = fs::remove_file(&new.0);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(&new.0)?;
    file.write_all(content)?;
    let set = file.set_permissions(Permissions::from_mode(mode));
    if mode != PRIVATE {
        set?;
    }
    if flush {
        file.sync_all()?;
    }
    fs::rename(&new.0, path)?;
    if flush {
        // Best effort: the rename is done, and some file systems do not flush directories.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(())
}

/// A temporary file that is removed on drop, unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
