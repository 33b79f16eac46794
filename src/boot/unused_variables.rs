//! Warns once of each environment variable that looks like a setting and has no effect: misspelt
//! settings, passwords under another name, options of other images. The remedy names the right
//! setting.

use std::env;

use tracing::warn;

use crate::password::{Wanted, hash};
use crate::settings::check::is_quoted;
use crate::settings::nb_user;
use crate::settings::own_variables::{PASSWORD_ENV, PASSWORD_HASH_ENV, own_environment};
use crate::settings::table::TABLE;
use crate::settings::{Key, Origin, Settings};
use crate::state::Mode;
use crate::sys::env::variable;

/// Options of other images, and the remedy for each: those of `start.sh` of the Jupyter Docker
/// Stacks, and those that templates for home servers set in each container.
const OF_OTHER_IMAGES: [(&str, &str); 10] = [
    ("CHOWN_EXTRA", "use a hook in /etc/ai-lab/hooks/root"),
    (
        "CHOWN_HOME",
        "`--volume-owner chown` hands the notebooks over",
    ),
    (
        "DOCKER_STACKS_JUPYTER_CMD",
        "name the server as COMMAND, such as `jupyter lab`",
    ),
    (
        "GRANT_SUDO",
        "use --new-privileges, and install sudo in a derived image",
    ),
    ("NB_GROUP", "use --group NAME"),
    (
        "NOTEBOOK_ARGS",
        "use --jupyter-arg ARG, or arguments after `jupyter-lab`",
    ),
    ("PGID", "use NB_GID"),
    ("PUID", "use NB_UID"),
    ("RESTARTABLE", "use --restart on-failure"),
    ("UMASK", "use NB_UMASK"),
];

/// Those of them that are either on or off. One that is off asks for nothing.
const SWITCHES: [&str; 3] = ["CHOWN_HOME", "GRANT_SUDO", "RESTARTABLE"];

/// The beginnings of names that mean this image.
const OURS: [&str; 6] = ["AI_LAB_", "AILAB_", "JUPYTER", "LAB_", "NB_", "NOTEBOOK"];

/// The variable with Jupyter's token, and the words of names that are taken for it.
const TOKEN: &str = "JUPYTER_TOKEN";
const OF_A_TOKEN: [&str; 11] = [
    "ACCESS",
    "AI",
    "AILAB",
    "AUTH",
    "JUPYTER",
    "JUPYTERLAB",
    "LAB",
    "NB",
    "NOTEBOOK",
    "SERVER",
    "TOKEN",
];

/// Warns of each variable that is set and has no effect here.
pub fn warn_of_unused_variables(settings: &Settings, mode: Mode, password: &Wanted) {
    if let Origin::Flag(_) = settings.origin(Key::User) {
        for name in nb_user::VARIABLES
            .iter()
            .filter(|name| variable(name).is_some())
        {
            warn!("{name} has no effect: --user names the user");
        }
    }
    let names = env::vars_os().filter(|(_, value)| !value.is_empty());
    // A Kubernetes Service named ai-lab sets AI_LAB_PORT=tcp://….
    let names = names.filter(|(_, value)| !value.as_encoded_bytes().starts_with(b"tcp://"));
    let mut names: Vec<String> = names
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    names.sort();
    for name in names.iter().filter(|name| !is_known(name)) {
        let other = OF_OTHER_IMAGES.iter().find(|(known, _)| known == name);
        if let Some((_, remedy)) = other {
            if SWITCHES.contains(&name.as_str()) && !is_on(name) {
                continue;
            }
            warn!("{name} has no effect in this image (remedy: {remedy})");
        } else if is_of_a_password(name) {
            if mode == Mode::Lab && !password.is_forced() {
                warn!("{name} sets no password here (remedy: use {PASSWORD_ENV})");
            }
        } else if is_of_a_token(name) {
            if mode == Mode::Lab && !password.is_forced() && variable(TOKEN).is_none() {
                warn!("{name} sets no token here (remedy: use {TOKEN})");
            }
        } else if let Some(meant) = meant(name) {
            warn!("{name} is not a setting and has no effect (remedy: use {meant})");
        }
    }
    if mode == Mode::Lab {
        warn_of_quotation_marks(PASSWORD_ENV, "password");
        warn_of_quotation_marks(TOKEN, "token");
        warn_of_a_hash();
    }
}

fn warn_of_quotation_marks(name: &str, what: &str) {
    let text = variable(name).and_then(|text| text.into_string().ok());
    if text.is_some_and(|text| is_quoted(&text)) {
        warn!(
            "the quotation marks around the value of {name} are part of the {what} (remedy: \
             leave them out, unless you want them: `docker run --env-file` keeps them)"
        );
    }
}

/// Warns of a hash that is taken for a password: the password that it was made of opens nothing.
fn warn_of_a_hash() {
    let text = variable(PASSWORD_ENV).and_then(|text| text.into_string().ok());
    if text.is_some_and(|text| hash::well_formed(&text) || text.starts_with("argon2:")) {
        warn!(
            "{PASSWORD_ENV} has the form of a hash, and is taken as the password itself (remedy: \
             use {PASSWORD_HASH_ENV} for a hash)"
        );
    }
}

fn is_on(name: &str) -> bool {
    let value = variable(name).and_then(|value| value.into_string().ok());
    value.is_some_and(|value| ["1", "yes", "true"].contains(&value.to_lowercase().as_str()))
}

fn is_known(name: &str) -> bool {
    own_environment()
        .chain(nb_user::VARIABLES)
        .any(|known| known == name)
}

/// Reports whether a name looks like the password of this image.
fn is_of_a_password(name: &str) -> bool {
    let name = name.to_uppercase();
    let ours = OURS.iter().any(|start| name.starts_with(start));
    name == "PASSWORD" || ours && ["PASS", "PWD"].iter().any(|word| name.contains(word))
}

/// Reports whether a name looks like the token of this image.
fn is_of_a_token(name: &str) -> bool {
    let of_ours = |word| OF_A_TOKEN.contains(&word);
    name.ends_with("TOKEN") && name != TOKEN && name.split('_').all(of_ours)
}

/// Returns the setting that a misspelt variable means: the same but for one letter, or
/// `AI_LAB_` and the name of a flag. `None`: it means none.
fn meant(name: &str) -> Option<String> {
    let known = own_environment().chain(nb_user::VARIABLES);
    let mut similar = known.filter(|known| known.contains('_'));
    if let Some(known) = similar.find(|known| is_misspelt(known, name)) {
        return Some(known.to_owned());
    }
    let flag = name
        .strip_prefix("AI_LAB_")?
        .to_lowercase()
        .replace('_', "-");
    let entry = TABLE.iter().find(|entry| entry.flag == flag)?;
    Some(entry.env.map_or_else(|| format!("--{flag}"), str::to_owned))
}

/// Reports whether a name is a known one but for one letter, or two that are swapped. A short last
/// word with another letter is another word: `NB_ID`, `JUPYTER_ENV`.
fn is_misspelt(known: &str, name: &str) -> bool {
    // Quick, because there are some thirty known names for each variable there is.
    let (there, here) = without_common_ends(known, name);
    let last = |text: &str| text.rsplit('_').next().map_or(0, str::len);
    let is_short = || last(known).min(last(name)) <= 3;
    match (there.as_bytes(), here.chars().count()) {
        ([] | [_], 1) | ([_], 0) => !is_short(),
        ([one, two], 2) => here.as_bytes() == [*two, *one],
        _ => false,
    }
}

/// Returns what is left of two names without the beginning and the end that they share. `known` is
/// ASCII.
fn without_common_ends<'a>(known: &'a str, name: &'a str) -> (&'a str, &'a str) {
    let same = |(one, other): &(u8, u8)| one == other;
    let start = known.bytes().zip(name.bytes()).take_while(same).count();
    let (known, name) = (&known[start..], &name[start..]);
    let ends = known.bytes().rev().zip(name.bytes().rev());
    let end = ends.take_while(same).count();
    (&known[..known.len() - end], &name[..name.len() - end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_means_a_setting_and_another_one_does_not() {
        for (name, setting) in [
            ("JUPYTER_PROT", Some("JUPYTER_PORT")),
            ("NOTEBOOKS_DEFAULTS", Some("NOTEBOOK_DEFAULTS")),
            ("AI_LAB_STOP_TIMOUT", Some("AI_LAB_STOP_TIMEOUT")),
            ("NB_UDI", Some("NB_UID")),
            ("JUPYTER_PORTT", Some("JUPYTER_PORT")),
            ("JUPYTER_PÖRT", Some("JUPYTER_PORT")),
            ("JUPYTER_PORT", None),
            ("JUPYTER_TROP", None),
            ("JUPYTÖR_PÖRT", None),
            ("AI_LAB_PORT", Some("JUPYTER_PORT")),
            ("AI_LAB_TLS_CERT", Some("--tls-cert")),
            ("AI_LAB_TAG", None),
            ("AI_LAB_VERSION", None),
            ("JUPYTER_PATH", None),
            ("JUPYTER_TOKEN", None),
            ("JUPYTER_ENV", None),
            ("AI_LAB_ID", None),
            ("NB_ID", None),
            ("NB_PREFIX", None),
            ("NOTEBOOK", None),
        ] {
            assert_eq!(meant(name).as_deref(), setting, "{name}");
        }
    }

    #[test]
    fn a_password_or_token_of_this_image_has_its_name_in_it() {
        for name in [
            "PASSWORD",
            "AI_LAB_PASSWORD",
            "JUPYTER_PASSWD",
            "NOTEBOOK_PWD",
        ] {
            assert!(is_of_a_password(name), "{name}");
        }
        for name in [
            "DB_PASSWORD",
            "PGPASSWORD",
            "PWD",
            "OLDPWD",
            "PASSWORD_STORE_DIR",
        ] {
            assert!(!is_of_a_password(name), "{name}");
        }
        for name in ["TOKEN", "JUPYTERLAB_TOKEN", "JUPYTER_NOTEBOOK_TOKEN"] {
            assert!(is_of_a_token(name), "{name}");
        }
        for name in ["JUPYTER_TOKEN", "JUPYTERHUB_API_TOKEN", "HF_TOKEN", "LAB"] {
            assert!(!is_of_a_token(name), "{name}");
        }
    }
}
