//! Whatever is in the files and names that the user can write: no verb and no line of our
//! log says anything that a terminal obeys.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::{Image, PROGRAM, Running, Start, UID};

/// A title of the terminal, a line overwritten and forged, DEL, C1, and marks of writing
/// direction.
const HOSTILE: &str = "\x1b]0;x\x07\x1b[2J\rforged\x7f\u{9b}31m\u{202e}\u{2066}\u{200f}\u{2028}";

/// The same as a name, with a line break.
fn name(prefix: &str, suffix: &str) -> String {
    format!("{prefix}{HOSTILE}\n[E forged] a{suffix}")
}

/// The same with bytes that are no text.
fn raw(prefix: &str) -> OsString {
    let name = [name(prefix, "").as_bytes(), b"\xff\x9b"].concat();
    OsStr::from_bytes(&name).to_owned()
}

/// What a terminal obeys, or what shows a text as another one.
fn is_hostile(c: char) -> bool {
    let marks = "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\
                 \u{2066}\u{2067}\u{2068}\u{2069}";
    c != '\n' && c.is_control() || marks.contains(c)
}

fn is_clean(what: &str, text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap();
    // A tab is layout where a file has it.
    let found = text.chars().find(|c| *c != '\t' && is_hostile(*c));
    assert_eq!(found, None, "{what}: {text:?}");
    assert!(!text.contains("\n[E forged]"), "{what}: {text}");
    assert!(!text.contains("\nforged"), "{what}: {text}");
    text
}

/// An image whose every directory is named like that, with such notebooks in it.
struct Hostile {
    image: Image,
    notebooks: PathBuf,
    defaults: PathBuf,
    file: OsString,
    settings: PathBuf,
}

impl Hostile {
    fn new() -> Self {
        let image = Image::new();
        let notebooks = image.dir.path().join(name("notebooks", ""));
        let defaults = image.dir.path().join(name("defaults", ""));
        let settings = image.dir.path().join(name("settings", ".toml"));
        let file = raw("a");
        fs::create_dir(&notebooks).unwrap();
        fs::create_dir_all(defaults.join(raw("d"))).unwrap();
        let content = |word: &str| format!("same\n{word}{HOSTILE}\tb\r\n");
        fs::write(defaults.join(&file), content("image")).unwrap();
        fs::write(notebooks.join(&file), content("yours")).unwrap();
        fs::write(defaults.join(raw("d")).join(&file), "x").unwrap();
        fs::write(notebooks.join(raw("d")), "in the way").unwrap();
        fs::write(defaults.join("n.ipynb"), notebook("image")).unwrap();
        fs::write(notebooks.join("n.ipynb"), notebook("yours")).unwrap();
        fs::write(
            &settings,
            format!(
                "server.port = \"{}\"\n\"x{}\" = 1\n",
                "a", "\\u001b[2J\\u009b\\n"
            ),
        )
        .unwrap();
        for path in [
            &notebooks,
            &notebooks.join(&file),
            &notebooks.join("n.ipynb"),
        ] {
            chown(path, Some(UID), Some(UID)).unwrap();
        }
        Self {
            image,
            notebooks,
            defaults,
            file,
            settings,
        }
    }

    fn options(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let mut options = self.image.options();
        options.extend(["--notebooks".into(), path(&self.notebooks)]);
        options.extend(["--notebook-defaults".into(), path(&self.defaults)]);
        options
    }

    fn start(&self) -> Start {
        Start::pid1()
            .args(self.options())
            .env("AI_LAB_VERSION", &format!("1{HOSTILE}"))
    }
}

fn notebook(word: &str) -> String {
    let source = format!("{word} {HOSTILE}\r\n");
    let cell =
        serde_json::json!({"cell_type": "code", "source": source, "outputs": [], "metadata": {}});
    serde_json::json!({"cells": [cell], "nbformat": 4, "metadata": {}}).to_string()
}

/// Runs a verb in the namespaces of a running supervisor.
fn ask(running: &Running, words: &[OsString]) -> Output {
    let mut child = Command::new("nsenter");
    child.args([
        "--pid",
        "--mount",
        "--target",
        &running.pid().to_string(),
        "--",
        PROGRAM,
    ]);
    let (typed, mut typist) = std::io::pipe().unwrap();
    typist.write_all(b"a password").unwrap();
    child.args(words).stdin(Stdio::from(typed));
    drop(typist);
    child.env("AI_LAB_VERSION", format!("2{HOSTILE}"));
    child.output().unwrap()
}

/// The verbs that the command line knows, with the words before them: `notebooks diff`.
fn verbs() -> BTreeSet<String> {
    let help = |words: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = |text: &str, heading: &str| {
        let lines = text.lines().skip_while(|line| *line != heading).skip(1);
        let lines = lines.take_while(|line| !line.is_empty());
        let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        let names = names.filter(|name| !name.is_empty());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut all = BTreeSet::new();
    for verb in listed(&help(&[]), "Verbs:") {
        let below = listed(&help(&[&verb]), "Commands:");
        match below.is_empty() {
            true => drop(all.insert(verb)),
            false => all.extend(below.iter().map(|word| format!("{verb} {word}"))),
        }
    }
    all
}

#[test]
fn no_verb_says_what_a_terminal_obeys() {
    let hostile = Hostile::new();
    let image = &hostile.image;
    let words = [
        "--",
        "sh",
        "-c",
        "trap '' HUP; echo it runs; exec sleep 1000",
    ];
    let mut running = hostile.start().args(words).start();
    running.wait_for("it runs");
    // What its user may make of the state, and of Jupyter's configuration.
    let state = image.path("state/state.json");
    let read = fs::read_to_string(&state).unwrap();
    let mut forged: serde_json::Value = serde_json::from_str(&read).unwrap();
    forged["program"] = HOSTILE.into();
    forged["boot"] = serde_json::json!([[HOSTILE, 1]]);
    forged["rescue"] = HOSTILE.into();
    forged["last_reason"] = serde_json::json!({"cause": HOSTILE, "remedy": HOSTILE});
    forged["probe"] = format!("http://127.0.0.1:1/\u{202e}{}", "\u{200f}").into();
    forged["degradations"] =
        serde_json::json!([{"cause": HOSTILE, "remedy": format!("\n[E forged]{HOSTILE}")}]);
    let mut server = forged.clone();
    server["mode"] = "lab".into();
    let config = image.path("home/.jupyter");
    fs::create_dir_all(&config).unwrap();
    let damaged = config.join("jupyter_server_config.json");
    let mut seen = BTreeSet::new();
    for verb in verbs() {
        let file = || hostile.file.clone();
        let path = |path: &Path| path.as_os_str().to_owned();
        let further: Vec<Vec<OsString>> = match verb.as_str() {
            "healthcheck" | "restart" | "config show" | "man" => vec![vec![]],
            "status" => vec![vec![], vec!["--json".into()]],
            "notebooks status" => vec![vec![], vec!["--json".into()]],
            "notebooks diff" => vec![vec![], vec![file()], vec![raw("none")], vec![raw("/none")]],
            "notebooks merge" => vec![vec![file()], vec![raw("none")], vec![raw("/none")]],
            "notebooks restore" => vec![vec![file()], vec![file()], vec![raw("none")]],
            "notebooks seal" => vec![vec![path(&hostile.defaults)]],
            "password set" | "password hash" | "password check" => vec![vec![]],
            "config check" => vec![
                vec![path(&hostile.settings)],
                vec![path(&image.dir.path().join(raw("none")))],
            ],
            "completions" => vec![vec!["bash".into()]],
            other => panic!("what can `{other}` print of what the user wrote?"),
        };
        for words in further {
            for state_says in [&forged, &server] {
                fs::write(&state, state_says.to_string()).unwrap();
                chown(&state, Some(UID), Some(UID)).unwrap();
                fs::write(&damaged, format!("{{\"a{HOSTILE}\": {HOSTILE}")).unwrap();
                let mut all: Vec<OsString> = verb.split(' ').map(Into::into).collect();
                all.extend(words.clone());
                let output = ask(&running, &all);
                is_clean(&format!("{all:?}"), &output.stdout);
                is_clean(&format!("{all:?}"), &output.stderr);
                let said = [output.stdout, output.stderr].concat();
                let said = String::from_utf8_lossy(&said).into_owned();
                if verb == "notebooks diff" && words.is_empty() {
                    // Both files differ, and what a terminal obeys is shown as text.
                    for part in [
                        "-image\\u{1b}]0;x\\u{7}",
                        "+yours",
                        "-image \\u{1b}",
                        "\tb\\r\n",
                    ] {
                        assert!(said.contains(part), "{part}: {said}");
                    }
                }
                if all.last().is_some_and(|word| word == "--json") {
                    serde_json::from_str::<serde_json::Value>(&said).unwrap();
                }
                let escapes = ["\\u{1b}", "\\u001b", "\\U0000001B"];
                if escapes.iter().any(|escape| said.contains(escape)) {
                    seen.insert(verb.clone());
                }
            }
        }
    }
    // The test is of no worth where nothing of it is printed.
    for verb in [
        "status",
        "notebooks status",
        "notebooks diff",
        "notebooks restore",
        "config check",
        "config show",
    ] {
        assert!(seen.contains(verb), "{verb}: {seen:?}");
    }
}

#[test]
fn nor_does_a_line_of_our_log_or_a_plan() {
    let hostile = Hostile::new();
    let hooks = hostile.image.path("hooks/user");
    fs::create_dir_all(&hooks).unwrap();
    let hook = hooks.join(name("hook", ""));
    fs::write(
        &hook,
        format!("#!/bin/sh\ncat <<'END'\nsaid {HOSTILE}\nEND\n"),
    )
    .unwrap();
    fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hooks = hostile.image.path("hooks").display().to_string();
    for format in ["text", "json"] {
        for dry in [true, false] {
            let start = hostile
                .start()
                .args(["--hooks", &hooks, "--log-level=debug"]);
            let dry_run = ["--dry-run"].iter().filter(|_| dry);
            let start = start.args(["--log-format", format]).args(dry_run);
            let ended = start.args(["--", "true"]).run();
            is_clean("stdout", ended.stdout.as_bytes());
            let said = is_clean("stderr", ended.stderr.as_bytes());
            assert!(dry || said.contains("said \\u"), "{said}");
            let lines = said.lines().filter(|line| line.starts_with('{'));
            for line in lines {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
        }
    }
}
