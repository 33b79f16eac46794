//! With `--log-format json` everything on the console is one JSON object a line,
//! whatever the server writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Image, Running, UID};

fn object(line: &str) -> Value {
    let object = serde_json::from_str(line);
    let object: Value = object.unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(object.is_object(), "{line}");
    object
}

fn objects(bytes: Vec<u8>) -> Vec<Value> {
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    text.lines().map(object).collect()
}

/// The line that contains this, as an object.
fn heard(running: &mut Running, part: &str) -> Value {
    object(&running.wait_for(part))
}

#[test]
fn the_servers_lines_and_ours_have_fields() {
    let image = Image::new();
    let logfile = image.path("home/server.log");
    let options = ["--log-format", "json", "--jupyter-logfile"];
    let server = image.server().args(options);
    let mut running = server.arg(logfile.to_str().unwrap()).start();
    assert_eq!(
        heard(&mut running, "is running at"),
        json!({
            "time": "2026-01-01T00:00:00.000",
            "level": "info",
            "logger": "ServerApp",
            "message": "Jupyter Server 2.0.0 is running at:",
            "stream": "stderr",
        })
    );
    assert_eq!(
        heard(&mut running, "a line for stdout"),
        json!({"message": "fake: a line for stdout", "stream": "stdout"})
    );
    let welcome = heard(&mut running, "has been started successfully");
    assert_eq!(welcome["logger"], "ai-lab");
    let url = format!("http://localhost:{}\n", image.port);
    assert!(
        welcome["message"].as_str().unwrap().contains(&url),
        "{welcome}"
    );
    let ready = heard(&mut running, "ready in ");
    assert_eq!(
        (&ready["level"], &ready["logger"]),
        (&json!("info"), &json!("ai-lab"))
    );
    assert!(ready["time"].as_str().unwrap().ends_with('Z'), "{ready}");
    running.signal(15);
    assert_eq!(running.end(), 0);
    let (stdout, stderr) = running.everything();
    for line in stdout.lines().chain(stderr.lines()) {
        object(line);
    }
    // The logfile is what people open: it has the lines as the server wrote them.
    let logged = fs::read_to_string(logfile).unwrap();
    let line = "[I 2026-01-01 00:00:00.000 ServerApp] Jupyter Server 2.0.0 is running at:\n";
    assert!(logged.contains(line), "{logged}");
}

/// Bytes with everything in them: NUL, escapes, invalid UTF-8, a line of ten megabytes.
const JUNK: &str = "#!/usr/bin/env python3
import os, random
random.seed(7)
data = b''.join([
    b'\\0\\0\\n', b'\\xff\\xfe\\n', b'\\x1b[31m\"red\"\\n', b'\\r\\n\\n',
    b'[I 2026-01-01 00:00:00.000 \\xff\\0] \\xf0\\x9f\\n',
    '€'.encode() * 3_333_333, b'\\n',
    random.randbytes(1_000_000),
    b'\\nno final newline'])
open(os.environ['HOME'] + '/expected', 'wb').write(data)
while data:
    data = data[os.write(int(os.environ['STREAM']), data):]
";

#[test]
fn no_junk_makes_it_invalid_or_loses_a_line() {
    for (stream, name) in [("1", "stdout"), ("2", "stderr")] {
        let image = Image::new();
        let program = image.path("venv/bin/jupyter-lab");
        fs::write(&program, JUNK).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let server = image.server().args(["--log-format", "json"]);
        let mut command = server.env("STREAM", stream).into_command();
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        assert!(status.success());
        let said = objects(stdout).into_iter().chain(objects(stderr));
        let said = said.filter(|object| object.get("stream").is_some());
        let mut lines = vec![String::new()];
        for object in said {
            assert_eq!(object["stream"], name);
            let message = object["message"].as_str().unwrap();
            lines.last_mut().unwrap().push_str(message);
            if object.get("partial").is_none() {
                lines.push(String::new());
            }
        }
        assert_eq!(
            lines.pop().unwrap(),
            "",
            "the last part says that it is the last"
        );
        let expected = fs::read(image.path("home/expected")).unwrap();
        let expected = expected.split(|byte| *byte == b'\n');
        let expected: Vec<String> = expected
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        assert_eq!(lines.len(), expected.len());
        let head = "[I 2026-01-01 00:00:00.000 \u{fffd}\0] ";
        for (line, expected) in lines.iter().zip(&expected) {
            let message = expected.strip_prefix(head).unwrap_or(expected);
            assert!(line == message, "{:.80} for {message:.80}", line);
        }
    }
}

#[test]
fn what_a_command_says_is_its_own() {
    let image = Image::new();
    let start = image.command(["sh", "-c", "echo plain; echo too >&2"]);
    let ended = start.env("AI_LAB_LOG_FORMAT", "json").run();
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "plain\n"));
    let (ours, theirs): (Vec<&str>, Vec<&str>) =
        ended.stderr.lines().partition(|line| line.starts_with('{'));
    assert_eq!(theirs, ["too"]);
    let switched = format!("Switched uid/gid to {UID}/{UID}");
    assert!(ours.iter().any(|line| object(line)["message"] == *switched));
}
