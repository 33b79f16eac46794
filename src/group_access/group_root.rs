//! The files that group root can write. A socket of gid 0 gives the user that group, which is to
//! give nothing else. Debian's packages and this image leave it nothing; images for OpenShift leave
//! it much, such as `/etc/passwd`.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::degradation::Degradation;

/// The directories whose entries are checked: those of programs and libraries, and what is above
/// them. A walk through the whole image would take longer than the rest of a start.
const DIRECTORIES: [&str; 16] = [
    "",
    "bin",
    "lib",
    "opt",
    "root",
    "sbin",
    "usr",
    "usr/bin",
    "usr/lib",
    "usr/local",
    "usr/local/bin",
    "usr/local/lib",
    "usr/local/sbin",
    "usr/sbin",
    "var",
    "var/spool",
];

/// A directory that is checked with everything below it.
const TREE: &str = "etc";

/// The number of entries that are checked at most, and of paths that a message names.
const MOST: usize = 20_000;
const NAMED: usize = 3;

/// Returns the degradation for a path of gid 0 if the image, whose root directory is `root`, has
/// anything that group root can write.
pub fn check(path: &Path, root: &Path) -> Option<Degradation> {
    let found = writable(root);
    let (first, rest) = found.split_at(NAMED.min(found.len()));
    if first.is_empty() {
        return None;
    }
    let names: Vec<String> = first
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let more = match rest.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Degradation::new(
        format!(
            "group root, which {} gives to the user, can write {}{more} here: with that the user \
             may become root in this container",
            path.display(),
            names.join(", ")
        ),
        "take that permission away in the image, for example with `chmod -R g-w /etc`",
    ))
}

fn writable(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = MOST;
    for name in DIRECTORIES {
        visit(&root.join(name), 1, &mut left, &mut found);
    }
    visit(&root.join(TREE), usize::MAX, &mut left, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

/// Checks a directory and, down to `depth`, what is in it. Follows no link.
fn visit(path: &Path, depth: usize, left: &mut usize, found: &mut Vec<PathBuf>) {
    let Ok(data) = fs::symlink_metadata(path) else {
        return;
    };
    if is_group_roots(&data) {
        found.push(path.to_owned());
    }
    if depth == 0 || !data.is_dir() || *left == 0 {
        return;
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        *left = left.saturating_sub(1);
        visit(&entry.path(), depth - 1, left, found);
    }
}

/// Reports whether group root can write a file that others cannot. Sockets are meant to be written.
fn is_group_roots(data: &Metadata) -> bool {
    let kind = data.file_type();
    data.gid() == 0 && data.mode() & 0o022 == 0o020 && !kind.is_symlink() && !kind.is_socket()
}
