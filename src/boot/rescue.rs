//! The plan of a rescue: what a server that is started once more needs of this start.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::boot::user_phase::{Ready, working_directory};
use crate::boot::{ServerUser, Start};
use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::precedence::ConfigSources;
use crate::password;
use crate::password::{Secret, Wanted};
use crate::server::argv::Argv;
use crate::server::program::ServerProgram;
use crate::server::rescue::{Login, RescuePlan};
use crate::settings::{Rescue, Settings};
use crate::sys::env::Environment;

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

/// Returns the plan of a rescue; `None`: there is none.
pub(super) fn plan(
    start: &Start<'_>,
    person: &ServerUser,
    ready: &Ready,
    server: &ServerProgram,
    argv: &Argv,
    jupyters: &ConfigSources,
) -> Option<RescuePlan> {
    let directory = working_directory(start).unwrap_or_else(|| person.account.home.clone());
    let hub = server.hub;
    let place = ready.config_location.clone();
    let wanted = ready.wanted.clone();
    let default = start.settings.password.default.clone().map(Secret::new);
    let token = token(&ready.environment);
    Some(RescuePlan {
        python: start.rescue_python.clone()?,
        hub,
        program_of_venv: is_of_venv(start, &server.program),
        address: match hub {
            true => Vec::new(),
            false => address(start, argv, jupyters, &directory),
        },
        environment: ready.environment.clone(),
        directory,
        umask: start.settings.server.umask,
        uid: person.account.uid,
        login: Box::new(move || match hub {
            true => Ok(Login::Hub),
            false => login(&place, &wanted, default.as_ref(), token.as_deref()),
        }),
    })
}

/// Returns what the usual server's address consists of, without what cannot work in Jupyter's
/// configuration: it may be what broke.
fn address(
    start: &Start<'_>,
    argv: &Argv,
    jupyters: &ConfigSources,
    directory: &Path,
) -> Vec<(&'static str, String)> {
    let value = |name: &str| {
        let name = format!("ServerApp.{name}");
        let configured = || jupyters.server_trait(&name).and_then(|(_, value)| value);
        let value = argv.value(&name).or_else(configured)?;
        (!value.is_empty()).then(|| value.to_owned())
    };
    let settings = &start.settings.server;
    let ip = settings.ip.clone().unwrap_or_else(|| "*".into());
    let ip = value("ip").filter(|ip| can_listen(ip)).unwrap_or(ip);
    let port = value("port").filter(|port| port.parse::<u16>().is_ok());
    let port = port.or_else(|| Some(settings.port?.to_string()));
    let mut address = vec![("ip", ip)];
    address.extend(port.map(|port| ("port", port)));
    address.extend(value("base_url").map(|url| ("base_url", url)));
    let path = |name: &'static str| {
        let path = directory.join(value(name)?).into_os_string();
        Some((name, path.into_string().ok()?))
    };
    address.extend(path("sock"));
    let files: Vec<_> = ["certfile", "keyfile"]
        .into_iter()
        .filter_map(path)
        .collect();
    if files.iter().all(|(_, file)| File::open(file).is_ok()) {
        address.extend(files);
    }
    address
}

/// Reports whether a program is looked up in the venv, or named there.
fn is_of_venv(start: &Start<'_>, program: &OsStr) -> bool {
    let path = Path::new(program);
    let venv = start.settings.server.venv.as_deref();
    venv.is_some_and(|venv| path.starts_with(venv) || path.components().count() == 1)
}

/// Reports whether a server can listen on an address.
fn can_listen(ip: &str) -> bool {
    ["*", ""].contains(&ip) || TcpListener::bind((ip, 0)).is_ok()
}

/// Decides how people log in to a rescued server: never more easily than to the usual one.
fn login(
    place: &ConfigLocation,
    wanted: &Wanted,
    default: Option<&Secret>,
    token: Option<&str>,
) -> io::Result<Login> {
    let hash = password::configured_hash(place, wanted, default).map_err(io::Error::other)?;
    Ok(match (hash, token) {
        (Some(hash), _) => Login::Password(hash),
        (None, Some(token)) => Login::Token(token.to_owned()),
        (None, None) => Login::RandomToken(password::random_token()?),
    })
}

fn token(environment: &Environment) -> Option<String> {
    let token = environment.get(TOKEN).and_then(OsStr::to_str)?;
    (!token.is_empty()).then(|| token.to_owned())
}
