//! Checks of the settings that only a start makes: the accounts of this container, the hooks
//! that root would run, the sources of the password. Errors found here are reported together
//! with errors in the values themselves.

use std::ffi::OsString;
use std::path::Path;

use tracing::{info, warn};

use crate::boot::certificate_request::CertificateRequest;
use crate::boot::{account, certificate_request};
use crate::hooks;
use crate::hooks::HookError;
use crate::identity::{Account, group, resolve};
use crate::jupyter_config::sources::mentions_authentication;
use crate::password;
use crate::password::{Sources, Wanted};
use crate::server::argv;
use crate::server::program;
use crate::server::program::Launch;
use crate::settings::resolve::Draft;
use crate::settings::table::find;
use crate::settings::{Key, Settings, SettingsError, User, old_paths};
use crate::sys::env::variable;

/// Docker kills what is left of a container this many seconds after SIGTERM, unless another
/// time is set.
const DOCKERS_LIMIT: f64 = 10.0;

/// The checked input of a start.
pub struct Checked {
    /// The valid settings.
    pub settings: Settings,
    /// The program to run.
    pub launch: Launch,
    /// The password that is wanted.
    pub password: Wanted,
    /// The request for https; `None`: there is none.
    pub tls: Option<CertificateRequest>,
    /// The server's arguments that are left out, because this password wins over them.
    pub overridden_args: Vec<String>,
}

/// Checks the settings against this container.
///
/// # Errors
/// All errors at once.
pub fn check(
    mut draft: Draft,
    command: &[OsString],
    as_root: bool,
) -> Result<Checked, SettingsError> {
    let service_url = variable("JUPYTERHUB_SERVICE_URL").is_some();
    let configured = draft.settings().server.program.as_deref();
    let command = meant_here(at_new_location(command), draft.settings());
    let mut launch = program::decide(&command, configured, service_url);
    if as_root {
        let account = account(draft.settings()).map(drop);
        draft.checked(account);
        let groups = kept_groups(draft.settings());
        draft.checked(groups);
        let hooks = trusted_hooks(draft.settings());
        draft.checked(hooks);
    }
    let password = password(draft.settings(), &launch);
    let password = draft.checked(password).unwrap_or(Wanted::Nothing);
    let tls = certificate_request::requested(draft.settings(), &launch);
    let tls = draft.checked(tls).flatten();
    let mut settings = draft.finish()?;
    let mut outranked = Vec::new();
    if let Launch::Server(server) = &mut launch
        && password.is_forced()
    {
        outranked = argv::leave_out_passwords(&mut settings.server.args);
        outranked.extend(argv::leave_out_passwords(&mut server.args));
    }
    Ok(Checked {
        settings,
        launch,
        password,
        tls,
        overridden_args: outranked,
    })
}

/// Returns COMMAND. A program that is gone from an old image's location gets its new location.
fn at_new_location(command: &[OsString]) -> Vec<OsString> {
    let mut command = command.to_vec();
    if let Some(program) = command.first_mut()
        && let Some(place) = program.to_str().and_then(old_paths::moved_path)
    {
        *program = place.into();
    }
    command
}

/// Returns COMMAND. A script of the Jupyter Docker Stacks that this image does not have is replaced by
/// what it would start.
fn meant_here(command: Vec<OsString>, settings: &Settings) -> Vec<OsString> {
    let Some(meant) = program::instead_of_script(&command, settings.server.program.as_deref())
    else {
        return command;
    };
    let path = variable("PATH").unwrap_or_default();
    let venv = settings.server.venv.iter().map(|venv| venv.join("bin"));
    let mut places = std::env::split_paths(&path).chain(venv);
    if places.any(|place| place.join(&command[0]).exists()) {
        return command;
    }
    info!(
        "{} is of the Jupyter Docker Stacks and not in this image: {} is started",
        command[0].display(),
        meant
            .first()
            .map_or("the server".into(), |word| word.to_string_lossy())
    );
    meant
}

/// Warns of a setting that names an older image's copy in a volume, where updates do not arrive.
/// The copy works, so this is no degradation.
pub fn warn_of_stale_copies(settings: &Settings) {
    let named = [
        (Key::Venv, settings.server.venv.as_deref()),
        (
            Key::NotebookDefaults,
            settings.notebooks.defaults.as_deref(),
        ),
    ];
    for (key, path) in named {
        let Some(path) = path.and_then(Path::to_str) else {
            continue;
        };
        if let Some(new) = old_paths::stale_copy(path) {
            warn!(
                "{} (from {}): {path} is a copy in a volume, which no newer image updates (remedy: \
                 leave the setting out; the image has its own in {new})",
                find(key).name(),
                settings.origin(key),
            );
        }
    }
}

/// Returns the account that root becomes; `None`: no user is named, which is the old layout.
///
/// # Errors
/// An unknown user or group; another name for root, which is no ordinary user.
pub fn account(settings: &Settings) -> Result<Option<Account>, SettingsError> {
    let Some(User {
        name,
        group,
        home,
        new,
    }) = &settings.user
    else {
        return Ok(None);
    };
    if let Some(new) = new {
        return account::new(settings, new).map(Some);
    }
    let mut wrong = Vec::new();
    match resolve(name, None, None) {
        Ok(account) if account.uid == 0 => wrong.push(settings.error(
            Key::User,
            format!("{name:?} is another name for root"),
            "name an ordinary user, or `root` for the old layout under /root",
        )),
        Ok(_) => {}
        Err(unknown) => wrong.push(account::unknown_account(settings, Key::User, &unknown)),
    }
    if let Some(Err(unknown)) = group.as_deref().map(self::group) {
        wrong.push(account::unknown_account(settings, Key::Group, &unknown));
    }
    SettingsError::of_all(wrong)?;
    // Both names were found above, so this fails only if one has gone since.
    match resolve(name, group.as_deref(), home.as_deref()) {
        Ok(account) => Ok(Some(account)),
        Err(gone) => Err(account::unknown_account(settings, Key::User, &gone).into()),
    }
}

/// Returns the gids of the groups that are passed on although the image gives them to root.
///
/// # Errors
/// An unknown group, and root's own group.
pub fn kept_groups(settings: &Settings) -> Result<Vec<u32>, SettingsError> {
    let mut wrong = Vec::new();
    let mut gids = Vec::new();
    for name in &settings.keep_groups {
        match group(name) {
            Ok(0) => wrong.push(settings.error(
                Key::KeepGroup,
                format!("{name:?} is root's own group, which is never kept"),
                "name another one",
            )),
            Ok(gid) => gids.push(gid),
            Err(unknown) => {
                wrong.push(account::unknown_account(settings, Key::KeepGroup, &unknown))
            }
        }
    }
    SettingsError::of_all(wrong)?;
    Ok(gids)
}

fn trusted_hooks(settings: &Settings) -> Result<(), SettingsError> {
    match hooks::root_hooks(&settings.hooks.directory.join("root")) {
        Err(wrong @ HookError::Untrusted { .. }) => Err(untrusted(settings, &wrong)),
        // Other errors are reported when the hooks run.
        _ => Ok(()),
    }
}

/// Returns the settings error for a hook that cannot be trusted.
pub fn untrusted(settings: &Settings, wrong: &HookError) -> SettingsError {
    let remedy = "make it, its interpreter and every directory above them writable by root alone";
    settings.error(Key::Hooks, wrong.to_string(), remedy).into()
}

/// Returns the wanted password. The password file may be root's, so this comes before the drop.
/// JupyterHub has its own login: in hub mode no source is read, so an empty variable is no
/// error there.
fn password(settings: &Settings, launch: &Launch) -> Result<Wanted, SettingsError> {
    if matches!(launch, Launch::Server(server) if server.hub) {
        return Ok(Wanted::Nothing);
    }
    let default = settings.password.default.as_deref();
    let file = settings.password.file.clone();
    let sources = Sources {
        default: default.map(|text| (text, settings.origin(Key::Password))),
        file: file.map(|path| (path, settings.origin(Key::PasswordFile))),
        environment: &|name| std::env::var_os(name),
    };
    Ok(match (password::wanted(&sources)?, launch) {
        (Wanted::Default(secret), Launch::Command(words)) if chooses_a_login(words) => {
            Wanted::RemoveDefault(secret)
        }
        (wanted, _) => wanted,
    })
}

/// Reports whether a command names a token, a password or the like: it most likely starts its own
/// server (`bash -c "pip install x && jupyter lab --ServerApp.token=…"`), also where a script does.
fn chooses_a_login(command: &[OsString]) -> bool {
    let mut words = command.iter().map(|word| word.to_string_lossy());
    words.any(|word| mentions_authentication(&word))
}

/// Warns if the stop and drain timeouts together reach Docker's default limit. Another limit
/// that is set cannot be seen from here, so this is no degradation.
pub fn warn_of_timeouts(settings: &Settings) {
    let server = &settings.server;
    let both = (server.stop_timeout + server.drain_timeout).as_secs_f64();
    if both < DOCKERS_LIMIT {
        return;
    }
    let told = |key, time: std::time::Duration| {
        let (name, origin) = (find(key).name(), settings.origin(key));
        format!("{name} {} s (from {origin})", time.as_secs_f64())
    };
    warn!(
        "{} and {} are {both} s together, but Docker kills a container {DOCKERS_LIMIT} s after \
         it asked it to stop (remedy: give it more with `docker run --stop-timeout {}`, \
         `stop_grace_period` of Compose or `terminationGracePeriodSeconds` of Kubernetes; if that \
         is done already, all is well)",
        told(Key::StopTimeout, server.stop_timeout),
        told(Key::DrainTimeout, server.drain_timeout),
        both.floor() + 1.0,
    );
}
