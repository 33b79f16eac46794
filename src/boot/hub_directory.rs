//! The directory that a hub names for a person's notebooks (`c.Spawner.notebook_dir`).

use std::path::Path;

use crate::server::program::Launch;
use crate::settings::{Key, Origin, Settings};
use crate::sys::env::variable;
use crate::volume::is_in_volume;

/// The variable in which a hub names it.
pub(super) const VARIABLE: &str = "JUPYTERHUB_ROOT_DIR";

/// Returns the directory, if a hub names an absolute one. Jupyter expands `~` in others.
pub(super) fn named() -> Option<String> {
    let directory = variable(VARIABLE)?.into_string().ok()?;
    let plain = !Path::new(&directory).iter().any(|name| name == "..");
    (plain && directory.starts_with('/')).then_some(directory)
}

/// Makes it the notebooks directory if it is in a volume of the engine's and no other one is chosen:
/// hubs mount each person's volume there. A directory of the host, which others may share, or one above
/// the notebooks, such as `/`, stays the root directory of the server alone.
pub(super) fn follow(settings: &mut Settings, launch: &Launch) {
    let is_of_hub = matches!(launch, Launch::Server(server) if server.hub);
    let Some(directory) = named().filter(|_| is_of_hub) else {
        return;
    };
    let path = Path::new(&directory);
    let own = settings.notebooks.directory.as_deref();
    let is_near = own.is_none_or(|own| own.starts_with(path) || path.starts_with(own));
    let is_chosen = settings.origin(Key::Notebooks).is_chosen();
    if !is_near && !is_chosen && is_in_volume(path) {
        settings.set_notebooks(directory, Origin::Environment(VARIABLE));
    }
}
