//! Every setting of the table: a flag beats the environment variable, which beats the
//! file, and `config show --origin` tells the value in force and where it came from.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use ai_lab_entrypoint::settings::entry::{Entry, Key, ValueKind};
use ai_lab_entrypoint::settings::table::TABLE;

use crate::support::{PROGRAM, Start};

/// Who the server runs as: also the text of every other setting that is one.
const USERS: [u32; 2] = [4242, 4343];

/// What gives a value, the weakest first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    File,
    Environment,
    Flag,
}

const LAYERS: [Layer; 3] = [Layer::File, Layer::Environment, Layer::Flag];

/// A value as it is typed, and as a settings file has it. There are two, and a start can
/// live with either, without a warning.
fn value(entry: &Entry, ground: &Path, which: usize) -> (String, String) {
    let typed = match entry.kind {
        ValueKind::Text => USERS[which].to_string(),
        ValueKind::Program => ["jupyter-lab", "jupyterhub-singleuser"][which].into(),
        ValueKind::Mode => ["640", "600"][which].into(),
        ValueKind::Umask => ["027", "002"][which].into(),
        ValueKind::Choice(words) => words[which].into(),
        ValueKind::Port => ["1111", "2222"][which].into(),
        ValueKind::Seconds => ["1.5", "2.5"][which].into(),
        // A flag can only switch on.
        ValueKind::Switch => ["false", "true"][which].into(),
        ValueKind::Texts => ["--A.b=1", "--A.b=2"][which].into(),
        ValueKind::Groups => USERS[which].to_string(),
        ValueKind::Variables => ["OF_ONE", "OF_ANOTHER"][which].into(),
        ValueKind::Path | ValueKind::Paths => {
            let path = ground.join(format!("{}-{which}", entry.flag));
            place(entry, &path, USERS[which]);
            path.display().to_string()
        }
    };
    let toml = match entry.kind {
        ValueKind::Port | ValueKind::Seconds | ValueKind::Switch => typed.clone(),
        kind if kind.is_list() => format!("[{typed:?}]"),
        _ => format!("{typed:?}"),
    };
    (typed, toml)
}

/// What a start wants to find there: the user's, but for what root executes.
fn place(entry: &Entry, path: &Path, user: u32) {
    match entry.value_name {
        "DIR" => fs::create_dir_all(path).unwrap(),
        "FILE" => fs::write(path, "a password").unwrap(),
        // To what is given, the user's group has access already.
        _ if entry.kind == ValueKind::Paths => {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, PermissionsExt::from_mode(0o660)).unwrap();
        }
        // It may be absent.
        _ => return,
    }
    if entry.key != Key::Hooks {
        chown(path, Some(user), Some(user)).unwrap();
    }
}

/// Whether the value can be given there.
fn has(entry: &Entry, layer: Layer) -> bool {
    layer != Layer::Environment || entry.env.is_some()
}

#[test]
fn of_every_setting_the_strongest_value_is_told_with_its_origin() {
    // Where nobody but root can write, as far up as it goes.
    let ground = tempfile::tempdir_in("/srv").unwrap();
    fs::set_permissions(ground.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let file = ground.path().join("settings.toml");
    // What has no key is of a start's own line only, and not shown.
    let entries = || TABLE.iter().filter_map(|entry| Some((entry, entry.toml?)));
    for strongest in 0..LAYERS.len() {
        let (mut lines, mut flags, mut variables) = (Vec::new(), Vec::new(), Vec::new());
        let (mut expected, mut state) = (Vec::new(), String::new());
        for (entry, name) in entries() {
            let layers = LAYERS[..=strongest].iter();
            let layers = layers.filter(|layer| has(entry, **layer));
            let mut told = (String::new(), String::new());
            for (nth, layer) in layers.enumerate() {
                // Never the same as in the layer below.
                let (typed, toml) = value(entry, ground.path(), nth % 2);
                let origin = match layer {
                    Layer::File => {
                        lines.push(format!("{name} = {toml}\n"));
                        format!("{}:{}", file.display(), lines.len())
                    }
                    Layer::Environment => {
                        let variable = entry.env.unwrap();
                        variables.push((variable, typed.clone()));
                        format!("environment variable {variable}")
                    }
                    Layer::Flag => {
                        flags.push(match entry.kind {
                            ValueKind::Switch => format!("--{}", entry.flag),
                            _ => format!("--{}={typed}", entry.flag),
                        });
                        format!("--{}", entry.flag)
                    }
                };
                if entry.key == Key::StateDir {
                    state = typed;
                }
                told = (toml, origin);
            }
            let (value, origin) = told;
            expected.push(match entry.key {
                Key::Password => format!("# {name} is not shown  # {origin}"),
                _ => format!("{name} = {value}  # {origin}"),
            });
        }
        fs::write(&file, lines.concat()).unwrap();
        let start = Start::pid1().arg("--config").arg(file.to_str().unwrap());
        let start = start.args(flags).args(["--", PROGRAM, "config", "show"]);
        let start = start.args(["--origin", "--state-dir", &state]);
        let set = |start: Start, (name, value): &(&str, String)| start.env(name, value);
        let ended = variables.iter().fold(start, set).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let mut shown: Vec<&str> = ended.stdout.lines().skip(1).collect();
        shown.sort_unstable();
        expected.sort_unstable();
        assert_eq!(shown, expected, "{}", ended.stderr);
    }
}
