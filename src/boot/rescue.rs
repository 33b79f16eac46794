//! The plan of a rescue: what a server that is started once more needs of this start.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::boot::user_phase::{Ready, working_directory};
use crate::boot::{ServerUser, Start};
use crate::jupyter_config::precedence::ConfigSources;
use crate::password;
use crate::password::Secret;
use crate::server::argv::Argv;
use crate::server::program::ServerProgram;
use crate::server::rescue::{Address, Login, RescuePlan, TlsFiles};
use crate::settings::{Rescue, Settings};
use crate::sys::env::Environment;
use crate::tls;
use crate::tls::Certificate;

/// The variable with the token of Jupyter's own.
const TOKEN: &str = "JUPYTER_TOKEN";

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
    traits: &ServerTraits<'_>,
) -> Option<RescuePlan> {
    let directory = working_directory(start).unwrap_or_else(|| person.account.home.clone());
    let hub = server.hub;
    let place = ready.config_location.clone();
    let wanted = ready.wanted.clone();
    let applied = start.unprepared.is_none();
    let default = start.settings.password.default.clone().map(Secret::new);
    let token = token(&ready.environment);
    Some(RescuePlan {
        python: start.rescue_python.clone()?,
        hub,
        program_of_venv: is_of_venv(start, server),
        address: match hub {
            true => Address::default(),
            false => address(start, traits, &directory)?,
        },
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
            let token = token
                .clone()
                .filter(|_| place.read().other_login().is_none());
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

/// The usual server's traits.
pub(super) struct ServerTraits<'a> {
    /// Its arguments.
    pub argv: &'a Argv,
    /// Jupyter's configuration.
    pub jupyters: &'a ConfigSources,
}

impl ServerTraits<'_> {
    fn of(&self, name: &str) -> Said {
        let name = format!("ServerApp.{name}");
        match (self.argv.value(&name), self.jupyters.server_trait(&name)) {
            (Some(value), _) | (None, Some((_, Some(value)))) => match value {
                "" => Said::Nothing,
                value => Said::Known(value.to_owned()),
            },
            (None, Some((_, None))) => Said::Unknown,
            (None, None) => Said::Nothing,
        }
    }

    fn known(&self, name: &str) -> Option<String> {
        match self.of(name) {
            Said::Known(value) => Some(value),
            Said::Nothing | Said::Unknown => None,
        }
    }
}

/// Returns where the rescued server listens; `None`: nowhere that is as safe as where the usual one
/// does. What cannot work may be what broke, and gets the image's value.
fn address(start: &Start<'_>, traits: &ServerTraits<'_>, directory: &Path) -> Option<Address> {
    let settings = &start.settings.server;
    let mut kept = Vec::new();
    match (traits.of("sock"), traits.of("ip")) {
        (Said::Unknown, _) | (Said::Nothing, Said::Unknown) => return None,
        // Jupyter takes no port beside it.
        (Said::Known(sock), _) => kept.push(("sock", absolute(directory, &sock)?)),
        (Said::Nothing, Said::Known(ip)) if !can_listen(&ip) => return None,
        (Said::Nothing, ip) => {
            let image = || settings.ip.clone().unwrap_or_else(|| "*".into());
            kept.push((
                "ip",
                match ip {
                    Said::Known(ip) => ip,
                    _ => image(),
                },
            ));
            let port = traits
                .known("port")
                .filter(|port| port.parse::<u16>().is_ok());
            let port = port.or_else(|| Some(settings.port?.to_string()));
            kept.extend(port.map(|port| ("port", port)));
        }
    }
    for name in [
        "base_url",
        "sock_mode",
        "allow_origin",
        "allow_remote_access",
    ] {
        kept.extend(traits.known(name).map(|value| (name, value)));
    }
    let certificate = match (
        traits.of("certfile"),
        traits.of("keyfile"),
        traits.of("client_ca"),
    ) {
        (Said::Nothing, ..) => TlsFiles::None,
        // The server accepts only clients with a certificate; a rescue would accept all.
        (_, _, Said::Known(_) | Said::Unknown) => return None,
        (Said::Known(certificate), Said::Nothing, _) => {
            let file = absolute(directory, &certificate)?;
            files(&file, &file)
        }
        (Said::Known(certificate), Said::Known(key), _) => files(
            &absolute(directory, &certificate)?,
            &absolute(directory, &key)?,
        ),
        _ => TlsFiles::Made,
    };
    Some(Address {
        traits: kept,
        certificate,
    })
}

/// Returns the usual server's files if they can be used: they may be what broke.
fn files(certificate: &str, key: &str) -> TlsFiles {
    let read = |path: &str| tls::read_file(Path::new(path)).ok();
    let pair = read(certificate).zip(read(key));
    match pair.map(|(certificate, key)| Certificate::parse(&certificate, &key)) {
        Some(Ok(_)) => TlsFiles::Kept {
            certificate: certificate.into(),
            key: key.into(),
        },
        _ => TlsFiles::Made,
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

/// Reports whether a server can listen on an address. A name is not resolved: that may take long.
fn can_listen(ip: &str) -> bool {
    let address = ip.parse::<IpAddr>();
    address.is_err() || address.is_ok_and(|ip| TcpListener::bind((ip, 0)).is_ok())
}

fn token(environment: &Environment) -> Option<String> {
    let token = environment.get(TOKEN).and_then(OsStr::to_str)?;
    (!token.is_empty()).then(|| token.to_owned())
}
