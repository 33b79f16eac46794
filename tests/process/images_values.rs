//! What the image sets by itself yields to Jupyter's configuration, also where only Jupyter can tell
//! what that sets, and holds where it sets nothing.

use std::fs;

use super::rescue::jupyters;
use crate::support::{Image, Output, Start};

/// A dry run with this configuration of Jupyter's, where the image's own file names port and
/// directory.
fn planned(text: &str, port: Option<&str>) -> Output {
    let image = Image::new();
    jupyters(&image, "jupyter_server_config.py", text);
    // Where nobody but root can write, as far up as it goes.
    let ground = tempfile::tempdir_in("/srv").unwrap();
    let file = ground.path().join("settings.toml");
    let notebooks = image.path("notebooks");
    let lines = format!("notebooks.directory = {notebooks:?}\nserver.port = 49494\n");
    fs::write(&file, lines).unwrap();
    let options = image.options();
    let pairs = options.chunks(2);
    let kept = pairs.filter(|pair| !["--notebooks", "--ip", "--port"].contains(&&*pair[0]));
    let start = Start::pid1().args(kept.flatten());
    let start = start.args(["--config", file.to_str().unwrap(), "--dry-run"]);
    let start = start.args(["--jupyter-server", "jupyter-lab"]);
    let start = port
        .into_iter()
        .fold(start, |start, port| start.env("JUPYTER_PORT", port));
    let ended = start.run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended
}

/// The classes for which the server's line has these traits.
fn classes(plan: &str) -> [Option<&str>; 3] {
    let line = plan.lines().find(|line| line.contains("port_retries"));
    let words: Vec<&str> = line.unwrap().split_whitespace().collect();
    ["ip", "port", "root_dir"].map(|name| {
        let end = format!("App.{name}=");
        let (class, _) = words.iter().find_map(|word| word.split_once(&end))?;
        Some(class.trim_start_matches(['-', '\'']))
    })
}

#[test]
fn a_value_of_the_image_yields_where_only_jupyter_knows_another_one() {
    const IMAGES: Option<&str> = Some("Server");
    // Jupyter prefers a value for the class itself, wherever it is from.
    const YIELDS: Option<&str> = Some("Jupyter");
    let conditional = "if x:\n    c.ServerApp.port = 9999\n    c.ServerApp.ip = '127.0.0.1'\n";
    for (text, expected) in [
        ("", [IMAGES; 3]),
        ("c.ServerApp.ip = '127.0.0.1'", [None, IMAGES, IMAGES]),
        ("c.ServerApp.port = int('1')", [IMAGES, None, IMAGES]),
        (conditional, [YIELDS, YIELDS, IMAGES]),
        (
            "if x:\n    c.ServerApp.root_dir = '/'",
            [IMAGES, IMAGES, YIELDS],
        ),
        (
            "c.ServerApp.port = 1\nif x:\n    c.ServerApp.port = 2",
            [IMAGES, None, IMAGES],
        ),
        ("load_subconfig('/etc/corp/site.py')", [YIELDS; 3]),
        (
            "c.ServerApp.ip = '127.0.0.1'\nexec(open('x').read())",
            [None, YIELDS, YIELDS],
        ),
    ] {
        let plan = planned(text, None);
        assert_eq!(classes(&plan.stdout), expected, "{text}: {}", plan.stdout);
    }
}

/// Also where the image happens to have the same.
#[test]
fn a_value_that_a_person_chose_does_not_yield() {
    for port in ["49494", "49495"] {
        for text in ["c.ServerApp.port = 8888", "load_subconfig('x')"] {
            let plan = planned(text, Some(port));
            assert_eq!(classes(&plan.stdout)[1], Some("Server"), "{text}");
            let told = "environment variable JUPYTER_PORT wins over ServerApp.port in";
            let configured = text.contains("port");
            assert_eq!(plan.stderr.contains(told), configured, "{}", plan.stderr);
        }
    }
}
