//! The default password, which everybody knows: set only where no login is configured, and removed
//! where one is.

use crate::degradation::Degradation;
use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::precedence::DefaultDecision;
use crate::password::config_file::Document;
use crate::password::error::PasswordError;
use crate::password::hash;
use crate::password::outcome::{Applied, Outcome};
use crate::password::secret::Secret;
use crate::sys::effects::Effects;

pub(super) fn set_default(
    place: &ConfigLocation,
    secret: &Secret,
    effects: Effects<'_>,
) -> Result<Applied, PasswordError> {
    let mut own = Document::read(&place.file())?;
    let found = place.read();
    let decision = found.default_decision();
    let is_unread = matches!(decision, DefaultDecision::ConfiguredElsewhere(_));
    let (note, degradation) = match decision {
        DefaultDecision::Unset | DefaultDecision::EmptyToken(_)
            if !place.ignored()
                && own
                    .base()
                    .is_some_and(|hash| !is_other_public(hash, secret)) =>
        {
            return Ok(Outcome::Unchanged.into());
        }
        // Jupyter makes no token then.
        DefaultDecision::MaybeOpen { token, cause } => {
            return match found.own_hash().filter(|hash| !hash.is_empty()) {
                Some(hash) if !is_public(hash, secret) => Ok(Outcome::Unchanged.into()),
                _ => Err(PasswordError::Open { by: token, cause }),
            };
        }
        DefaultDecision::Unset => {
            return write_default_or_degrade(place, &mut own, secret, effects);
        }
        DefaultDecision::EmptyToken(by) => {
            let note = format!("an empty token ({by}) does not turn the password off");
            return match write_default(place, &mut own, secret, effects) {
                Ok(()) => Ok(Applied {
                    note: Some(note),
                    ..Outcome::Changed.into()
                }),
                // Jupyter makes no token of its own then.
                Err(error) => Err(PasswordError::Open {
                    by,
                    cause: error.to_string(),
                }),
            };
        }
        // A setting of the user's own file, such as `password set` writes, needs no note.
        DefaultDecision::Configured(by) if by.contains(&*place.file().to_string_lossy()) => {
            (None, None)
        }
        DefaultDecision::Configured(by) | DefaultDecision::ConfiguredElsewhere(by) => {
            let note = format!("the default password is not set: the configuration has {by}");
            (Some(note), None)
        }
        DefaultDecision::Off(by) => (None, Some(no_auth_degradation(&by))),
        DefaultDecision::Undecided(by) => (None, Some(unclear_degradation(&by))),
    };
    let gone = remove_old_default(place, &mut own, secret, effects);
    let gone = gone.map_err(|error| PasswordError::DefaultNotRemoved(Box::new(error)))?;
    // The hash that remains is one that a person set, and Jupyter uses it.
    let has_hash = !gone && found.own_hash().is_some_and(|hash| !hash.is_empty());
    let degradation = degradation.filter(|_| !has_hash);
    // A command may start the server that reads the file.
    let is_unread = is_unread && !has_hash && !place.has_unknown_line();
    let note = note.map(|note| if is_unread { note + UNREAD } else { note });
    if let Some(by) = found.public_default_elsewhere(&place.file(), |hash| is_public(hash, secret))
    {
        return Err(PasswordError::DefaultElsewhere(by));
    }
    let outcome = degradation.map_or(Outcome::Unchanged, Outcome::NotSet);
    Ok(Applied {
        note,
        ..outcome.into()
    })
}

/// The image's default password, which everybody knows. An earlier start may have set it even
/// if this start has another default.
pub(super) const IMAGE_DEFAULT: &str = "ailab";

/// Reports whether a hash is of a default password: this start's, or the image's.
pub(super) fn is_public(hash: &str, default: &Secret) -> bool {
    hash::verify(hash, default) || is_other_public(hash, default)
}

fn is_other_public(hash: &str, default: &Secret) -> bool {
    default.bytes() != IMAGE_DEFAULT.as_bytes()
        && hash::verify(hash, &Secret::new(IMAGE_DEFAULT.into()))
}

/// Writes the default password. A file that cannot be written is only a degradation: Jupyter
/// then makes a token, unless the configuration has an empty one.
fn write_default_or_degrade(
    place: &ConfigLocation,
    own: &mut Document,
    secret: &Secret,
    effects: Effects<'_>,
) -> Result<Applied, PasswordError> {
    let outcome = match write_default(place, own, secret, effects) {
        Ok(()) => Outcome::Changed,
        Err(
            error @ (PasswordError::File { .. } | PasswordError::Link(_) | PasswordError::NoConfig),
        ) => Outcome::NotSet(Degradation::note(format!(
            "the default password is not effective: {error}; Jupyter makes a \
                 token and logs it"
        ))),
        Err(error) => return Err(error),
    };
    Ok(outcome.into())
}

/// Removes a default password that an earlier start set, because it would still be accepted
/// beside the login that is configured now. Returns whether there was one.
pub(super) fn remove_old_default(
    place: &ConfigLocation,
    own: &mut Document,
    secret: &Secret,
    effects: Effects<'_>,
) -> Result<bool, PasswordError> {
    if place.ignored() || !own.base().is_some_and(|hash| is_public(hash, secret)) {
        return Ok(false);
    }
    own.check_replaceable()?;
    own.remove_base();
    own.write(effects)?;
    Ok(true)
}

/// The words after a password that only another server reads.
const UNREAD: &str = ", which this server does not read: unless an extension does, Jupyter makes a \
                      random token and logs it (remedy: JUPYTER_PASSWORD)";

/// The remedy if the configuration prevents a default password.
const CHOOSE_REMEDY: &str =
    "choose a password with `docker run --env JUPYTER_PASSWORD=<your password> …`";

fn unclear_degradation(by: &str) -> Degradation {
    Degradation::new(
        format!(
            "the default password is not set: {by} cannot be evaluated here, and may configure a \
             password; if it does not, Jupyter makes a random token and logs it"
        ),
        CHOOSE_REMEDY,
    )
}

fn no_auth_degradation(by: &str) -> Degradation {
    Degradation::new(
        format!(
            "authentication is turned off by {by}: everybody who reaches the port can use the \
             server"
        ),
        CHOOSE_REMEDY,
    )
}

fn write_default(
    place: &ConfigLocation,
    own: &mut Document,
    secret: &Secret,
    effects: Effects<'_>,
) -> Result<(), PasswordError> {
    if place.ignored() {
        return Err(PasswordError::NoConfig);
    }
    // Checked first, because hashing takes 50 ms.
    own.check_replaceable()?;
    if !effects.is_preview() {
        own.set_default(hash::make(secret)?)?;
    }
    own.write(effects)
}

#[cfg(test)]
#[path = "default_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "empty_token_tests.rs"]
mod empty_token_tests;
