//! The server's program and arguments: which of the image's own values go onto its command
//! line, and which values cannot work.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use tracing::info;

use crate::boot::context::{ServerUser, Start};
use crate::boot::hub_directory;
use crate::boot::user_phase::working_directory;
use crate::degradation::Degradation;
use crate::jupyter_config::ConfigSources;
use crate::server::argv;
use crate::server::argv::{Argv, CERTFILE, KEYFILE};
use crate::server::program::ServerProgram;
use crate::settings::{Key, Origin, SettingError, Settings, SettingsError};
use crate::sys::dir::is_read_only;
use crate::sys::env::variable;
use crate::tls;
use crate::tls::FileProblem;
use crate::volume::lost_with_container;

/// Settings that set a trait of Jupyter.
const TRAITS: [(Key, &str); 3] = [
    (Key::Ip, "ServerApp.ip"),
    (Key::Port, "ServerApp.port"),
    (Key::Notebooks, ROOT_DIR),
];

/// The trait with the directory that people see.
const ROOT_DIR: &str = "ServerApp.root_dir";

/// The trait with the page that people come to.
const DEFAULT_URL: &str = "LabApp.default_url";

/// Kubeflow's variable with the base URL, and the port that Kubeflow expects.
const KUBEFLOW: &str = "NB_PREFIX";
const KUBEFLOWS_PORT: u16 = 8888;

/// The place of a value on the server's command line, for messages.
pub(super) const LINE: &str = "the server's arguments";

/// The variable with the page that a hub opens first; the image names its own there.
pub(super) const PAGE: &str = "JUPYTERHUB_DEFAULT_URL";

/// Reports whether people come to a page of JupyterLab. They may come to another one, such as
/// RStudio's under a hub, which needs nothing of JupyterLab.
pub(super) fn shows_lab(server: &ServerProgram, argv: &Argv, jupyters: &ConfigSources) -> bool {
    const TRAIT: &str = "ServerApp.default_url";
    let configured = || {
        Some(
            jupyters
                .server_trait(TRAIT)?
                .1
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let of_hub = || variable(PAGE).filter(|_| server.hub)?.into_string().ok();
    let page = argv.value(TRAIT).map(str::to_owned);
    let page = page.or_else(configured).or_else(of_hub);
    server.shows_lab() && page.is_none_or(|page| page.contains("/lab"))
}

/// Returns the base URL that Kubeflow's notebook controller sets; it expects one fixed port.
fn prefix() -> Option<String> {
    variable(KUBEFLOW)?.into_string().ok()
}

/// The inputs of the server's arguments besides Jupyter's configuration, which may be another one at
/// each attempt.
pub(super) struct Arguments {
    pub(super) settings: &'static Settings,
    server: ServerProgram,
    as_root: bool,
    /// The origin of the request for https; `None`: there is none.
    tls: Option<Origin>,
    /// The file with the requested certificate.
    certificate: Option<String>,
    /// The server's working directory.
    directory: PathBuf,
    home: PathBuf,
    /// The file or directory that COMMAND names for the server to open; `None`: it names none.
    open: Option<PathBuf>,
}

impl Arguments {
    /// Returns the inputs. `certificate`: the file of the requested one.
    pub(super) fn new(
        start: &Start<'_>,
        person: &ServerUser,
        server: &ServerProgram,
        certificate: Option<String>,
    ) -> Self {
        let directory = working_directory(start).unwrap_or_default();
        let mut server = server.clone();
        Self {
            settings: start.settings,
            open: argv::to_open(&mut server.args, &directory),
            server,
            as_root: person.account.uid == 0,
            tls: start.tls.as_ref().map(|tls| tls.origin.clone()),
            certificate,
            directory,
            home: person.account.home.clone(),
        }
    }

    /// Returns the origin of a trait's value that the person who starts the container chose.
    fn chosen(&self, name: &str) -> Option<Origin> {
        if name == "ServerApp.base_url" && prefix().is_some() {
            return Some(Origin::Environment(KUBEFLOW));
        }
        if name == CERTFILE {
            return self.tls.clone().filter(Origin::is_chosen);
        }
        let traits = TRAITS.iter().filter(|(_, known)| *known == name);
        traits
            .map(|(key, _)| self.settings.origin(*key))
            .find(Origin::is_chosen)
    }

    /// Returns the server's arguments. Jupyter's configuration files win over the image's own
    /// values; flags and variables win over these files.
    pub(super) fn merged(&self, jupyters: &ConfigSources) -> Argv {
        let prefix = prefix();
        // A file may set these where only Jupyter sees it.
        let may_be_configured = |name: &str| {
            let ours = TRAITS.iter().any(|(_, known)| *known == name);
            ours && self.chosen(name).is_none() && jupyters.may_set(name)
        };
        let (settings, hub) = (&self.settings.server, self.server.hub);
        let hub_has_a_directory = std::env::var_os(hub_directory::VARIABLE).is_some();
        // Beside a root directory that does not have the file, Jupyter ends.
        let hides = |directory: &Path| {
            let file = self.open.as_ref();
            file.is_some_and(|path| path.is_file() && !path.starts_with(directory))
        };
        let directory = self.settings.root_dir();
        let directory = directory.filter(|path| !(hub && hub_has_a_directory || hides(path)));
        let plan = argv::ArgvInput {
            hub,
            root_dir: directory,
            default_url: None,
            ip: settings.ip.as_deref(),
            port: match prefix.is_some() && self.chosen("ServerApp.port").is_none() {
                true => Some(KUBEFLOWS_PORT),
                false => settings.port,
            },
            certificate: self.certificate.as_deref(),
            base_url: prefix.as_deref(),
            as_root: self.as_root,
            configured: &|name| {
                let configured = match (name, jupyters.server_trait(name)) {
                    (DEFAULT_URL, page) => {
                        jupyters.hide_traits() || page.is_some_and(is_other_page)
                    }
                    (_, found) => found.is_some(),
                };
                configured && self.chosen(name).is_none() && !may_be_configured(name)
            },
            may_be_configured: &may_be_configured,
        };
        let merge = |plan| argv::merge(plan, &settings.args, &self.server.args);
        let argv = merge(plan);
        match self.first_page(&argv, jupyters).filter(|_| !hub) {
            Some(page) => merge(argv::ArgvInput {
                default_url: Some(&page),
                ..plan
            }),
            None => argv,
        }
    }

    /// Returns the server's root directory and the place that names it; `None`: only Jupyter knows it.
    fn root_dir(&self, argv: &Argv, jupyters: &ConfigSources) -> Option<(String, PathBuf)> {
        let open = self.open.as_deref();
        if let Some(directory) = open.filter(|path| path.is_dir()) {
            return Some((LINE.to_owned(), directory.to_owned()));
        }
        let hubs = || variable(hub_directory::VARIABLE).filter(|_| self.server.hub);
        let (place, named) = if let Some(named) = argv.value(ROOT_DIR) {
            (LINE.to_owned(), named.to_owned())
        } else if let Some(named) = hubs() {
            // The hub's is stronger than a file's.
            let place = hub_directory::VARIABLE.to_owned();
            (place, named.into_string().ok()?)
        } else if let Some((place, named)) = jupyters.server_trait(ROOT_DIR) {
            (place, named?.to_owned())
        } else if let Some(named) = argv.yielding_value(ROOT_DIR) {
            (LINE.to_owned(), named.to_owned())
        } else {
            let of_file = open.and_then(Path::parent);
            let directory = of_file.unwrap_or(&self.directory);
            return Some((LINE.to_owned(), directory.to_owned()));
        };
        let path = match named.strip_prefix('~') {
            None => self.directory.join(&named),
            Some(below) if below.is_empty() || below.starts_with('/') => {
                self.home.join(below.trim_start_matches('/'))
            }
            Some(_) => return None, // another user's home
        };
        Some((place, path))
    }

    /// Returns the first page where the image's is not in the root directory, but in the notebooks.
    /// `None`: the page is where it is configured.
    pub(super) fn first_page(&self, argv: &Argv, jupyters: &ConfigSources) -> Option<String> {
        let (_, root) = self.root_dir(argv, jupyters)?;
        let notebooks = self.settings.notebooks.directory.as_deref()?;
        let page = variable(PAGE)?.into_string().ok()?;
        let name = page.strip_prefix("/lab/tree/")?;
        if root.join(name).exists() || !notebooks.join(name).is_file() {
            return None;
        }
        let below = notebooks.strip_prefix(&root).ok().and_then(Path::to_str);
        Some(below.map_or("/lab".into(), |below| format!("/lab/tree/{below}/{name}")))
    }

    /// Returns what is wrong with the directory that people see and save in, and whether a file of
    /// theirs names it.
    pub(super) fn wrong_directory(
        &self,
        argv: &Argv,
        jupyters: &ConfigSources,
    ) -> Option<(Degradation, bool)> {
        let (place, root) = self.root_dir(argv, jupyters)?;
        let notebooks = self.settings.notebooks.directory.as_deref()?;
        let in_file = is_in_file(&place);
        if notebooks.starts_with(&root) {
            let lost = lost_with_container(notebooks, &self.home, true, "--notebooks");
            return lost.map(|lost| (lost, false));
        }
        let error = rustix::fs::access(&root, Access::WRITE_OK | Access::EXEC_OK).err();
        let error =
            error.filter(|_| root.is_dir() && !is_read_only(&root) && !root.starts_with(notebooks));
        let unusable = error.map(|error| {
            let root = root.display();
            Degradation::new(
                format!(
                    "{root} (ServerApp.root_dir from {place}) cannot be written: {error}, nothing can be saved \
                     there"
                ),
                format!(
                    "let the server's user write it, or start as root with --notebooks {root} as well"
                ),
            )
        });
        let lost = || lost_with_container(&root, &self.home, true, ROOT_DIR);
        Some((unusable.or_else(lost)?, in_file))
    }

    /// Returns what follows the program's name.
    pub(super) fn words(&self, argv: &Argv) -> Vec<OsString> {
        [&self.server.module[..], &argv.args].concat()
    }

    /// Reports whether the arguments have the requested certificate, and no other one.
    pub(super) fn use_certificate(&self, argv: &Argv) -> bool {
        self.certificate.is_some() && argv.value(CERTFILE) == self.certificate.as_deref()
    }

    /// Logs which values of ours win over Jupyter's configuration, and which yield to it.
    pub(super) fn report(&self, argv: &Argv, jupyters: &ConfigSources) {
        let replaced = self.certificate.is_some() && !self.use_certificate(argv);
        let ours = TRAITS.iter().map(|(_, name)| *name);
        let ours = ours.chain(["ServerApp.base_url"]);
        for name in ours.chain([CERTFILE].into_iter().filter(|_| !replaced)) {
            if let (Some(_), Some((place, _)), Some(origin)) = (
                argv.value(name),
                jupyters.server_trait(name),
                self.chosen(name),
            ) {
                info!("{origin} wins over {name} in {place}");
            }
        }
        let yielding = argv.yielding();
        if !yielding.is_empty() {
            info!(
                "Jupyter's configuration may set {}: if it does not, the image's values count \
                 (`not recognized` in Jupyter's log is about these)",
                yielding.join(", ")
            );
        }
    }

    /// Checks for values that would end the server, or every connection to it, for the user that
    /// this process runs as.
    ///
    /// # Errors
    /// All values that cannot work, with the place that each is from.
    pub(super) fn check(&self, argv: &Argv, jupyters: &ConfigSources) -> Result<(), SettingsError> {
        let value = |name| value(argv, jupyters, name);
        let mut wrong = Vec::new();
        for name in [CERTFILE, KEYFILE, "ServerApp.client_ca"] {
            let file = value(name).filter(|(_, file)| !file.is_empty());
            wrong.extend(file.and_then(|(place, file)| self.unreadable(name, place, file)));
        }
        if wrong.is_empty() {
            wrong.extend(self.unusable_certificate(argv, jupyters));
        }
        if let Some((place, root_dir)) = self.root_dir(argv, jupyters)
            // Our notebooks directory exists, or its absence is reported already.
            && self.settings.root_dir() != Some(&root_dir)
            && root_dir != self.directory
            && !root_dir.is_dir()
        {
            wrong.push(SettingError::new(
                ROOT_DIR,
                place,
                format!("{} is not a directory", root_dir.display()),
                "mount a volume there, or name another directory",
            ));
        }
        SettingsError::of_all(wrong)
    }

    fn unreadable(&self, name: &str, place: String, file: &str) -> Option<SettingError> {
        let path = self.directory.join(file);
        let mut options = OpenOptions::new();
        // Opening a FIFO without a writer must not block the start.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        let error = options.open(&path).err()?;
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
        Some(SettingError::new(name, place, problem, remedy))
    }

    /// Jupyter reads these files for each connection, and starts whatever is in them.
    fn unusable_certificate(&self, argv: &Argv, jupyters: &ConfigSources) -> Option<SettingError> {
        let value = |name| value(argv, jupyters, name).filter(|(_, file)| !file.is_empty());
        let (place, file) = value(CERTFILE).filter(|_| !self.use_certificate(argv))?;
        let certificate = self.directory.join(file);
        let key = match value(KEYFILE) {
            Some((place, file)) => Some((place, self.directory.join(file))),
            None if jupyters
                .server_trait(KEYFILE)
                .is_some_and(|(_, file)| file.is_none()) =>
            {
                return None; // only Jupyter knows it
            }
            None => None,
        };
        let own_key = key.as_ref().map(|(_, path)| path.as_path());
        let (path, problem) =
            tls::read_pair(&certificate, own_key.unwrap_or(&certificate)).err()?;
        let (problem, remedy) = match problem {
            FileProblem::Unusable(unusable) if unusable.may_be_usable() => return None,
            FileProblem::Unusable(unusable) => (unusable.to_string(), unusable.remedy(own_key)),
            FileProblem::Unreadable(error) => (error.to_string(), "name a regular file"),
        };
        let problem = format!("{} cannot be used: {problem}", path.display());
        let of_key = Some(path) == own_key && path != certificate;
        let (name, place) = match key {
            Some((place, _)) if of_key => (KEYFILE, place),
            _ => (CERTFILE, place),
        };
        Some(SettingError::new(name, place, problem, remedy))
    }
}

/// Returns the value of a trait and the place that it is from; `None`: it has none, or only
/// Jupyter knows it.
fn value<'a>(argv: &'a Argv, jupyters: &'a ConfigSources, name: &str) -> Option<(String, &'a str)> {
    match argv.value(name) {
        Some(value) => Some((LINE.to_owned(), value)),
        None => {
            let (place, value) = jupyters.server_trait(name)?;
            Some((place, value?))
        }
    }
}

/// Reports whether all wrong values are in Jupyter's configuration files. Their author may have no
/// other way to mend them than in the lab.
pub(super) fn are_in_files(wrong: &SettingsError) -> bool {
    wrong.0.iter().all(|error| is_in_file(&error.origin))
}

/// Reports whether a place is one of Jupyter's configuration files.
fn is_in_file(place: &str) -> bool {
    ![LINE, hub_directory::VARIABLE].contains(&place)
}

/// Reports whether a file other than the image's own names the first page.
fn is_other_page((_, page): (String, Option<&str>)) -> bool {
    page.map(OsStr::new) != variable(PAGE).as_deref()
}
