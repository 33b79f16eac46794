//! The request for https: which certificate the settings ask for, and where that has no effect.

use std::path::PathBuf;

use tracing::warn;

use crate::server::program::Launch;
use crate::settings::{Key, Origin, Settings, SettingsError, Tls};
use crate::state::Mode;
use crate::tls;
use crate::tls::Certificate;

/// A request for https.
#[derive(Debug)]
pub struct CertificateRequest {
    /// The origin of the request.
    pub origin: Origin,
    /// The certificate that is named; `None`: one is made for this container.
    pub named: Option<(PathBuf, Certificate)>,
}

/// Returns the request. The key of a named certificate may be root's, so this comes before the
/// drop. Only a server that no hub manages has a certificate of ours.
///
/// # Errors
/// A named certificate or key cannot be used.
pub fn requested(
    settings: &Settings,
    launch: &Launch,
) -> Result<Option<CertificateRequest>, SettingsError> {
    if !matches!(launch, Launch::Server(server) if !server.hub) {
        return Ok(None);
    }
    let named = match &settings.server.tls {
        Tls::Off => return Ok(None),
        Tls::Auto => None,
        Tls::Named { certificate, key } => {
            let read = tls::read(settings, certificate, key.as_deref())?;
            Some((certificate.clone(), read))
        }
    };
    let origin = origin(settings);
    Ok(Some(CertificateRequest { origin, named }))
}

fn origin(settings: &Settings) -> Origin {
    settings.origin(match &settings.server.tls {
        Tls::Named { .. } => Key::TlsCert,
        Tls::Auto | Tls::Off => Key::Tls,
    })
}

/// Says that a request has no effect where no server of ours is started, or a hub's.
pub fn warn_of_no_effect(settings: &Settings, mode: Mode) {
    let origin = origin(settings);
    match mode {
        _ if settings.server.tls == Tls::Off => {}
        Mode::Hub => warn!(
            "{origin} has no effect: JupyterHub decides how it reaches this server (remedy: set \
             `c.JupyterHub.internal_ssl` in the hub's configuration)"
        ),
        // An image's own setting is meant for its servers.
        Mode::Command | Mode::Idle if origin.is_chosen() => warn!(
            "{origin} has no effect: it is for a Jupyter server, and none is started (remedy: leave \
             it out, or name jupyter-lab instead of the command)"
        ),
        Mode::Command | Mode::Idle | Mode::Lab => {}
    }
}
