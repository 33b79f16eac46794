//! The server's program and arguments: which of the image's own values go onto its command
//! line, and which values cannot work.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use tracing::info;

use crate::boot::{ServerUser, Start, variable};
use crate::jupyter_config::precedence::ConfigSources;
use crate::server::argv;
use crate::server::argv::{Argv, CERTFILE, KEYFILE};
use crate::server::program::ServerProgram;
use crate::settings::{Key, Origin, SettingError, SettingsError};

/// Settings that set a trait of Jupyter.
const TRAITS: [(Key, &str); 3] = [
    (Key::Ip, "ServerApp.ip"),
    (Key::Port, "ServerApp.port"),
    (Key::Notebooks, "ServerApp.root_dir"),
];

/// The variable with the root directory that a hub chose.
const HUBS_DIRECTORY: &str = "JUPYTERHUB_ROOT_DIR";

/// Kubeflow's variable with the base URL, and the port that Kubeflow expects.
const KUBEFLOW: &str = "NB_PREFIX";
const KUBEFLOWS_PORT: u16 = 8888;

/// The place of a value on the server's command line, for messages.
const LINE: &str = "the server's arguments";

/// The variable with the page that a hub opens first; the image names its own there.
pub(super) const PAGE: &str = "JUPYTERHUB_DEFAULT_URL";

/// Returns the first page of a person whose notebooks are in a directory of the root directory:
/// the image's page is there. `None`: the page is where it is configured.
pub(super) fn first_page(start: &Start<'_>) -> Option<String> {
    let root = start.settings.root_dir()?;
    let notebooks = start.settings.notebooks.directory.as_deref()?;
    let below = notebooks.strip_prefix(root).ok()?.to_str()?;
    let page = variable(PAGE)?.into_string().ok()?;
    let name = page.strip_prefix("/lab/tree/")?;
    let moved = !below.is_empty() && !root.join(name).exists() && notebooks.join(name).is_file();
    moved.then(|| format!("/lab/tree/{below}/{name}"))
}

/// Returns the server's arguments. Jupyter's configuration files win over the image's own
/// values; flags and variables win over these files. `certificate`: the file of the requested one.
pub(super) fn arguments(
    start: &Start<'_>,
    person: &ServerUser,
    server: &ServerProgram,
    jupyters: &ConfigSources,
    certificate: Option<&str>,
) -> Argv {
    // Kubeflow's notebook controller sets this variable and expects one fixed port.
    let prefix = variable(KUBEFLOW).and_then(|prefix| prefix.into_string().ok());
    let chosen = |name: &str| {
        if name == "ServerApp.base_url" && prefix.is_some() {
            return Some(Origin::Environment(KUBEFLOW));
        }
        if name == CERTFILE {
            let tls = start.tls.as_ref().map(|tls| tls.origin.clone());
            return tls.filter(Origin::is_chosen);
        }
        let traits = TRAITS.iter().filter(|(_, known)| *known == name);
        traits
            .map(|(key, _)| start.settings.origin(*key))
            .find(Origin::is_chosen)
    };
    let settings = &start.settings.server;
    let hub_has_a_directory = std::env::var_os(HUBS_DIRECTORY).is_some();
    let directory = start.settings.root_dir();
    let page = first_page(start);
    let plan = argv::ArgvInput {
        hub: server.hub,
        root_dir: directory.filter(|_| !(server.hub && hub_has_a_directory)),
        default_url: page.as_deref().filter(|_| !server.hub),
        ip: settings.ip.as_deref(),
        port: match prefix.is_some() && chosen("ServerApp.port").is_none() {
            true => Some(KUBEFLOWS_PORT),
            false => settings.port,
        },
        certificate,
        base_url: prefix.as_deref(),
        as_root: person.account.uid == 0,
        configured: &|name| jupyters.server_trait(name).is_some() && chosen(name).is_none(),
    };
    let argv = argv::merge(plan, &settings.args, &server.args);
    let replaced = certificate.is_some() && argv.value(CERTFILE) != certificate;
    if let Some(tls) = start.tls.as_ref().filter(|_| replaced) {
        let in_a_file = jupyters
            .server_trait(CERTFILE)
            .filter(|_| argv.value(CERTFILE).is_none());
        let place = in_a_file.map_or("the server's arguments".into(), |(place, _)| place);
        info!(
            "{} has no effect: another certificate or key is named in {place}",
            tls.origin
        );
    }
    let ours = TRAITS.iter().map(|(_, name)| *name);
    let ours = ours.chain(["ServerApp.base_url"]);
    for name in ours.chain([CERTFILE].into_iter().filter(|_| !replaced)) {
        if let (Some(_), Some((place, _)), Some(origin)) =
            (argv.value(name), jupyters.server_trait(name), chosen(name))
        {
            info!("{origin} wins over {name} in {place}");
        }
    }
    argv
}

/// Checks for values that would end the server, or every connection to it, for the user that
/// this process runs as. `directory` is the server's working directory.
///
/// # Errors
/// All values that cannot work, with the place that each is from.
pub(super) fn check(
    start: &Start<'_>,
    server: &ServerProgram,
    argv: &Argv,
    jupyters: &ConfigSources,
    directory: &Path,
) -> Result<(), SettingsError> {
    let value = |name| match argv.value(name) {
        Some(value) => Some((LINE.to_owned(), value)),
        None => {
            let (place, value) = jupyters.server_trait(name)?;
            Some((place, value?))
        }
    };
    let mut wrong = Vec::new();
    for name in [CERTFILE, KEYFILE, "ServerApp.client_ca"] {
        let Some((place, file)) = value(name).filter(|(_, file)| !file.is_empty()) else {
            continue;
        };
        let path = directory.join(file);
        let mut options = OpenOptions::new();
        // Opening a FIFO without a writer must not block the start.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        if let Err(error) = options.open(&path) {
            let remedy = "mount it so that the server's user can read it, or leave it out";
            let problem = match fs::read_link(&path) {
                Ok(target) if error.kind() == ErrorKind::NotFound => {
                    format!(
                        "{file} is a link to {}, which is not here",
                        target.display()
                    )
                }
                _ => format!("{file} cannot be read: {error}"),
            };
            wrong.push(SettingError::new(name, place, problem, remedy));
        }
    }
    // Jupyter expands `~`. Our notebooks directory exists, or its absence is reported already.
    let ours = start.settings.root_dir();
    let hubs = std::env::var(HUBS_DIRECTORY).ok();
    let hubs = hubs.as_deref();
    let hubs = hubs.filter(|path| server.hub && path.starts_with('/'));
    let hubs = hubs.map(|path| (HUBS_DIRECTORY.to_owned(), path));
    if let Some((place, root_dir)) = value("ServerApp.root_dir").or(hubs)
        && !root_dir.starts_with('~')
        && ours != Some(Path::new(root_dir))
        && !directory.join(root_dir).is_dir()
    {
        wrong.push(SettingError::new(
            "ServerApp.root_dir",
            place,
            format!("{root_dir} is not a directory"),
            "mount a volume there, or name another directory",
        ));
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(SettingsError(wrong)),
    }
}

/// Reports whether all wrong values are in Jupyter's configuration files. Their author may have no
/// other way to mend them than in the lab.
pub(super) fn are_in_files(wrong: &SettingsError) -> bool {
    let in_file = |error: &SettingError| ![LINE, HUBS_DIRECTORY].contains(&error.origin.as_str());
    wrong.0.iter().all(in_file)
}

/// Returns the server's program. A bare name is looked up in the venv, and then on PATH, which
/// begins with the venv.
pub(super) fn in_venv(start: &Start<'_>, server: &ServerProgram) -> OsString {
    let name = &server.program;
    if name.as_encoded_bytes().contains(&b'/') {
        return name.clone();
    }
    let venv = start.settings.server.venv.as_ref();
    let inside = venv.map(|venv| venv.join("bin").join(name));
    inside
        .filter(|path| path.exists())
        .map_or_else(|| name.clone(), Into::into)
}
