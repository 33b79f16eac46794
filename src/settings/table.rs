//! The table of settings: each setting once, with its flag, environment variable, TOML key, kind,
//! default and help. The flags, `--help`, and the readers of the environment and of the file use
//! this table.

use crate::settings::choices::{
    Choice, DeletedNotebooks, LogFormat, Orphans, Rescue, Restart, TlsPolicy, UpdateNotebooks,
    VolumeOwner,
};
use crate::settings::entry::{Entry, Key, ValueKind, entry};

/// Every setting, in the order of `--help`.
pub const TABLE: &[Entry] = &[
    entry(
        Key::NotebookDefaults,
        "notebook-defaults",
        ValueKind::Path,
        "DIR",
        "Where the image keeps the default notebooks",
    )
    .section("Notebooks")
    .env("NOTEBOOK_DEFAULTS")
    .toml("notebooks.defaults"),
    entry(
        Key::Notebooks,
        "notebooks",
        ValueKind::Path,
        "DIR",
        "The mounted volume; Jupyter's root directory",
    )
    .env("NOTEBOOKS")
    .toml("notebooks.directory"),
    entry(
        Key::VolumeOwner,
        "volume-owner",
        ValueKind::Choice(VolumeOwner::WORDS),
        "POLICY",
        "Give the volume to the user (chown), run as its owner (adopt), or touch nothing (keep); \
         auto adopts a bind mount of another ordinary user",
    )
    .env("AI_LAB_VOLUME_OWNER")
    .toml("notebooks.owner")
    .default("auto"),
    entry(
        Key::UpdateNotebooks,
        "update-notebooks",
        ValueKind::Choice(UpdateNotebooks::WORDS),
        "POLICY",
        "Which defaults a newer image replaces; what you changed is never overwritten",
    )
    .env("AI_LAB_UPDATE_NOTEBOOKS")
    .toml("notebooks.update")
    .default("unmodified"),
    entry(
        Key::DeletedNotebooks,
        "deleted-notebooks",
        ValueKind::Choice(DeletedNotebooks::WORDS),
        "POLICY",
        "Whether defaults that you deleted come back at the next start",
    )
    .env("AI_LAB_DELETED_NOTEBOOKS")
    .toml("notebooks.deleted")
    .default("restore"),
    entry(
        Key::NotebookMode,
        "notebook-mode",
        ValueKind::Mode,
        "MODE",
        "Mode of the files brought in; directories and executables get x where it has r",
    )
    .env("AI_LAB_NOTEBOOK_MODE")
    .toml("notebooks.mode")
    .default("644"),
    entry(
        Key::Venv,
        "venv",
        ValueKind::Path,
        "DIR",
        "Python environment; its bin goes first on PATH",
    )
    .section("Server")
    .env("JUPYTER_VENV")
    .toml("server.venv"),
    entry(
        Key::JupyterServer,
        "jupyter-server",
        ValueKind::Program,
        "PATH",
        "jupyter-lab or jupyterhub-singleuser; a bare name is looked up in the venv",
    )
    .toml("server.program"),
    entry(
        Key::JupyterCore,
        "jupyter-core",
        ValueKind::Text,
        "PATH",
        "Accepted for compatibility; not needed, the password's hash is computed here",
    ),
    entry(
        Key::Ip,
        "ip",
        ValueKind::Text,
        "ADDR",
        "Address Jupyter listens on (not in hub mode) [default: all, IPv4 and IPv6]",
    )
    .env("AI_LAB_IP")
    .toml("server.ip"),
    entry(
        Key::Port,
        "port",
        ValueKind::Port,
        "N",
        "Port Jupyter listens on (not in hub mode)",
    )
    .env("JUPYTER_PORT")
    .toml("server.port"),
    entry(
        Key::Tls,
        "tls",
        ValueKind::Choice(TlsPolicy::WORDS),
        "POLICY",
        "auto serves https, with the certificate of --tls-cert or one that is made for this container; off serves http (not in hub mode)",
    )
    .env(GEN_CERT)
    .toml("server.tls")
    .default("off"),
    entry(
        Key::TlsCert,
        "tls-cert",
        ValueKind::Path,
        "FILE",
        "Serve https with this certificate, in PEM, followed by the intermediate certificates; only root has to be able to read the file",
    )
    .toml("server.tls_cert"),
    entry(
        Key::TlsKey,
        "tls-key",
        ValueKind::Path,
        "FILE",
        "The certificate's private key, in PEM; only root has to be able to read the file [default: the certificate's file]",
    )
    .toml("server.tls_key"),
    entry(
        Key::JupyterArg,
        "jupyter-arg",
        ValueKind::Texts,
        "ARG",
        "An argument for Jupyter; may be repeated",
    )
    .toml("server.args"),
    entry(
        Key::StopTimeout,
        "stop-timeout",
        ValueKind::Seconds,
        "SECONDS",
        "How long the server may take to stop before it is killed; together with --drain-timeout, keep it below the engine's limit (Docker: 10, or its own --stop-timeout)",
    )
    .env("AI_LAB_STOP_TIMEOUT")
    .toml("server.stop_timeout")
    .default("7"),
    entry(
        Key::DrainTimeout,
        "drain-timeout",
        ValueKind::Seconds,
        "SECONDS",
        "How long all other processes may take after that",
    )
    .env("AI_LAB_DRAIN_TIMEOUT")
    .toml("server.drain_timeout")
    .default("1.5"),
    entry(
        Key::ReadyTimeout,
        "ready-timeout",
        ValueKind::Seconds,
        "SECONDS",
        "After this time a server that does not answer is reported; it keeps running",
    )
    .env("AI_LAB_READY_TIMEOUT")
    .toml("server.ready_timeout")
    .default("120"),
    entry(
        Key::Restart,
        "restart",
        ValueKind::Choice(Restart::WORDS),
        "POLICY",
        "Whether a server that ends by itself is started again",
    )
    .env("AI_LAB_RESTART")
    .toml("server.restart")
    .default("never"),
    entry(
        Key::Rescue,
        "rescue",
        ValueKind::Choice(Rescue::WORDS),
        "POLICY",
        "Whether a server that ends before it is ready is started once more, without your configuration and extensions, so that you can repair what broke",
    )
    .env("AI_LAB_RESCUE")
    .toml("server.rescue")
    .default("auto"),
    entry(
        Key::RescueVenv,
        "rescue-venv",
        ValueKind::Path,
        "DIR",
        "Python environment for --rescue, one that nobody changes [default: --venv]",
    )
    .toml("server.rescue_venv"),
    entry(
        Key::Orphans,
        "orphans",
        ValueKind::Choice(Orphans::WORDS),
        "POLICY",
        "What happens to processes that a kernel or a terminal leaves running when it ends",
    )
    .env("AI_LAB_ORPHANS")
    .toml("server.orphans")
    .default("keep"),
    entry(
        Key::Umask,
        "umask",
        ValueKind::Umask,
        "MASK",
        "The umask of the server or COMMAND, such as 002 to let the group write; otherwise the container's",
    )
    .env("NB_UMASK")
    .toml("server.umask"),
    entry(
        Key::User,
        "user",
        ValueKind::Text,
        "NAME",
        "Who the server runs as (name or number); root selects the old layout under /root",
    )
    .section("Identity")
    .toml("user.name"),
    entry(
        Key::Group,
        "group",
        ValueKind::Text,
        "NAME",
        "The group the server runs as [default: the user's own]",
    )
    .toml("user.group"),
    entry(
        Key::Home,
        "home",
        ValueKind::Path,
        "DIR",
        "The user's HOME [default: the account's]",
    )
    .toml("user.home"),
    entry(
        Key::NewPrivileges,
        "new-privileges",
        ValueKind::Switch,
        "",
        "For images that want sudo: keep the bounding set and leave no_new_privs off",
    )
    .toml("user.new_privileges"),
    entry(
        Key::KeepGroup,
        "keep-group",
        ValueKind::Groups,
        "NAME",
        "Keep this group of --group-add although the image's /etc/group gives it to root, too (name or number); may be repeated",
    )
    .toml("user.keep_groups"),
    entry(
        Key::DockerSocket,
        "docker-socket",
        ValueKind::Path,
        "PATH",
        "The Docker socket the user gets access to, if it is mounted",
    )
    .section("Docker")
    .env("AI_LAB_DOCKER_SOCKET")
    .toml("docker.socket")
    .default("/var/run/docker.sock"),
    entry(
        Key::DockerGroup,
        "docker-group",
        ValueKind::Text,
        "NAME",
        "Group to use for the Docker socket",
    )
    .toml("docker.group")
    .default("docker"),
    entry(
        Key::GrantAccess,
        "grant-access",
        ValueKind::Paths,
        "PATH",
        "Another path the user gets access to, such as /dev/dri/renderD128; may be repeated",
    )
    .toml("docker.grant_access"),
    entry(
        Key::Password,
        "password",
        ValueKind::Text,
        "TEXT",
        "Default password, used only while none is set. Public by nature: it shows in `docker inspect`",
    )
    .section("Password")
    .toml("password.default"),
    entry(
        Key::PasswordFile,
        "password-file",
        ValueKind::Path,
        "FILE",
        "File with the password; beats the default and one set earlier",
    )
    .toml("password.file"),
    entry(
        Key::JupyterLogfile,
        "jupyter-logfile",
        ValueKind::Path,
        "PATH",
        "Also write the server's log here",
    )
    .section("Operation")
    .toml("log.server_file"),
    entry(
        Key::LogFormat,
        "log-format",
        ValueKind::Choice(LogFormat::WORDS),
        "FORMAT",
        "Format of the log on the console; the logfile keeps the server's lines as they are",
    )
    .env("AI_LAB_LOG_FORMAT")
    .toml("log.format")
    .default("text"),
    entry(
        Key::LogLevel,
        "log-level",
        ValueKind::Choice(tracing::Level::WORDS),
        "LEVEL",
        "How much the entrypoint logs",
    )
    .env("AI_LAB_LOG")
    .toml("log.level")
    .default("info"),
    entry(
        Key::Hooks,
        "hooks",
        ValueKind::Path,
        "DIR",
        "Executables in root/ run before root is dropped, those in user/ before the server",
    )
    .env("AI_LAB_HOOKS")
    .toml("hooks.directory")
    .default("/etc/ai-lab/hooks"),
    entry(
        Key::HookTimeout,
        "hook-timeout",
        ValueKind::Seconds,
        "SECONDS",
        "How long one hook may take before it is killed and the start fails",
    )
    .env("AI_LAB_HOOK_TIMEOUT")
    .toml("hooks.timeout")
    .default("120"),
    entry(
        Key::HookEnv,
        "hook-env",
        ValueKind::Variables,
        "NAME",
        "Pass this environment variable on to root hooks, which get only a short list; may be repeated",
    )
    .toml("hooks.environment"),
    entry(
        Key::StateDir,
        "state-dir",
        ValueKind::Path,
        "DIR",
        "Where state.json is kept for healthcheck, status and restart",
    )
    .env("AI_LAB_STATE_DIR")
    .toml("state.directory")
    .default(DEFAULT_STATE_DIR),
    entry(
        Key::Strict,
        "warning-as-error",
        ValueKind::Switch,
        "",
        "Any degradation ends the start instead of being a warning",
    )
    .toml("strict"),
    entry(
        Key::DryRun,
        "dry-run",
        ValueKind::Switch,
        "",
        "Print what this start would change (files, groups, owners, argv, variables); change nothing",
    ),
];

/// The settings file that is read if no other is named. It may be absent.
pub const DEFAULT_FILE: &str = "/etc/ai-lab/entrypoint.toml";
/// The default directory of `state.json`.
const DEFAULT_STATE_DIR: &str = "/run/ai-lab";
/// The variable of the Jupyter Docker Stacks that asks for a certificate.
pub const GEN_CERT: &str = "GEN_CERT";

/// Returns the entry of `key`.
pub fn find(key: Key) -> &'static Entry {
    &TABLE[key as usize] // invariant: the table is in the order of `Key`; a test holds it
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_keys() {
        for (position, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.key as usize, position, "{}", entry.flag);
        }
        assert_eq!(TABLE.len(), Key::DryRun as usize + 1);
    }

    #[test]
    fn no_name_is_used_twice() {
        for names in [
            TABLE.iter().map(|e| e.flag).collect::<Vec<_>>(),
            TABLE.iter().filter_map(|e| e.env).collect(),
            TABLE.iter().filter_map(|e| e.toml).collect(),
        ] {
            let unique: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(unique.len(), names.len(), "{names:?}");
        }
    }
}
