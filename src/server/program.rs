//! Decides which program a start runs and in which mode, without side effects.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::jupyter_config::location::LAB_CONFIG_NAME;

/// The program that a start runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Launch {
    /// A Jupyter server, which we supervise.
    Server(ServerProgram),
    /// Any other command, which runs as if we were not there.
    Command(Vec<OsString>),
    /// No program: reap child processes and wait for a signal.
    Idle,
}

/// The server's program, before it is looked up on PATH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerProgram {
    /// A path, or a bare name to look up in the venv and on PATH.
    pub program: OsString,
    /// The words between the program and the server's arguments: `-m jupyterlab` after a Python.
    pub module: Vec<OsString>,
    /// The server's arguments in COMMAND.
    pub args: Vec<OsString>,
    /// True if JupyterHub manages the server.
    pub hub: bool,
}

/// The name of JupyterHub's single-user server.
pub const SINGLEUSER: &str = "jupyterhub-singleuser";

/// The name, in older hubs' configurations, of that server with JupyterLab's own settings.
const LABHUB: &str = "jupyter-labhub";

/// The name of JupyterLab's server.
const LAB: &str = "jupyter-lab";

/// Where the Jupyter Docker Stacks have their scripts, and where they name them without a directory.
const OF_SCRIPTS: [&str; 2] = ["/usr/local/bin", ""];

/// Jupyter's servers: the program, the module for `python -m`, and the display name.
const SERVERS: [(&str, &str, &str); 6] = [
    (LAB, "jupyterlab", "JupyterLab"),
    ("jupyter-server", "jupyter_server", "Jupyter Server"),
    ("jupyter-notebook", "notebook", "Jupyter Notebook"),
    ("jupyter-nbclassic", "nbclassic", "Jupyter NbClassic"),
    (LABHUB, "jupyterlab.labhubapp", "JupyterLab"),
    (SINGLEUSER, "jupyterhub.singleuser", "JupyterLab"),
];

impl ServerProgram {
    fn new(program: OsString, args: &[OsString]) -> Self {
        let hub = [SINGLEUSER, LABHUB]
            .iter()
            .any(|name| base_name(&program) == *name);
        Self {
            program,
            module: Vec::new(),
            args: args.to_vec(),
            hub,
        }
    }

    /// Returns the command and the display name of the program or module; `None`: it is not one of
    /// Jupyter's servers.
    fn known(&self) -> Option<(&'static str, &'static str)> {
        let module = self.module.last();
        let mut servers = SERVERS.iter();
        let found = servers.find(|(command, name, _)| match module {
            Some(module) => module == name,
            None => base_name(&self.program) == *command,
        });
        found.map(|(command, _, title)| (*command, *title))
    }

    /// Returns the program. A bare name is looked up in the venv; if it is not there, it is for
    /// PATH, which begins with the venv.
    pub fn in_venv(&self, venv: Option<&Path>) -> OsString {
        let name = Path::new(&self.program);
        let inside = venv.map(|venv| venv.join("bin").join(name));
        let inside = inside.filter(|path| name.components().count() == 1 && path.exists());
        inside.map_or_else(|| self.program.clone(), Into::into)
    }

    /// Reports whether the program or module is one of Jupyter's servers.
    pub fn is_known(&self) -> bool {
        self.known().is_some()
    }

    /// Returns the server's display name.
    pub fn title(&self) -> &'static str {
        self.known().map_or("JupyterLab", |(_, title)| title)
    }

    /// Reports whether the server shows the pages of JupyterLab.
    pub fn shows_lab(&self) -> bool {
        self.is_known() && self.config_name() == LAB_CONFIG_NAME
    }

    /// Returns the name, without extension, of the configuration file for this server alone;
    /// JupyterLab's if the server is unknown.
    pub fn config_name(&self) -> String {
        match self.known() {
            None | Some((LABHUB | SINGLEUSER, _)) => LAB_CONFIG_NAME.into(),
            Some((command, _)) => format!("{}_config", command.replace('-', "_")),
        }
    }
}

/// Decides what to run.
///
/// `command` is COMMAND with its arguments, `configured` is the setting `server.program`, and
/// `service_url` is true if `JUPYTERHUB_SERVICE_URL` is set.
pub fn decide(command: &[OsString], configured: Option<&str>, service_url: bool) -> Launch {
    let server = match (named_server(command), command.is_empty(), configured) {
        (Some(found), ..) => found,
        (None, false, _) => return Launch::Command(command.to_vec()),
        (None, true, Some(program)) => ServerProgram::new(program.into(), &[]),
        (None, true, None) => return Launch::Idle,
    };
    let single_user = base_name(&server.program) == SINGLEUSER;
    Launch::Server(match service_url && !single_user {
        // The image's own CMD names jupyter-lab; under the hub this stands for the single-user
        // server of the same venv.
        true => ServerProgram::new(SINGLEUSER.into(), &server.args),
        false => server,
    })
}

/// Returns what COMMAND means if it begins with a script of the Jupyter Docker Stacks, which many
/// hubs and Compose files name; `None`: it does not. `configured` is the setting `server.program`.
pub fn instead_of_script(command: &[OsString], configured: Option<&str>) -> Option<Vec<OsString>> {
    let (script, args) = command.split_first()?;
    let script = Path::new(script);
    let is_script = matches!(script.extension()?.to_str(), Some("sh" | "py"));
    let program = match script.file_stem()?.to_str()? {
        "start-notebook" => Some(configured.unwrap_or(LAB)),
        "start-singleuser" => Some(SINGLEUSER),
        // Anybody may have a script that is named start. It runs what follows it.
        "start"
            if OF_SCRIPTS
                .iter()
                .any(|place| script.parent() == Some(Path::new(place))) =>
        {
            None
        }
        _ => return None,
    };
    let program = program.map(OsString::from).into_iter();
    is_script.then(|| program.chain(args.iter().cloned()).collect())
}

/// Returns the server that COMMAND names, with its arguments; `None` if it starts no server.
pub fn named_server(command: &[OsString]) -> Option<ServerProgram> {
    let (program, args) = command.split_first()?;
    let is_server = |name: &str| SERVERS.iter().any(|(command, ..)| *command == name);
    let name = base_name(program).to_str()?;
    let word = args.first().and_then(|word| word.to_str());
    let server = if is_server(name) {
        ServerProgram::new(program.clone(), args)
    } else if name == "jupyter"
        && let Some(word) = word
        && is_server(&format!("jupyter-{word}"))
    {
        // `/opt/venv/bin/jupyter lab` runs `/opt/venv/bin/jupyter-lab`.
        let path = Path::new(program).with_file_name(format!("jupyter-{word}"));
        ServerProgram::new(path.into_os_string(), &args[1..])
    } else if is_python(name)
        && let [option, module, args @ ..] = args
        && option == "-m"
        && let Some((command, module, args)) = server_module(module, args)
    {
        ServerProgram {
            module: vec![option.clone(), module.into()],
            hub: [SINGLEUSER, LABHUB].contains(&command),
            ..ServerProgram::new(program.clone(), args)
        }
    } else {
        return None;
    };
    starts_a_server(&server.args).then_some(server)
}

/// Returns the command and module of the server that `python -m` starts, and the server's
/// arguments. `jupyter lab` is `jupyterlab`.
fn server_module<'a>(
    module: &OsStr,
    args: &'a [OsString],
) -> Option<(&'static str, &'static str, &'a [OsString])> {
    let (command, args) = match args.split_first() {
        Some((word, args)) if module == "jupyter" => (format!("jupyter-{}", word.to_str()?), args),
        _ => (String::new(), args),
    };
    let mut servers = SERVERS.iter();
    let found = servers.find(|(known, name, _)| command == *known || module == *name);
    found.map(|(command, module, _)| (*command, *module, args))
}

/// Reports whether a program is a Python: `python`, `python3`, `python3.13`.
fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python");
    version.is_some_and(|version| version.bytes().all(|byte| b".0123456789".contains(&byte)))
}

/// Reports whether a server's program starts a server with these arguments, rather than printing
/// information or managing something.
fn starts_a_server(args: &[OsString]) -> bool {
    const INFO_OPTIONS: [&str; 8] = [
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
        && !args.iter().any(|word| {
            word.to_str()
                .is_some_and(|word| INFO_OPTIONS.contains(&word))
        })
}

fn base_name(program: &OsStr) -> &OsStr {
    Path::new(program).file_name().unwrap_or(program)
}

/// Returns the variables that a hub gives every single-user server but that are not set.
///
/// Without them the server starts and looks healthy, but no one can log in.
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
            module: Vec::new(),
            hub,
        })
    }

    #[test]
    fn scripts_of_the_docker_stacks_mean_what_they_would_start() {
        let lab = Some("/v/bin/jupyter-lab");
        for (command, meant) in [
            (
                &["start-notebook.sh", "--debug"][..],
                Some(&["/v/bin/jupyter-lab", "--debug"][..]),
            ),
            (
                &["/usr/local/bin/start-notebook.py"],
                Some(&["/v/bin/jupyter-lab"]),
            ),
            (
                &["start-singleuser.sh", "--ip=::"],
                Some(&[SINGLEUSER, "--ip=::"]),
            ),
            (&["start-singleuser.py"], Some(&[SINGLEUSER])),
            (&["start.sh", "jupyter", "lab"], Some(&["jupyter", "lab"])),
            (&["/usr/local/bin/start.sh", "bash"], Some(&["bash"])),
            (&["/my/start.sh"], None),
            (&["./start.sh"], None),
            (&["start-notebook"], None),
            (&["start-notebook.rb"], None),
            (&["bash", "start-notebook.sh"], None),
            (&[], None),
        ] {
            let found = instead_of_script(&words(command), lab);
            assert_eq!(found, meant.map(words), "{command:?}");
        }
        let found = instead_of_script(&words(&["start-notebook.sh"]), None);
        assert_eq!(found, Some(words(&["jupyter-lab"])));
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
                server("jupyter-notebook", &[], false),
            ),
            (
                &["/v/bin/jupyter", "nbclassic", "--debug"],
                lab,
                false,
                server("/v/bin/jupyter-nbclassic", &["--debug"], false),
            ),
            (
                &["python", "-m", "jupyterlab"],
                lab,
                true,
                server(SINGLEUSER, &[], true),
            ),
            (
                &["python3", "-m", "notebook", "list"],
                lab,
                false,
                Launch::Command(words(&["python3", "-m", "notebook", "list"])),
            ),
            (
                &["python3", "-m", "jupyter", "lab", "--debug"],
                lab,
                false,
                Launch::Server(ServerProgram {
                    module: words(&["-m", "jupyterlab"]),
                    ..ServerProgram::new("python3".into(), &words(&["--debug"]))
                }),
            ),
            (
                &["python3", "-m", "jupyter", "kernelspec", "list"],
                lab,
                false,
                Launch::Command(words(&["python3", "-m", "jupyter", "kernelspec", "list"])),
            ),
            (
                &["python3", "-m", "http.server"],
                lab,
                false,
                Launch::Command(words(&["python3", "-m", "http.server"])),
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
    fn every_server_has_a_name_and_a_file_of_its_own() {
        for (command, title, config) in [
            (&["jupyter-lab"][..], "JupyterLab", "jupyter_lab_config"),
            (
                &["jupyter", "notebook"],
                "Jupyter Notebook",
                "jupyter_notebook_config",
            ),
            (
                &["python3.13", "-m", "notebook", "--debug"],
                "Jupyter Notebook",
                "jupyter_notebook_config",
            ),
            (
                &["jupyter-server"],
                "Jupyter Server",
                "jupyter_server_config",
            ),
            (&[SINGLEUSER], "JupyterLab", "jupyter_lab_config"),
        ] {
            let Launch::Server(server) = decide(&words(command), None, false) else {
                panic!("{command:?} is a server");
            };
            assert_eq!(server.title(), title, "{command:?}");
            assert_eq!(server.config_name(), config, "{command:?}");
            assert_eq!(
                server.module.len(),
                if command[0].starts_with("py") { 2 } else { 0 }
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
