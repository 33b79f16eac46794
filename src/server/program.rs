//! Which program a start runs, and in which mode: a pure decision.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// What a start runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// A Jupyter server that we look after.
    Server(ServerProgram),
    /// Anything else, transparently.
    Command(Vec<OsString>),
    /// Nothing: reap and wait for a signal.
    Idle,
}

/// The server's program before it is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProgram {
    /// An absolute path, or a bare name for the venv and PATH.
    pub program: OsString,
    /// The arguments of COMMAND.
    pub args: Vec<OsString>,
    /// Whether JupyterHub manages it.
    pub hub: bool,
}

/// The name of JupyterHub's single-user server.
pub const SINGLEUSER: &str = "jupyterhub-singleuser";

/// The same with JupyterLab's own settings, as older hubs' configurations name it.
const LABHUB: &str = "jupyter-labhub";

/// Decides what to run.
///
/// `command` is COMMAND and its arguments, `configured` the setting
/// `server.program`, `service_url` whether `JUPYTERHUB_SERVICE_URL` is set.
pub fn decide(command: &[OsString], configured: Option<&str>, service_url: bool) -> Launch {
    let named = named_server(command, service_url);
    let (program, args) = match (named, command.is_empty(), configured) {
        (Some(found), ..) => found,
        (None, false, _) => return Launch::Command(command.to_vec()),
        (None, true, Some(program)) => (program.into(), Vec::new()),
        (None, true, None) => return Launch::Idle,
    };
    let single_user = base_name(&program) == SINGLEUSER;
    let labhub = base_name(&program) == LABHUB;
    Launch::Server(ServerProgram {
        // The image's own CMD names jupyter-lab; under the hub it means the
        // single-user server of the same venv.
        program: if service_url && !single_user {
            SINGLEUSER.into()
        } else {
            program
        },
        args,
        hub: single_user || labhub || service_url,
    })
}

/// The server that COMMAND names, with its arguments; `by_hub`: a hub wants one, so that
/// it may be any of Jupyter's.
fn named_server(command: &[OsString], by_hub: bool) -> Option<(OsString, Vec<OsString>)> {
    let (program, args) = command.split_first()?;
    let (program, args) = match (base_name(program).to_str()?, args.first()) {
        (SINGLEUSER | LABHUB | "jupyter-lab" | "jupyter-server", _) => (program.clone(), args),
        ("jupyter-notebook", _) if by_hub => (program.clone(), args),
        ("jupyter", Some(word))
            if word == "lab"
                || word == "server"
                || word == "labhub"
                || by_hub && word == "notebook" =>
        {
            let name = format!("jupyter-{}", word.to_string_lossy());
            // /opt/venv/bin/jupyter lab is /opt/venv/bin/jupyter-lab.
            let path = Path::new(program).with_file_name(name);
            (path.into_os_string(), &args[1..])
        }
        _ => return None,
    };
    starts_a_server(args).then(|| (program, args.to_vec()))
}

/// Whether these arguments of jupyter-lab start a server; some only ask or manage.
fn starts_a_server(args: &[OsString]) -> bool {
    const QUESTIONS: [&str; 8] = [
        "-h",
        "--help",
        "--help-all",
        "--version",
        "--generate-config",
        "--show-config",
        "--show-config-json",
        "-V",
    ];
    const SUBCOMMANDS: [&str; 13] = [
        "build",
        "clean",
        "extension",
        "extensions",
        "labextension",
        "licenses",
        "list",
        "password",
        "path",
        "paths",
        "stop",
        "workspace",
        "workspaces",
    ];
    let subcommand = args.first().and_then(|word| word.to_str());
    !subcommand.is_some_and(|word| SUBCOMMANDS.contains(&word))
        && !args
            .iter()
            .any(|word| word.to_str().is_some_and(|word| QUESTIONS.contains(&word)))
}

fn base_name(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}

/// What a hub gives every single-user server, and what is missing here.
///
/// Without these the server starts and looks healthy, but nobody can log in.
pub fn missing_hub_variables(is_set: &dyn Fn(&str) -> bool) -> Vec<&'static str> {
    [
        "JUPYTERHUB_SERVICE_URL",
        "JUPYTERHUB_API_TOKEN",
        "JUPYTERHUB_CLIENT_ID",
    ]
    .into_iter()
    .filter(|name| !is_set(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn server(program: &str, args: &[&str], hub: bool) -> Launch {
        Launch::Server(ServerProgram {
            program: program.into(),
            args: words(args),
            hub,
        })
    }

    #[test]
    fn what_command_does() {
        let lab = Some("/v/bin/jupyter-lab");
        for (command, configured, url, expected) in [
            (
                &[][..],
                lab,
                false,
                server("/v/bin/jupyter-lab", &[], false),
            ),
            (&[], None, false, Launch::Idle),
            (&[], lab, true, server(SINGLEUSER, &[], true)),
            (
                &[],
                Some("/v/bin/jupyterhub-singleuser"),
                true,
                server("/v/bin/jupyterhub-singleuser", &[], true),
            ),
            (
                &[],
                Some("jupyterhub-singleuser"),
                false,
                server(SINGLEUSER, &[], true),
            ),
            (
                &["jupyter-lab", "--debug"],
                None,
                false,
                server("jupyter-lab", &["--debug"], false),
            ),
            (&["jupyter-lab"], lab, true, server(SINGLEUSER, &[], true)),
            (
                &["jupyterhub-singleuser", "--debug"],
                lab,
                false,
                server(SINGLEUSER, &["--debug"], true),
            ),
            (
                &["jupyter", "lab", "--port=1"],
                lab,
                false,
                server("jupyter-lab", &["--port=1"], false),
            ),
            (
                &["/v/bin/jupyter", "server"],
                lab,
                false,
                server("/v/bin/jupyter-server", &[], false),
            ),
            (
                &["jupyter", "kernelspec", "list"],
                lab,
                true,
                Launch::Command(words(&["jupyter", "kernelspec", "list"])),
            ),
            (
                &["jupyter", "lab", "--version"],
                lab,
                false,
                Launch::Command(words(&["jupyter", "lab", "--version"])),
            ),
            (
                &["jupyter", "server", "list"],
                lab,
                false,
                Launch::Command(words(&["jupyter", "server", "list"])),
            ),
            (
                &["jupyter-labhub"],
                lab,
                true,
                server(SINGLEUSER, &[], true),
            ),
            (
                &["jupyter", "labhub", "--debug"],
                lab,
                false,
                server("jupyter-labhub", &["--debug"], true),
            ),
            (
                &["jupyter", "notebook"],
                lab,
                true,
                server(SINGLEUSER, &[], true),
            ),
            (
                &["jupyter-notebook"],
                lab,
                false,
                Launch::Command(words(&["jupyter-notebook"])),
            ),
            (
                &["bash", "-c", "jupyter-lab"],
                lab,
                true,
                Launch::Command(words(&["bash", "-c", "jupyter-lab"])),
            ),
        ] {
            assert_eq!(
                decide(&words(command), configured, url),
                expected,
                "{command:?}"
            );
        }
    }

    #[test]
    fn a_hub_that_did_not_give_a_token_is_noticed() {
        assert_eq!(missing_hub_variables(&|_| true), Vec::<&str>::new());
        assert_eq!(
            missing_hub_variables(&|name| name == "JUPYTERHUB_SERVICE_URL"),
            ["JUPYTERHUB_API_TOKEN", "JUPYTERHUB_CLIENT_ID"]
        );
    }
}
