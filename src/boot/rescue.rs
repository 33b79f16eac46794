//! The plan of a rescue: what a server that is started once more needs of this start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::boot::arguments::Arguments;
use crate::boot::context::{ServerUser, Start};
use crate::boot::user_phase::{Ready, working_directory};
use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::ConfigSources;
use crate::jupyter_config::EnvironmentToken;
use crate::password;
use crate::password::Secret;
use crate::server::argv::Argv;
use crate::server::program::ServerProgram;
use crate::server::rescue::{Address, Login, RescuePlan, TlsFiles};
use crate::settings::{Rescue, Settings};
use crate::tls;
use crate::tls::FileProblem;

/// Returns the Python of a rescue; `None`: there is none, or a rescue is not wanted.
pub(super) fn python(settings: &Settings) -> Option<PathBuf> {
    let server = &settings.server;
    if server.rescue == Rescue::Never || settings.strict {
        return None;
    }
    let venvs = [&server.rescue_venv, &server.venv].into_iter().flatten();
    let mut pythons = venvs.map(|venv| venv.join("bin/python"));
    pythons.find(|python| python.exists())
}

/// Returns the plan of a rescue; `None`: there is none. `applied`: the wanted password is effective.
pub(super) fn plan(
    start: &Start<'_>,
    person: &ServerUser,
    ready: &Ready,
    server: &ServerProgram,
    arguments: &Arc<Arguments>,
    shows_lab: bool,
) -> Option<RescuePlan> {
    let directory = working_directory(start).unwrap_or_else(|| person.account.home.clone());
    let hub = server.hub;
    let place = ready.config_location.clone();
    let wanted = ready.wanted.clone();
    let applied = start.unprepared.is_none();
    let default = start.settings.password.default.clone().map(Secret::new);
    let environment = ready.environment.clone();
    let working = directory.clone();
    Some(RescuePlan {
        python: start.rescue_python.clone()?,
        hub,
        program_of_venv: is_of_venv(start, server),
        address: match hub {
            true => Box::new(|| Some(Address::default())),
            false => address(arguments, &place, &directory),
        },
        shows_lab,
        decides: Box::new({
            let (place, arguments) = (place.clone(), arguments.clone());
            move |file| {
                let own = Path::new(file) == place.file();
                let jupyters = place.read();
                let argv = arguments.merged(&jupyters);
                let overridden = |name: &str| argv.value(name).is_some();
                !hub && jupyters.decides_access(file, own, &overridden)
            }
        }),
        environment: ready.environment.clone(),
        directory,
        umask: start.settings.server.umask,
        uid: person.account.uid,
        dropped: person.dropped,
        login: Box::new(move || {
            if hub {
                return Ok(Login::Hub);
            }
            let hash = password::configured_hash(&place, &wanted, applied, default.as_ref());
            let token = EnvironmentToken::read(&environment, &working);
            let token = token.map(|token| token.typed().to_owned());
            let token = token.filter(|token| !token.is_empty() && !place.read().replaces_token());
            Ok(match (hash.map_err(io::Error::other)?, token) {
                (Some(hash), _) => Login::Password(hash),
                (None, Some(token)) => Login::Token(token),
                (None, None) => Login::RandomToken(password::random_token()?),
            })
        }),
    })
}

/// The value of a trait of `ServerApp` in the usual server's arguments or Jupyter's configuration.
enum Said {
    Nothing,
    Known(String),
    /// Only Jupyter knows it.
    Unknown,
}

/// The usual server's traits: its arguments, and Jupyter's configuration.
struct ServerTraits {
    argv: Argv,
    jupyters: ConfigSources,
}

impl ServerTraits {
    fn of(&self, name: &str) -> Said {
        let name = format!("ServerApp.{name}");
        let value = match (self.argv.value(&name), self.jupyters.server_trait(&name)) {
            (Some(value), _) => Some(value),
            (None, _) if self.jupyters.hide_traits() => None,
            (None, Some((_, value))) => value,
            (None, None) => Some(""),
        };
        match value {
            Some("") => Said::Nothing,
            Some(value) => Said::Known(value.to_owned()),
            None => Said::Unknown,
        }
    }

    fn known(&self, name: &str) -> Option<String> {
        match self.of(name) {
            Said::Known(value) => Some(value),
            Said::Nothing | Said::Unknown => None,
        }
    }
}

/// Decides where the rescued server listens.
type AddressOf = Box<dyn Fn() -> Option<Address> + Send + Sync>;

/// Returns the decision. It reads Jupyter's configuration as it is then: a person may have changed
/// it since the start.
fn address(arguments: &Arc<Arguments>, place: &ConfigLocation, directory: &Path) -> AddressOf {
    let (arguments, place) = (arguments.clone(), place.clone());
    let directory = directory.to_owned();
    Box::new(move || {
        let jupyters = place.read();
        let traits = ServerTraits {
            argv: arguments.merged(&jupyters),
            jupyters,
        };
        let image = &arguments.settings.server;
        Some(Address {
            traits: traits.kept(image.ip.as_deref(), image.port, &directory)?,
            certificate: traits.certificate(&directory)?,
        })
    })
}

impl ServerTraits {
    /// Returns the traits of the rescued server; `None`: it cannot listen where the usual one does.
    /// A value that cannot work may be the cause of the failure: the image's value replaces it.
    fn kept(
        &self,
        ip: Option<&str>,
        port: Option<u16>,
        directory: &Path,
    ) -> Option<Vec<(&'static str, String)>> {
        let mut kept = Vec::new();
        match (self.of("sock"), self.of("ip")) {
            (Said::Unknown, _) | (Said::Nothing, Said::Unknown) => return None,
            // Jupyter takes no port beside it.
            (Said::Known(sock), _) => kept.push(("sock", absolute(directory, &sock)?)),
            (Said::Nothing, said) => {
                let image = || ip.unwrap_or("*").to_owned();
                kept.push((
                    "ip",
                    match said {
                        Said::Known(ip) => ip,
                        _ => image(),
                    },
                ));
                let known = self.known("port");
                let known = known.filter(|port| port.parse::<u16>().is_ok());
                let port = known.or_else(|| Some(port?.to_string()));
                kept.extend(port.map(|port| ("port", port)));
            }
        }
        for name in [
            "base_url",
            "sock_mode",
            "allow_origin",
            "allow_remote_access",
        ] {
            kept.extend(self.known(name).map(|value| (name, value)));
        }
        Some(kept)
    }

    /// Returns the certificate of the rescued server; `None`: anybody could connect to it, but not
    /// to the usual one. The usual files may be what broke.
    fn certificate(&self, directory: &Path) -> Option<TlsFiles> {
        let decides = |name| !matches!(self.of(name), Said::Nothing);
        let (certificate, key) = match (self.of("certfile"), self.of("keyfile")) {
            // The server may accept only clients with a certificate; a rescue would accept all.
            _ if decides("client_ca") || decides("ssl_options") => return None,
            (Said::Nothing, Said::Nothing) => return Some(TlsFiles::None),
            (Said::Known(certificate), Said::Nothing) => (certificate.clone(), certificate),
            (Said::Known(certificate), Said::Known(key)) => (certificate, key),
            _ => return Some(TlsFiles::Made),
        };
        let (certificate, key) = (directory.join(certificate), directory.join(key));
        Some(match tls::read_pair(&certificate, &key) {
            Err((_, FileProblem::Unusable(unusable))) if !unusable.may_be_usable() => {
                TlsFiles::Made
            }
            Err((_, FileProblem::Unreadable(_))) => TlsFiles::Made,
            _ => TlsFiles::Kept { certificate, key },
        })
    }
}

fn absolute(directory: &Path, path: &str) -> Option<String> {
    directory.join(path).into_os_string().into_string().ok()
}

/// Reports whether a program is looked up in the venv, or named there, and a name of Jupyter's.
fn is_of_venv(start: &Start<'_>, server: &ServerProgram) -> bool {
    let path = Path::new(&server.program);
    let venv = start.settings.server.venv.as_deref();
    let inside = |venv| path.starts_with(venv) || path.components().count() == 1;
    server.is_known() && venv.is_some_and(inside)
}
