//! The rescue: a server in surroundings that nothing of the user's can break. It runs from an
//! environment that nobody changed, reads one configuration file, which is made here, and keeps
//! its own files in a private directory. Its first page says what broke and how to mend it.

mod broken;
mod rescuer;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use broken::Broken;
pub use rescuer::{Rescuer, unusable_without};
use serde_json::{Value, json};

use crate::identity::Dropped;
use crate::server::ca_files;
use crate::server::load_failures::LoadFailure;
use crate::supervisor::spawn::Program;
use crate::sys;
use crate::sys::dir::RoomChecks;
use crate::sys::effects::Effects;
use crate::sys::env::Environment;
use crate::sys::whole_file::{self, PRIVATE};
use crate::tls::{CertificateFile, Found};

/// How a person gets into a rescued server.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// As always: JupyterHub checks it.
    Hub,
    /// With the password of this hash, which the user configured.
    Password(String),
    /// With the token that the user configured.
    Token(String),
    /// With this random token, which only the log shows.
    RandomToken(String),
}

/// Where a rescued server listens.
#[derive(Debug, Default)]
pub struct Address {
    /// Traits of `ServerApp` and the texts of their values.
    pub traits: Vec<(&'static str, String)>,
    /// The certificate.
    pub certificate: TlsFiles,
}

impl Address {
    /// Reports whether the server could listen: otherwise a rescue would end as the usual server.
    /// Names are not resolved: that may take long.
    fn can_listen(&self) -> bool {
        let value = |name| self.traits.iter().find(|(known, _)| *known == name);
        let Some((_, ip)) = value("ip") else {
            return true;
        };
        let port = value("port").and_then(|(_, port)| port.parse().ok());
        let ip = match ip.as_str() {
            "*" | "" => "0.0.0.0",
            ip => ip,
        };
        let address = ip.parse::<IpAddr>();
        address.map_or(true, |ip| {
            TcpListener::bind((ip, port.unwrap_or(0))).is_ok()
        })
    }
}

/// The certificate of a rescued server.
#[derive(Debug, Default)]
pub enum TlsFiles {
    /// There is none: it serves http, as the usual server does.
    #[default]
    None,
    /// The usual server's.
    Kept {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key, which may be the same.
        key: PathBuf,
    },
    /// One that is made for the rescue: the usual one cannot be used.
    Made,
}

/// What is known about a rescue before there is a reason for one.
pub struct RescuePlan {
    /// The Python of the environment that nobody changed.
    pub python: PathBuf,
    /// True if JupyterHub manages the server.
    pub hub: bool,
    /// True if the usual server's program is of the venv, where `pip` can remove it.
    pub program_of_venv: bool,
    /// Decides where the server listens; `None`: nowhere that is as safe as where the usual one
    /// does. May wait for a disk.
    pub address: Box<dyn Fn() -> Option<Address> + Send + Sync>,
    /// True if the usual server shows the pages of JupyterLab.
    pub shows_lab: bool,
    /// Reports whether a file of Jupyter's configuration decides where the server listens or who
    /// may log in. May wait for a disk.
    pub decides: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// The environment of the usual server.
    pub environment: Environment,
    /// The directory that the file browser shows first.
    pub directory: PathBuf,
    /// The umask of the usual server; `None`: that of this process.
    pub umask: Option<u32>,
    /// The user that the server runs as.
    pub uid: u32,
    /// Proof that root is dropped.
    pub dropped: Dropped,
    /// Decides how people log in. Computes for some 50 ms.
    pub login: Box<dyn Fn() -> io::Result<Login> + Send + Sync>,
}

/// A rescue: why, and how people log in.
pub struct Rescued {
    /// What broke.
    pub broken: Broken,
    /// How people log in.
    pub login: Login,
}

/// Variables that point Jupyter to files of the user's, or that name another server or first
/// page. `-I` makes Python itself ignore its own.
const LEFT_OUT: [&str; 15] = [
    "JUPYTER_CONFIG_DIR",
    "JUPYTER_CONFIG_PATH",
    "JUPYTER_PATH",
    "JUPYTER_PLATFORM_DIRS",
    "JUPYTER_PREFER_ENV_PATH",
    "JUPYTERLAB_DIR",
    "JUPYTERLAB_SETTINGS_DIR",
    "JUPYTERLAB_WORKSPACES_DIR",
    "JUPYTERHUB_DEFAULT_URL",
    "JUPYTERHUB_ROOT_DIR",
    "JUPYTERHUB_SINGLEUSER_APP",
    "JUPYTERHUB_SINGLEUSER_EXTENSION",
    "JUPYTERHUB_SINGLEUSER_LOAD_OTHER_EXTENSIONS",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
];

/// The page that says what broke.
const PAGE: &str = "what-broke.md";

/// JupyterLab's file for its usual workspace.
const WORKSPACE: &str = "workspaces/default-37a8.jupyterlab-workspace";

impl RescuePlan {
    /// Makes the surroundings anew; returns the server and how people log in. May wait for a disk.
    ///
    /// # Errors
    /// No private directory can be made and filled, on any disk or in memory.
    pub fn prepare(&self, address: &Address, broken: &Broken) -> io::Result<(Program, Login)> {
        let login = (self.login)()?;
        let [disk, memory] = self.places();
        let base = match self.fill(&disk, address, &login, broken) {
            Ok(()) => disk,
            Err(_) => (self.fill(&memory, address, &login, broken)).map(|()| memory)?,
        };
        Ok((self.program(&base), login))
    }

    /// Reports whether a rescue is better than a server that could not load this. May wait for a
    /// disk.
    pub fn is_needed(&self, failure: &LoadFailure) -> bool {
        let needed = match &failure.file {
            Some(file) => (self.decides)(file),
            None => self.shows_lab,
        };
        needed && (self.address)().is_some()
    }

    /// Returns the places for the private directory. A disk may be full, memory is not.
    fn places(&self) -> [PathBuf; 2] {
        // Containers may share both.
        let name = format!("ai-lab-rescue-{}-{}", self.uid, sys::env::container_id());
        [sys::env::temp_directory(), "/dev/shm".into()].map(|place| place.join(&name))
    }

    fn fill(
        &self,
        base: &Path,
        address: &Address,
        login: &Login,
        broken: &Broken,
    ) -> io::Result<()> {
        sys::dir::make_private(base, self.uid)?;
        fs::remove_dir_all(base)?;
        sys::dir::make_private(base, self.uid)?;
        RoomChecks::default().check(base)?;
        for name in ["data", "runtime", "settings", "tmp", "workspaces"] {
            fs::create_dir(base.join(name))?;
        }
        let write = |name: &str, text: String| {
            whole_file::replace(&base.join(name), text.as_bytes(), PRIVATE, false)
        };
        write("settings/overrides.json", overrides().to_string())?;
        write(WORKSPACE, self.workspace(base).to_string())?;
        write(PAGE, broken.page(self.hub))?;
        let certificate = match &address.certificate {
            TlsFiles::None => None,
            TlsFiles::Kept { certificate, key } => Some((certificate.clone(), key.clone())),
            TlsFiles::Made => {
                let file = CertificateFile::of(base);
                let now = SystemTime::now();
                let made = file.make(&self.dropped, &Found::Nothing, now, Effects::Make);
                made.map_err(io::Error::other)?.written?;
                Some((file.path().to_owned(), file.path().to_owned()))
            }
        };
        let configuration = self.configuration(base, &address.traits, login, certificate);
        write("config.json", configuration.to_string())
    }

    /// Returns the server's whole configuration: it reads no other file.
    /// `certificate`: the files of the certificate and of its key.
    fn configuration(
        &self,
        base: &Path,
        traits: &[(&'static str, String)],
        login: &Login,
        certificate: Option<(PathBuf, PathBuf)>,
    ) -> Value {
        let mut server = json!({
            "jpserver_extensions": {"jupyterlab": true, "jupyter_server_terminals": true},
            // What broke may be anywhere: in the notebooks, in HOME, or in the image.
            "root_dir": "/",
            "port_retries": 0,
            "open_browser": false,
            "allow_root": self.uid == 0,
            "terminado_settings": {"shell_command": self.shell(base)},
        });
        for (name, value) in traits {
            server[*name] = match (*name, value.as_str(), value.parse::<u16>()) {
                ("port", _, Ok(number)) => json!(number),
                (_, "True" | "true", _) => json!(true),
                (_, "False" | "false", _) => json!(false),
                _ => json!(value),
            };
        }
        if let Some((certificate, key)) = certificate {
            server["certfile"] = json!(certificate);
            server["keyfile"] = json!(key);
        }
        let (hash, token) = match login {
            Login::Hub => ("", ""),
            Login::Password(hash) => (hash.as_str(), ""),
            Login::Token(token) | Login::RandomToken(token) => ("", token.as_str()),
        };
        let mut all = json!({
            "ServerApp": server,
            "ContentsManager": {"allow_hidden": true},
            "LabApp": {
                "app_settings_dir": base.join("settings"),
                "default_url": self.first_page(base),
                "labextensions_path": [],
                "workspaces_dir": base.join("workspaces"),
            },
        });
        if let Some(directory) = self.first_directory() {
            all["FileContentsManager"] = json!({"preferred_dir": relative(directory)});
        }
        if !self.hub {
            // An empty value is one, too: no variable sets another.
            all["PasswordIdentityProvider"] = json!({
                "hashed_password": hash,
                "allow_password_change": false,
            });
            all["IdentityProvider"] = json!({"token": token});
        }
        all
    }

    /// Returns what JupyterLab shows of itself at every address, such as a bookmark: the page.
    fn workspace(&self, base: &Path) -> Value {
        let page = relative(&base.join(PAGE));
        let widget = format!("markdownviewer-widget:{page}");
        let dock = json!({"type": "tab-area", "currentIndex": 0, "widgets": [widget]});
        let mut data = json!({
            "layout-restorer:data": {"main": {"dock": dock, "current": widget}},
            (widget.as_str()): {"data": {"path": page, "factory": "Markdown Preview"}},
        });
        if let Some(directory) = self.first_directory() {
            data["file-browser-filebrowser:cwd"] = json!({"path": relative(directory)});
        }
        json!({"data": data, "metadata": {"id": "default"}})
    }

    /// Returns the command of terminals: a login shell with the variables of the usual server.
    fn shell(&self, base: &Path) -> Vec<String> {
        let (mut unset, mut set) = (vec!["env".to_owned()], Vec::new());
        let own = own_variables(base);
        let own = own.iter().map(|(name, _)| *name);
        for name in LEFT_OUT.into_iter().chain(ca_files::NAMES).chain(own) {
            match self.environment.get(name) {
                Some(value) => set.push(format!("{name}={}", value.to_string_lossy())),
                None => unset.extend(["-u".to_owned(), name.to_owned()]),
            }
        }
        let shell = self.environment.get("SHELL").unwrap_or("/bin/sh".as_ref());
        let shell = [shell.to_string_lossy().into_owned(), "-l".into()];
        [unset, set, shell.into()].concat()
    }

    /// Returns the directory that the file browser shows first; `None`: it is gone.
    fn first_directory(&self) -> Option<&Path> {
        let directory = self.directory.as_path();
        (directory.is_dir() && directory.to_str().is_some()).then_some(directory)
    }

    /// Returns the path of the first page, below the base URL.
    fn first_page(&self, base: &Path) -> String {
        let page = format!("/lab/tree{}", url_path(&base.join(PAGE)));
        match self.first_directory() {
            Some(browser) => format!("{page}?file-browser-path={}", url_path(browser)),
            None => page,
        }
    }

    fn program(&self, base: &Path) -> Program {
        let module = match self.hub {
            true => "jupyterhub.singleuser",
            false => "jupyterlab",
        };
        let mut config = OsString::from("--config=");
        config.push(base.join("config.json"));
        let mut environment = self.environment.clone();
        LEFT_OUT.iter().for_each(|name| environment.remove(name));
        // They may be what ended the usual server.
        ca_files::remove_unreadable(&mut environment, base);
        for (name, value) in own_variables(base) {
            environment.set(name, value);
        }
        if self.hub {
            environment.set("JUPYTERHUB_DEFAULT_URL", self.first_page(base));
        }
        Program {
            name: self.python.clone().into(),
            // Python must not look for modules in the working directory, nor in HOME.
            args: ["-I".into(), "-m".into(), module.into(), config].into(),
            environment: environment.to_vec(),
            directory: Some(base.to_owned()),
            umask: self.umask,
        }
    }
}

/// Returns the variables of a rescued server.
fn own_variables(base: &Path) -> [(&'static str, PathBuf); 5] {
    [
        // No other configuration, wherever it is, not even that of the image or the hub.
        ("JUPYTER_NO_CONFIG", "1".into()),
        ("JUPYTER_DATA_DIR", base.join("data")),
        ("JUPYTER_RUNTIME_DIR", base.join("runtime")),
        // Jupyter would run and copy what IPython's directory has from before Jupyter 4.
        ("IPYTHONDIR", base.join("ipython")),
        ("TMPDIR", base.join("tmp")),
    ]
}

/// Returns the settings of the rescued JupyterLab: the page is shown, not edited, and nothing
/// that is hidden stays out of reach.
fn overrides() -> Value {
    json!({
        "@jupyterlab/docmanager-extension:plugin": {
            "defaultViewers": {"markdown": "Markdown Preview"},
        },
        "@jupyterlab/filebrowser-extension:browser": {"showHiddenFiles": true},
        "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
    })
}

/// Returns an absolute path as Jupyter's contents have it when the root directory is `/`.
fn relative(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Returns a path with every byte that has a meaning in a URL escaped.
fn url_path(path: &Path) -> String {
    let escaped = |byte: &u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.as_os_str().as_bytes().iter().map(escaped).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
#[path = "rescue_tests.rs"]
mod tests;
