//! The server's certificate in a start: how the requested one reaches the server, and what the log
//! says about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tracing::info;

use crate::boot::arguments;
use crate::boot::changes::Section;
use crate::boot::context::{ServerUser, Start, timed};
use crate::boot::failure::Failure;
use crate::degradation::Degradation;
use crate::jupyter_config::ConfigLocation;
use crate::jupyter_config::ConfigSources;
use crate::server::argv::{Argv, CERTFILE, KEYFILE};
use crate::tls::{Certificate, CertificateFile, Found, Handover};

/// Returns the file in memory for the requested certificate; `None`: there is no request.
///
/// # Errors
/// The kernel makes no such file.
pub fn handover(start: &Start<'_>, person: &ServerUser) -> Result<Option<Handover>, Failure> {
    let made = start.tls.as_ref().map(|_| Handover::new(&person.dropped));
    Ok(made.transpose().map_err(not_handed)?)
}

fn not_handed(error: io::Error) -> io::Error {
    io::Error::other(format!(
        "the certificate cannot be given to the server: {error}"
    ))
}

/// Reports a requested certificate that the server's arguments do not have, because another one is
/// named, or none.
///
/// # Errors
/// Under `--warning-as-error`, if the server's arguments turn https off.
pub fn report_replaced(
    start: &mut Start<'_>,
    argv: &Argv,
    jupyters: &ConfigSources,
) -> Result<(), Failure> {
    let Some(origin) = start.tls.as_ref().map(|tls| &tls.origin) else {
        return Ok(());
    };
    let (place, value) = match (argv.value(CERTFILE), jupyters.server_trait(CERTFILE)) {
        (None, Some((place, value))) => (place, value.map(str::to_owned)),
        (value, _) => (arguments::LINE.into(), value.map(str::to_owned)),
    };
    let why = match value.as_deref() {
        Some(named) if !named.is_empty() => {
            info!("{origin} has no effect: another certificate or key is named in {place}");
            return Ok(());
        }
        Some(_) => format!("the server has no https: {CERTFILE} is empty in {place}"),
        None if place == arguments::LINE => {
            format!(
                "the server may have no https: {KEYFILE} is in {place}, without its certificate"
            )
        }
        None => format!("the server may have no https: only Jupyter knows {CERTFILE} in {place}"),
    };
    let degradation = Degradation::new(
        format!("{origin} has no effect, and {why}"),
        "remove that setting, or name a certificate with it",
    );
    match place == arguments::LINE {
        true => start.report.degraded(degradation),
        false => {
            start.report.degraded_by_user(degradation);
            Ok(())
        }
    }
}

/// Gives the requested certificate to the server, which inherits the returned file in memory.
/// Makes the certificate if none is named and none is kept. `is_used`: false if only a restart may
/// need it.
///
/// # Errors
/// The certificate cannot be made or given, or under `--warning-as-error` any degradation.
pub fn give(
    start: &mut Start<'_>,
    person: &ServerUser,
    place: &ConfigLocation,
    mut handover: Handover,
    is_used: bool,
) -> Result<Handover, Failure> {
    let named = start.tls.take().and_then(|request| request.named);
    let (found, time) = timed(|| match named {
        Some((path, certificate)) => {
            start.report.all_degraded(invalid(&path, &certificate))?;
            plan_existing(start, &path);
            Ok((path, certificate))
        }
        None => kept(start, person, CertificateFile::of(place.directory())),
    });
    let (path, certificate) = found?;
    start.changes.done(format_args!(
        "The certificate in {}{} has the SHA-256 fingerprint {}",
        path.display(),
        if is_used { "" } else { " (for a restart)" },
        certificate.fingerprint()
    ));
    handover.fill(&certificate).map_err(not_handed)?;
    start.report.add_duration("tls", time);
    Ok(handover)
}

/// Returns the certificate that is kept for this container, or makes it, and its path.
fn kept(
    start: &mut Start<'_>,
    person: &ServerUser,
    file: CertificateFile,
) -> Result<(PathBuf, Certificate), Failure> {
    let now = SystemTime::now();
    let path = file.path().to_owned();
    let found = match file.find(&person.dropped, now) {
        Found::Usable(certificate) => {
            report_invalid(start, &path, &certificate);
            plan_existing(start, &path);
            return Ok((path, certificate));
        }
        other => other,
    };
    let made = start.changes.make(
        Section::SERVER,
        |effects| file.make(&person.dropped, &found, now, effects),
        |_, words| {
            let aside = match found {
                Found::Unusable(_) => ", where another file is set aside",
                _ => "",
            };
            words.planned(format_args!(
                "with a new certificate in {}{aside}",
                path.display()
            ));
        },
    )?;
    match &found {
        Found::Unusable(problem) => {
            let degradation = unusable(&path, problem, made.aside.as_deref());
            start.report.degraded_by_user(degradation);
        }
        Found::Outdated(flaw) => start.changes.done(format_args!(
            "The certificate in {} is replaced: {flaw}",
            path.display()
        )),
        // `made.written` has the reason, which is reported below.
        Found::Unreadable(_) | Found::Usable(_) | Found::Nothing => {}
    }
    if let Err(error) = made.written {
        start.report.degraded(not_kept(&path, &error))?;
    }
    Ok((path, made.certificate))
}

fn plan_existing(start: &mut Start<'_>, path: &Path) {
    let section = Section::SERVER;
    (start.changes).planned(section, || {
        format!("with the certificate in {}", path.display())
    });
}

/// Reports that a person's own certificate cannot be valid now.
fn report_invalid(start: &mut Start<'_>, path: &Path, certificate: &Certificate) {
    let invalid = invalid(path, certificate).into_iter();
    invalid.for_each(|invalid| start.report.degraded_by_user(invalid));
}

fn invalid(path: &Path, certificate: &Certificate) -> Vec<Degradation> {
    let invalid = certificate.why_invalid(SystemTime::now()).map(|why| {
        Degradation::new(
            format!(
                "the certificate in {} {why}: browsers refuse it",
                path.display()
            ),
            "put a new one in its place and start the container again",
        )
    });
    invalid.into_iter().collect()
}

fn unusable(path: &Path, problem: &str, aside: Option<&Path>) -> Degradation {
    let aside = aside.map(|aside| format!("; the file is now {}", aside.display()));
    Degradation::new(
        format!(
            "{} cannot be used: {problem}{}",
            path.display(),
            aside.unwrap_or_default()
        ),
        "name a certificate of your own with --tls-cert FILE",
    )
}

/// Returns the degradation for a certificate that ends with this start.
fn not_kept(path: &Path, error: &io::Error) -> Degradation {
    Degradation::new(
        format!(
            "the certificate cannot be kept in {}: {error}; the next start makes another one",
            path.display()
        ),
        "let the user own that directory, or name a certificate with --tls-cert FILE",
    )
}
