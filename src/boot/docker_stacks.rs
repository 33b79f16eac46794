//! Options of `start.sh` of the Jupyter Docker Stacks that have no effect here. Each one that is
//! set is named once, with what has the effect.

use tracing::warn;

use crate::boot::variable;
use crate::settings::{Key, Origin, Settings};

/// An option that is either on or off.
const SWITCHES: [(&str, &str); 3] = [
    (
        "CHOWN_HOME",
        "`--volume-owner chown` hands the notebooks over",
    ),
    (
        "GRANT_SUDO",
        "use --new-privileges, and install sudo in a derived image",
    ),
    ("RESTARTABLE", "use --restart on-failure"),
];

/// An option with a value.
const VALUES: [(&str, &str); 4] = [
    ("CHOWN_EXTRA", "use a hook in /etc/ai-lab/hooks/root"),
    (
        "DOCKER_STACKS_JUPYTER_CMD",
        "name the server as COMMAND, such as `jupyter notebook`",
    ),
    ("NB_GROUP", "use --group NAME"),
    (
        "NOTEBOOK_ARGS",
        "use --jupyter-arg ARG, or arguments after `jupyter-lab`",
    ),
];

/// Names the variables that are removed from the server's environment, separated by commas.
pub const UNSET: &str = "JUPYTER_ENV_VARS_TO_UNSET";

/// Warns of the options that are set.
pub fn warn_of_options(settings: &Settings) {
    if let Origin::Flag(_) = settings.origin(Key::User) {
        let ids = ["NB_USER", "NB_UID", "NB_GID"].iter();
        for name in ids.filter(|name| variable(name).is_some()) {
            warn!("{name} has no effect: --user names the user");
        }
    }
    let is_on = |name| {
        let value = variable(name).and_then(|value| value.into_string().ok());
        value.is_some_and(|value| ["1", "yes", "true"].contains(&value.to_lowercase().as_str()))
    };
    let switches = SWITCHES.iter().filter(|(name, _)| is_on(name));
    let values = VALUES.iter().filter(|(name, _)| variable(name).is_some());
    for (name, remedy) in switches.chain(values) {
        warn!("{name} has no effect in this image (remedy: {remedy})");
    }
}

/// Returns the names that [`UNSET`] lists, and its own.
pub fn names_to_unset() -> Vec<String> {
    let Some(list) = variable(UNSET).and_then(|list| list.into_string().ok()) else {
        return Vec::new();
    };
    let names = list.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names.chain([UNSET]).map(str::to_owned).collect()
}
