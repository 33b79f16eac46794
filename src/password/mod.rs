//! Jupyter's password: chooses the wanted one and makes it effective.
//!
//! [`source::wanted`] chooses before root is dropped, because only root may be able to read a
//! secret's file. [`apply`] runs as the user and sets the password in the file that `jupyter
//! server password` writes. The hash is made here, without starting Python.

pub mod config_file;
mod default;
mod error;
pub mod hash;
mod outcome;
mod secret;
pub mod source;
#[cfg(test)]
mod testing;

use std::io;

use crate::identity::Dropped;
use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::precedence::Effective;
use crate::sys::effects::Effects;
use config_file::Document;
use default::{IMAGE_DEFAULT, is_public, remove_old_default, set_default};
pub use error::PasswordError;
pub use outcome::{Applied, Outcome};
pub use secret::{Secret, Wanted};
pub use source::{Sources, wanted};

/// A log message that log watchers rely on.
pub const CHANGED: &str = "Successfully changed the password of Jupyter server.";

/// A log message: everybody who has logged in with the default is logged out.
const REMOVED: &str = "the default password of an earlier start is removed: the command starts a \
                       server with a login of its own";

/// Makes the wanted password effective.
///
/// The file is written only if the present hash is not of this password: a new hash of the
/// same password would log every user out.
///
/// # Errors
/// The user's file does not parse, a forced password cannot be set, or a default not be removed.
pub fn apply(
    _: &Dropped,
    place: &ConfigLocation,
    wanted: &Wanted,
    effects: Effects<'_>,
) -> Result<Applied, PasswordError> {
    match apply_with(place, wanted, effects) {
        Err(PasswordError::File { path, source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied
                && effects.would_hand_over(&path) =>
        {
            Ok(Outcome::NotReadable(path).into())
        }
        applied => applied,
    }
}

fn apply_with(
    place: &ConfigLocation,
    wanted: &Wanted,
    effects: Effects<'_>,
) -> Result<Applied, PasswordError> {
    match wanted {
        Wanted::Nothing => Ok(Outcome::Unchanged.into()),
        Wanted::Default(secret) => set_default(place, secret, effects),
        Wanted::RemoveDefault(secret) => {
            let mut own = Document::read(&place.file())?;
            let removed = remove_old_default(place, &mut own, secret, effects)?;
            let note = removed.then(|| REMOVED.to_owned());
            Ok(Applied {
                note,
                ..Outcome::Unchanged.into()
            })
        }
        Wanted::Forced(secret) => {
            let verify = |hash: &str| hash::verify(hash, secret);
            force(place, &verify, || Ok(hash::make(secret)?), effects)
        }
        Wanted::ForcedHash(wanted) => {
            let verify = |hash: &str| hash == wanted;
            force(place, &verify, || Ok(wanted.clone()), effects)
        }
    }
}

fn force(
    place: &ConfigLocation,
    verify: &dyn Fn(&str) -> bool,
    make: impl FnOnce() -> Result<String, PasswordError>,
    effects: Effects<'_>,
) -> Result<Applied, PasswordError> {
    if place.ignored() {
        return Err(PasswordError::NoConfig);
    }
    let mut own = Document::read(&place.file())?;
    let found = place.read();
    let effective = match found.effective() {
        Effective::Hash(hash) => Some(hash),
        Effective::Nothing | Effective::Unknown(_) => None,
    };
    let is_effective = effective.as_deref().is_some_and(verify);
    let is_known = !place.has_unknown_line() && !found.may_be_overridden();
    if is_effective && is_known {
        return Ok(Outcome::Unchanged.into());
    }
    let variable = found.is_overridden().then(|| place.config_path_override());
    let nested = found.is_nested();
    let contested = nested || !is_known || found.is_contested();
    let written = own.forced(nested).filter(|_| contested);
    let outcome = if written.is_some_and(verify) {
        Outcome::Unchanged
    } else {
        own.check_replaceable()?;
        if !effects.is_preview() {
            // Another hash of the same password would log every user out.
            let known = match is_effective {
                true => effective,
                false => (own.base().map(str::to_owned))
                    .filter(|hash| effective.as_ref() != Some(hash) && verify(hash)),
            };
            own.force(known.map_or_else(make, Ok)?, contested, nested)?;
        }
        own.write(effects)?;
        Outcome::Changed
    };
    Ok(Applied {
        variable,
        ..outcome.into()
    })
}

/// Reports whether the files make this password effective; false if only the server can decide.
/// Takes about 50 ms.
pub fn is_effective(place: &ConfigLocation, secret: &Secret) -> bool {
    check_password(place, secret) == Ok(true)
}

/// Decides whether the password is the effective one.
///
/// # Errors
/// The part of the configuration that only the server can interpret.
pub fn check_password(place: &ConfigLocation, secret: &Secret) -> Result<bool, String> {
    match place.read().effective() {
        Effective::Hash(hash) => Ok(hash::verify(&hash, secret)),
        Effective::Nothing => Ok(false),
        Effective::Unknown(why) => Err(why),
    }
}

/// Returns a hash of the password that the user chose, wherever it can still be read; `None`: no
/// password is known, only a default one, which everybody knows, or something else replaces the
/// password's login. `applied`: this start made `wanted` effective. Takes up to 100 ms.
///
/// # Errors
/// No hash could be made.
pub fn configured_hash(
    place: &ConfigLocation,
    wanted: &Wanted,
    applied: bool,
    default: Option<&Secret>,
) -> Result<Option<String>, hash::HashError> {
    let found = place.read();
    if found.other_login().is_some() {
        return Ok(None);
    }
    match wanted {
        // What the files have is newer, if it can be read: `password set` writes there.
        _ if applied && !found.is_own_unreadable() => {}
        Wanted::Forced(secret) => return hash::make(secret).map(Some),
        Wanted::ForcedHash(hash) => return Ok(Some(hash.clone())),
        _ => {}
    }
    let image_default = Secret::new(IMAGE_DEFAULT.into());
    let default = default.unwrap_or(&image_default);
    let usable = |hash: &String| hash::well_formed(hash) && !is_public(hash, default);
    let hash = match found.effective() {
        Effective::Hash(hash) => Some(hash),
        Effective::Nothing => None,
        // Jupyter may have failed because of what is unknown.
        Effective::Unknown(_) => found.own_hash().map(str::to_owned),
    };
    Ok(hash.filter(usable))
}

/// Returns a random token, of the length that Jupyter gives its own.
///
/// # Errors
/// The system has no random bytes.
pub fn random_token() -> io::Result<String> {
    let bytes: [u8; 24] = hash::random()?;
    Ok(hash::hex(&bytes))
}

#[cfg(test)]
#[path = "password_tests.rs"]
mod tests;
