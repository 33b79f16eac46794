//! Verbs that are asked of a running start, one after the other.

use std::fs;
use std::process::{Command, Stdio};

use super::golden::{compare, ours};
use crate::support::terminal::Terminal;
use crate::support::typist::typist;
use crate::support::{Image, PROGRAM, Running, Start};

/// What verbs say in the namespaces of a start.
pub struct Asked<'a> {
    pub running: &'a mut Running,
    pub image: &'a Image,
    text: String,
}

impl Asked<'_> {
    /// Asks with this as standard input.
    pub fn ask(&mut self, words: &[&str], input: &str) {
        self.ask_by(&[], words, input);
    }

    /// The same by another program, such as `prlimit`, which becomes ours.
    pub fn ask_by(&mut self, by: &[&str], words: &[&str], input: &str) {
        let stdin = tempfile::NamedTempFile::new().unwrap();
        fs::write(stdin.path(), input).unwrap();
        let stdin = fs::File::open(stdin.path()).unwrap();
        self.ask_from(stdin.into(), by, words);
    }

    /// At a terminal that is not the one of the session.
    pub fn ask_beside(&mut self, words: &[&str]) {
        let terminal = Terminal::new();
        let outer = ["setsid", "--wait"];
        self.ask_from(terminal.end(), &outer, words);
    }

    fn ask_from(&mut self, stdin: Stdio, by: &[&str], words: &[&str]) {
        let line = self.line(by, words);
        let mut command = self.prepared(Command::new(&line[0]));
        let output = command.args(&line[1..]).stdin(stdin).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap();
        self.note(&[by, words].concat().join(" "), code, said);
    }

    /// At a terminal, where keys are pressed when words appear.
    pub fn type_in(&mut self, words: &[&str], keys: &[(&str, &str)]) {
        let line = self.line(&[], words).join(" ");
        let output = self.prepared(typist(&line, keys)).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap();
        self.note(&format!("Colour, {}", words.join(" ")), code, said);
    }

    fn line(&self, by: &[&str], words: &[&str]) -> Vec<String> {
        let target = self.running.pid().to_string();
        let enter = ["nsenter", "--pid", "--mount", "--net", "--target", &target];
        let words = [&enter[..], &["--"], by, &[PROGRAM], words].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    fn prepared(&self, mut command: Command) -> Command {
        command
            .env("AI_LAB_STATE_DIR", self.image.path("state"))
            .env("AI_LAB_VERSION", "1.1.0")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        command
    }

    fn note(&mut self, asked: &str, code: i32, said: Vec<u8>) {
        let said = ours(&String::from_utf8(said).unwrap(), self.image);
        let said: String = said.lines().map(of_state).collect();
        self.text += &format!("=== {asked}, exit code {code}\n{said}");
    }
}

/// A line without what differs in the state as JSON.
fn of_state(line: &str) -> String {
    let numbers = ["\"started\":", "\"since\":", "\"pid\":", "\"main_pid\":"];
    let bare = line.trim();
    let part = bare.parse::<u64>().is_ok();
    match part || numbers.iter().any(|name| bare.starts_with(name)) {
        true => {
            let kept = line.replace(|c: char| c.is_ascii_digit(), "");
            let kept = kept.trim_end_matches(',').trim_end();
            format!("{kept} N\n")
        }
        false => format!("{line}\n"),
    }
}

/// Asks once a start has said a word.
pub fn asked(name: &str, start: Start, image: &Image, ready: &str, ask: impl Fn(&mut Asked<'_>)) {
    let mut running = start.start();
    running.wait_for(ready);
    let mut asked = Asked {
        running: &mut running,
        image,
        text: String::new(),
    };
    ask(&mut asked);
    compare(name, &asked.text);
}
