//! The old and new paths of the venv and the default notebooks. The first images had them in
//! HOME, where the image now has links. A volume on HOME hides these links, and the old paths
//! are then replaced by the new ones.

use std::path::Path;

const MOVED: [(&str, &str); 2] = [
    ("/home/jupyter/jupyterenv", "/opt/ai-lab/jupyterenv"),
    (
        "/home/jupyter/notebook-defaults",
        "/opt/ai-lab/notebook-defaults",
    ),
];

/// Returns the new path of `path`, if `path` is below an old directory that is absent, and the new
/// directory exists.
pub fn moved_path(path: &str) -> Option<String> {
    let (old, new, rest) = split_old_path(path)?;
    let hidden = !Path::new(old).exists() && Path::new(new).exists();
    hidden.then(|| format!("{new}{rest}"))
}

/// Returns the new directory, if `path` is below an old one and both exist as different
/// directories: a volume may hold a copy from an older image.
pub fn stale_copy(path: &str) -> Option<&'static str> {
    let (old, new, _) = split_old_path(path)?;
    let [old, at_new] = [old, new].map(|path| Path::new(path).canonicalize().ok());
    (old? != at_new?).then_some(new)
}

fn split_old_path(path: &str) -> Option<(&'static str, &'static str, &str)> {
    MOVED.iter().find_map(|(old, new)| {
        let rest = path.strip_prefix(old)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((*old, *new, rest))
    })
}
