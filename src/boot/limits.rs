//! The limit of open files and the access to graphics cards, which engines often set too low for a
//! server.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustix::fs::Access;

use crate::degradation::Degradation;

/// The soft limit of open files that a server gets, if its hard limit allows that. Engines since
/// Docker 29 and containerd 2 give 1024 and a far higher hard limit.
const OPEN_FILES: u64 = 65_536;

/// A server and its kernels open some hundred files each. With a lower limit they start, and
/// then kernels end in a loop.
const ENOUGH: u64 = 512;

/// Raises the soft limit of open files for the server. Returns a degradation if the hard limit is
/// low.
pub fn raise_open_files() -> Option<Degradation> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let wanted = hard.min(OPEN_FILES);
    if soft < wanted {
        // Fails in a sandbox; the server then has what it was given.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
    (hard < ENOUGH).then(|| {
        Degradation::new(
            format!("a process may have {hard} files open: kernels may not start"),
            "run with --ulimit nofile=4096, or without a limit",
        )
    })
}

/// Returns a degradation for the first graphics card that the user cannot use. `requested`: access
/// to these paths was asked for, and its failure is reported already.
pub fn unusable_gpu(requested: &[PathBuf]) -> Option<Degradation> {
    let listed = |directory: &str, prefix: &'static str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(move |entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = name.strip_prefix(prefix)?;
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            is_number.then(|| entry.path())
        })
    };
    let nodes = listed("/dev", "nvidia").chain(listed("/dev/dri", "renderD"));
    let mut nodes: Vec<PathBuf> = nodes.chain([PathBuf::from("/dev/kfd")]).collect();
    nodes.sort();
    let refused = |path: &Path| {
        let access = rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK);
        access
            .err()
            .filter(|error| *error != rustix::io::Errno::NOENT)
    };
    nodes.retain(|path| !requested.contains(path));
    nodes.iter().find_map(|path| {
        let (error, path) = (refused(path)?, path.display());
        Some(Degradation::new(
            format!("the user cannot use the graphics card {path}: {error}"),
            format!("--grant-access {path} gives the user its group"),
        ))
    })
}
