//! The server's arguments in three layers: ours, those of the settings and those of COMMAND. They
//! are merged so that no two layers set the same trait.
//!
//! Jupyter (traitlets) exits with 1 if a trait with a single value is given twice, also if once by
//! an alias and once by its full name. So each trait has one canonical name here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use crate::jupyter_config::command_line::{is_password_trait, unquoted};
use crate::server::argument::{Argument, CLASS, YIELDING, parse};

/// The input of [`merge`] besides the arguments of the settings and of COMMAND.
#[derive(Clone, Copy)]
pub struct ArgvInput<'a> {
    /// True if JupyterHub manages the server and decides where it listens.
    pub hub: bool,
    /// Jupyter's root directory; `None`: Jupyter's own or, in hub mode, the one the hub gave.
    pub root_dir: Option<&'a Path>,
    /// JupyterLab's first page; `None`: Jupyter's configuration decides.
    pub default_url: Option<&'a str>,
    /// Address to listen on; `None`: all addresses.
    pub ip: Option<&'a str>,
    /// Port to listen on; `None`: Jupyter's own.
    pub port: Option<u16>,
    /// The file with the certificate and its key; `None`: Jupyter's own configuration decides.
    pub certificate: Option<&'a str>,
    /// The path in front of all pages; `None`: Jupyter's own.
    pub base_url: Option<&'a str>,
    /// True if the server runs as root (the old layout).
    pub as_root: bool,
    /// Reports whether Jupyter's own configuration sets a trait (by full name) and beats our value.
    pub configured: &'a dyn Fn(&str) -> bool,
    /// Reports whether only Jupyter knows if its configuration sets a trait, and so beats our value.
    pub may_be_configured: &'a dyn Fn(&str) -> bool,
}

/// The trait with the file of the certificate.
pub const CERTFILE: &str = "ServerApp.certfile";
/// The trait with the file of its key.
pub const KEYFILE: &str = "ServerApp.keyfile";

/// Traits with a single value: if one layer gives several, the last counts. Other traits may be
/// lists, which are given by repeating the argument.
const SINGLE: [&str; 8] = [
    "ServerApp.ip",
    "ServerApp.port",
    "ServerApp.port_retries",
    "ServerApp.root_dir",
    "ServerApp.base_url",
    "ServerApp.default_url",
    "ServerApp.open_browser",
    "ServerApp.allow_root",
];

/// The server's merged arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv {
    /// The arguments after the program and its module.
    pub args: Vec<OsString>,
    traits: BTreeMap<String, OsString>,
}

impl Argv {
    /// Returns the value that the command line gives a trait (by full name), if it is UTF-8, as
    /// Jupyter takes it: lists of words often have quotes that no shell has removed.
    pub fn value(&self, name: &str) -> Option<&str> {
        let value = self.traits.get(name).and_then(|value| value.to_str());
        value.map(unquoted)
    }

    /// Returns the value of a trait (by full name) that is effective if Jupyter's configuration sets none.
    pub fn yielding_value(&self, name: &str) -> Option<&str> {
        let name = name.strip_prefix(CLASS)?;
        let mut words = self.args.iter().filter_map(|word| word.to_str());
        words.find_map(|word| {
            word.strip_prefix(YIELDING)?
                .strip_prefix(name)?
                .strip_prefix('=')
        })
    }

    /// Returns the traits, by full name, whose value yields to Jupyter's configuration.
    pub fn yielding(&self) -> Vec<String> {
        let words = self.args.iter().filter_map(|word| word.to_str());
        let names = words.filter_map(|word| word.strip_prefix(YIELDING)?.split_once('='));
        names.map(|(name, _)| format!("{CLASS}{name}")).collect()
    }
}

/// Merges the layers: our arguments, `settings` and `command`; each beats those before it.
pub fn merge(plan: ArgvInput<'_>, settings: &[String], command: &[OsString]) -> Argv {
    let settings: Vec<OsString> = settings.iter().map(OsString::from).collect();
    let mut layers = [
        parse(&own_arguments(plan)),
        parse(&settings),
        parse(command),
    ];
    layers[0].retain(|item| !item.name.as_deref().is_some_and(plan.configured));
    let uncertain = |item: &&mut Argument| item.name.as_deref().is_some_and(plan.may_be_configured);
    layers[0]
        .iter_mut()
        .filter(uncertain)
        .for_each(Argument::yield_to_files);
    // A certificate goes with its own key only.
    let mut upper = layers[1..].iter().flatten();
    let other = upper.any(|item| item.sets_any(&[CERTFILE, KEYFILE]));
    if let Some(file) = plan
        .certificate
        .filter(|_| !other && !(plan.configured)(CERTFILE))
    {
        let words = [CERTFILE, KEYFILE].map(|name| format!("--{name}={file}").into());
        layers[0].extend(parse(&words));
    }
    if uses_socket(&layers) || (plan.configured)("ServerApp.sock") {
        // Jupyter exits with 1 if it gets a socket and any port but 8888, even our default port.
        layers[0].retain(|item| !item.sets_any(&["ServerApp.ip", "ServerApp.port"]));
    }
    let mut kept: Vec<Argument> = Vec::new();
    for layer in layers {
        // A trait that this layer sets loses its arguments from the lower layers.
        let named = |old: &Argument| layer.iter().any(|item| item.name == old.name);
        kept.retain(|old| old.name.is_none() || !named(old));
        for item in layer {
            if item.sets_any(&SINGLE) {
                kept.retain(|old| old.name != item.name);
            }
            kept.push(item);
        }
    }
    if plan.hub {
        kept.retain(|item| !item.sets_any(&["ServerApp.ip", "ServerApp.port"]));
    }
    let traits = kept
        .iter()
        .filter_map(|item| Some((item.name.clone()?, item.value.clone()?)))
        .collect();
    let args = kept.into_iter().flat_map(|item| item.words).collect();
    Argv { args, traits }
}

/// Removes the arguments that give the server a password hash; returns the names of their traits.
pub fn leave_out_passwords<W: AsRef<OsStr>>(words: &mut Vec<W>) -> Vec<String> {
    let plain: Vec<OsString> = words.iter().map(|word| word.as_ref().to_owned()).collect();
    let mut left_out = Vec::new();
    let mut kept = Vec::new();
    for item in parse(&plain) {
        let password = item.name.filter(|name| is_password_trait(name));
        kept.resize(kept.len() + item.words.len(), password.is_none());
        left_out.extend(password);
    }
    let mut kept = kept.into_iter();
    words.retain(|_| kept.next() == Some(true));
    left_out
}

/// Returns the file or directory that COMMAND names for the server to open; `None`: none that exists. A
/// path of the container's working directory is made absolute, unless it is also one of `directory`,
/// where the server works.
pub fn to_open(command: &mut [OsString], directory: &Path) -> Option<PathBuf> {
    let mut at = 0;
    for item in parse(command) {
        let Some(word) = item.positional() else {
            at += item.words.len();
            continue;
        };
        let here = directory.join(word);
        if here.exists() {
            return Some(without_dots(&here));
        }
        let path = std::path::absolute(word).ok()?;
        let path = path.exists().then_some(path)?;
        command[at] = path.clone().into_os_string(); // invariant: the words before it are counted
        return Some(path);
    }
    None
}

/// Returns the path without `..`, as Jupyter makes it: by its words alone.
fn without_dots(path: &Path) -> PathBuf {
    let mut steps = PathBuf::new();
    for step in path.components() {
        match step {
            Component::ParentDir => _ = steps.pop(),
            step => steps.push(step),
        }
    }
    steps
}

/// Reports whether an argument makes the server listen on a Unix socket instead of a port.
fn uses_socket(layers: &[Vec<Argument>]) -> bool {
    let mut items = layers.iter().flatten();
    items.any(|item| {
        let named = item.value.as_ref().is_some_and(|path| !path.is_empty());
        named && item.sets_any(&["ServerApp.sock"])
    })
}

fn own_arguments(plan: ArgvInput<'_>) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    if !plan.hub {
        // `*` means all addresses, IPv4 and IPv6.
        args.push(format!("--ServerApp.ip={}", plan.ip.unwrap_or("*")).into());
        if let Some(port) = plan.port {
            args.push(format!("--ServerApp.port={port}").into());
        }
        if let Some(path) = plan.base_url {
            args.push(format!("--ServerApp.base_url={path}").into());
        }
        // If the port is in use, the server must fail: on another port no one would find it.
        args.push("--ServerApp.port_retries=0".into());
        args.push("--ServerApp.open_browser=False".into());
    }
    if let Some(directory) = plan.root_dir {
        let mut word = OsString::from("--ServerApp.root_dir=");
        word.push(directory);
        args.push(word);
    }
    if let Some(url) = plan.default_url {
        args.push(format!("--LabApp.default_url={url}").into());
    }
    if plan.as_root {
        args.push("--ServerApp.allow_root=True".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing of ours: Jupyter decides.
    const NOTHING: ArgvInput<'_> = ArgvInput {
        hub: false,
        root_dir: None,
        default_url: None,
        ip: None,
        port: None,
        certificate: None,
        base_url: None,
        as_root: false,
        configured: &|_| false,
        may_be_configured: &|_| false,
    };

    fn merged(hub: bool, settings: &[&str], command: &[&str]) -> Vec<String> {
        let plan = ArgvInput {
            hub,
            root_dir: Some(Path::new("/n")),
            port: Some(1),
            ..NOTHING
        };
        let settings: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        merge(plan, &settings, &command)
            .args
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_passwords_hash_is_left_out_however_it_is_written() {
        let others = ["--debug", "--ServerApp.token=t", "--A.b", "x", "a.ipynb"];
        for written in [
            &["--ServerApp.password=h"][..],
            &["-ServerApp.password=h"],
            &["--NotebookApp.password", "h"],
            &["--PasswordIdentityProvider.hashed_password="],
            &["--LabApp.ServerApp.password=h", "--ServerApp.password="],
        ] {
            let mut words = [&others[..2], written, &others[2..]].concat();
            let left_out = leave_out_passwords(&mut words);
            assert_eq!(words, others, "{written:?}");
            assert!(!left_out.is_empty(), "{written:?}");
        }
    }

    #[test]
    fn no_trait_is_given_twice() {
        let ip = "--ServerApp.ip=*";
        let port = "--ServerApp.port=1";
        let retries = "--ServerApp.port_retries=0";
        let browser = "--ServerApp.open_browser=False";
        let root = "--ServerApp.root_dir=/n";
        for (settings, command, expected) in [
            (&[][..], &[][..], vec![ip, port, retries, browser, root]),
            (
                &[],
                &["--port=2"],
                vec![ip, retries, browser, root, "--port=2"],
            ),
            (
                &[],
                &["--port", "2"],
                vec![ip, retries, browser, root, "--port", "2"],
            ),
            (
                &[],
                &["--ServerApp.port", "2"],
                vec![ip, retries, browser, root, "--ServerApp.port", "2"],
            ),
            (
                &[],
                &["--NotebookApp.port=2"],
                vec![ip, retries, browser, root, "--NotebookApp.port=2"],
            ),
            (
                &[],
                &["--NotebookApp.notebook_dir=/d"],
                vec![ip, port, retries, browser, "--NotebookApp.notebook_dir=/d"],
            ),
            (
                &["--port=2"],
                &["--ServerApp.port=3"],
                vec![ip, retries, browser, root, "--ServerApp.port=3"],
            ),
            (
                &[],
                &["--port=2", "--port=3"],
                vec![ip, retries, browser, root, "--port=3"],
            ),
            (
                &[],
                &["--no-browser", "--notebook-dir=/m"],
                vec![ip, port, retries, "--no-browser", "--notebook-dir=/m"],
            ),
            (
                &["--A.b=1"],
                &["--A.b=2"],
                vec![ip, port, retries, browser, root, "--A.b=2"],
            ),
            (
                &["--A.b=1", "--A.l=1", "--A.l=2"],
                &["--A.b=1", "--A.l=2"],
                vec![ip, port, retries, browser, root, "--A.b=1", "--A.l=2"],
            ),
            (
                &[],
                &["--A.l=1", "--A.l=2"],
                vec![ip, port, retries, browser, root, "--A.l=1", "--A.l=2"],
            ),
            (
                &["--sock=/s"],
                &[],
                vec![retries, browser, root, "--sock=/s"],
            ),
            (
                &[],
                &["--debug", "x.ipynb"],
                vec![ip, port, retries, browser, root, "--debug", "x.ipynb"],
            ),
        ] {
            assert_eq!(
                merged(false, settings, command),
                expected,
                "{settings:?} {command:?}"
            );
        }
    }

    #[test]
    fn what_jupyters_configuration_decides_is_left_to_it() {
        let decided = |names: &[&str]| {
            let plan = ArgvInput {
                root_dir: Some(Path::new("/n")),
                port: Some(1),
                base_url: Some("/b"),
                configured: &|name| names.contains(&name),
                ..NOTHING
            };
            merge(plan, &["--ServerApp.quit_button=False".into()], &[])
        };
        let all = decided(&[]);
        for name in ["ServerApp.ip", "ServerApp.port", "ServerApp.root_dir"] {
            let argv = decided(&[name]);
            assert!(all.value(name).is_some() && argv.value(name).is_none());
            assert_eq!(argv.args.len(), all.args.len() - 1, "{name}");
        }
        // With a socket, neither of the two may be given.
        let argv = decided(&["ServerApp.sock"]);
        assert_eq!(argv.value("ServerApp.ip"), None);
        assert_eq!(argv.value("ServerApp.port"), None);
        assert_eq!(argv.value("ServerApp.base_url"), Some("/b"));
    }

    #[test]
    fn what_jupyters_configuration_may_decide_yields_to_it() {
        let words = |command: &[OsString]| {
            let plan = ArgvInput {
                root_dir: Some(Path::new("/n")),
                may_be_configured: &|name| ["ServerApp.ip", "ServerApp.root_dir"].contains(&name),
                ..NOTHING
            };
            let argv = merge(plan, &[], command);
            assert_eq!(argv.value("ServerApp.root_dir"), None);
            assert_eq!(argv.yielding_value("ServerApp.root_dir"), Some("/n"));
            (argv.yielding(), argv.args)
        };
        let retries = "--ServerApp.port_retries=0";
        let browser = "--ServerApp.open_browser=False";
        let root = "--JupyterApp.root_dir=/n";
        let (yielding, args) = words(&[]);
        assert_eq!(yielding, ["ServerApp.ip", "ServerApp.root_dir"]);
        assert_eq!(args, ["--JupyterApp.ip=*", retries, browser, root]);
        let chosen = "--ip=::1";
        let (yielding, args) = words(&[chosen.into()]);
        assert_eq!(yielding, ["ServerApp.root_dir"]);
        assert_eq!(args, [retries, browser, root, chosen]);
    }

    #[test]
    fn a_certificate_goes_with_its_own_key_only() {
        let given = |configured: &[&str], settings: &str| {
            let plan = ArgvInput {
                certificate: Some("/ours"),
                configured: &|name| configured.contains(&name),
                ..NOTHING
            };
            let words = merge(plan, &[settings.to_owned()], &[]).args;
            let words = words
                .into_iter()
                .map(|word| word.to_string_lossy().into_owned());
            let of_tls = |word: &String| word.contains("certfile") || word.contains("keyfile");
            words.filter(of_tls).collect::<Vec<_>>()
        };
        let ours = ["--ServerApp.certfile=/ours", "--ServerApp.keyfile=/ours"];
        assert_eq!(given(&[], "--debug"), ours);
        // A key alone means nothing in a file of Jupyter's.
        assert_eq!(given(&[KEYFILE], "--debug"), ours);
        assert!(given(&[CERTFILE], "--debug").is_empty());
        for theirs in ["--certfile=/c", "--NotebookApp.keyfile=/k", "--keyfile=/k"] {
            assert_eq!(given(&[], theirs), [theirs]);
        }
    }

    #[test]
    fn the_hub_says_where_to_listen() {
        assert_eq!(
            merged(true, &["--ip=1.2.3.4"], &["--port=8000", "--debug"]),
            ["--ServerApp.root_dir=/n", "--debug"]
        );
    }

    #[test]
    fn values_can_be_asked_for() {
        let plan = ArgvInput {
            ip: Some("::1"),
            as_root: true,
            ..NOTHING
        };
        let argv = merge(
            plan,
            &["--certfile='/c'".into()],
            &["--ServerApp.base_url".into(), "\"/x\"".into()],
        );
        assert_eq!(argv.value("ServerApp.base_url"), Some("/x"));
        assert_eq!(argv.value("ServerApp.certfile"), Some("/c"));
        assert_eq!(argv.value("ServerApp.ip"), Some("::1"));
        assert!(argv.args.contains(&"--ServerApp.allow_root=True".into()));
    }
}
