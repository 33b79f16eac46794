//! Where the first images had the venv and the default notebooks: in HOME. The image has links
//! there. A volume on HOME hides them, and the old paths then mean the new places.

use std::path::Path;

const MOVED: [(&str, &str); 2] = [
    ("/home/jupyter/jupyterenv", "/opt/ai-lab/jupyterenv"),
    (
        "/home/jupyter/notebook-defaults",
        "/opt/ai-lab/notebook-defaults",
    ),
];

/// Returns the new place of a path that begins with an old one, if nothing is there.
pub fn new_place(path: &str) -> Option<String> {
    let (old, new, rest) = moved(path)?;
    let hidden = !Path::new(old).exists() && Path::new(new).exists();
    hidden.then(|| format!("{new}{rest}"))
}

/// Returns the new place of a path that begins with an old one, if something else is there: a
/// volume may have it from an older image.
pub fn stale_copy(path: &str) -> Option<&'static str> {
    let (old, new, _) = moved(path)?;
    let [old, at_new] = [old, new].map(|path| Path::new(path).canonicalize().ok());
    (old? != at_new?).then_some(new)
}

fn moved(path: &str) -> Option<(&'static str, &'static str, &str)> {
    MOVED.iter().find_map(|(old, new)| {
        let rest = path.strip_prefix(old)?;
        (rest.is_empty() || rest.starts_with('/')).then_some((*old, *new, rest))
    })
}
