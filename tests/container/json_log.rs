//! The real JupyterLab's log as JSON, the lines of its libraries included.

use serde_json::Value;

use crate::support::docker::Container;

/// Every line of the container's log as an object.
fn objects(container: &Container) -> Vec<Value> {
    let (stdout, stderr) = container.streams();
    let lines = stdout.lines().chain(stderr.lines());
    let object = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    lines.map(object).collect()
}

fn of<'a>(objects: &'a [Value], logger: &str) -> Vec<&'a Value> {
    let its = objects.iter().filter(|object| object["logger"] == logger);
    its.collect()
}

#[test]
fn jupyterlabs_lines_have_their_fields() {
    let container = Container::start(&["--env=AI_LAB_LOG_FORMAT=json"], &[]);
    container.wait_for("ready in ");
    // A login that fails is a warning.
    assert_eq!(container.visit(&["login", "wrong"]), "out");
    container.wait_for("401 POST /login");
    assert_eq!(container.stop(), 0);
    let objects = objects(&container);
    for logger in ["ServerApp", "LabApp"] {
        for line in of(&objects, logger) {
            let time = line["time"].as_str().unwrap();
            assert_eq!((time.len(), &time[10..11]), (23, "T"), "{line}");
            assert_eq!(line["stream"], "stderr");
            let message = line["message"].as_str().unwrap();
            assert!(!message.starts_with('['), "{line}");
        }
    }
    let server = of(&objects, "ServerApp");
    let level = |part: &str| {
        let line = server
            .iter()
            .find(|line| line["message"].as_str().unwrap().contains(part));
        line.unwrap_or_else(|| panic!("{part} is missing in {server:#?}"))["level"].clone()
    };
    assert_eq!(level(" is running at:"), "info");
    assert_eq!(level("401 POST /login"), "warn");
    assert!(of(&objects, "LabApp").len() > 1, "{objects:#?}");
    assert!(of(&objects, "ai-lab").len() > 5, "{objects:#?}");
    let logfile = container.read("/home/jupyter/jupyter-server.log").unwrap();
    assert!(logfile.contains(" ServerApp] Jupyter Server "), "{logfile}");
}

#[test]
fn a_traceback_is_messages_and_the_end_is_told_as_json_too() {
    let words = ["--log-format=json", "--ip=192.0.2.1"];
    let container = Container::start(&[], &words);
    assert_eq!(container.end(), 1);
    let objects = objects(&container);
    let line = |part: &str| {
        let mut lines = objects.iter();
        let line = lines.find(|line| line["message"].as_str().unwrap().contains(part));
        line.unwrap_or_else(|| panic!("{part} is missing in {objects:#?}"))
    };
    let traceback = line("Traceback (most recent call last)");
    assert_eq!(traceback["stream"], "stderr");
    assert_eq!(traceback.get("level"), None);
    assert_eq!(line("  File \"").get("time"), None);
    let end = line("Jupyter server terminated with error code 1");
    assert_eq!(
        (&end["level"], &end["logger"]),
        (&"error".into(), &"ai-lab".into())
    );
}
