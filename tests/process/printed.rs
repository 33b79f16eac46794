//! What the binary prints to be installed elsewhere, read by those it is for.

use std::process::Command;

use crate::support::PROGRAM;
use crate::support::process::fed;

fn printed(words: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers for the last of these words.
fn offered(words: &[&str]) -> Vec<String> {
    let script = printed(&["completions", "bash"]);
    let last = words.len() - 1;
    let (word, before) = (words[last], words[last - 1]);
    let ask = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n\
         [[ $(complete -p ai-lab-entrypoint) =~ -F\\ ([^ ]+) ]]\n\
         ${{BASH_REMATCH[1]}} ai-lab-entrypoint '{word}' '{before}'\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.join(" ")
    );
    let output = fed("bash", &["--norc", "-s"], &ask);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_options_values_and_verbs() {
    assert_eq!(
        offered(&["ai-lab-entrypoint", "--volume"]),
        ["--volume-owner"]
    );
    assert_eq!(
        offered(&["ai-lab-entrypoint", "--volume-owner", "ad"]),
        ["adopt"]
    );
    assert_eq!(offered(&["ai-lab-entrypoint", "health"]), ["healthcheck"]);
    assert_eq!(
        offered(&["ai-lab-entrypoint", "notebooks", "res"]),
        ["restore"]
    );
    // There is no such verb.
    assert_eq!(offered(&["ai-lab-entrypoint", "hel"]), [""]);
    assert_eq!(offered(&["ai-lab-entrypoint", "notebooks", "hel"]), [""]);
}

#[test]
fn every_shell_can_read_its_own() {
    for (shell, option) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("drain-timeout"));
        let output = fed(shell, &[option], &script);
        assert!(output.status.success(), "{shell}: {output:?}");
        assert!(output.stderr.is_empty(), "{shell}: {output:?}");
    }
}

#[test]
fn the_manual_is_a_page_without_a_warning() {
    let page = printed(&["man"]);
    let output = fed(
        "groff",
        &["-man", "-Tutf8", "-ww", "-rLL=100n", "-P-cbou"],
        &page,
    );
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for heading in [
        "NAME",
        "SYNOPSIS",
        "NOTEBOOKS",
        "VERBS",
        "EXIT STATUS",
        "EXAMPLES",
    ] {
        assert!(
            text.lines().any(|line| line == heading),
            "{heading}: {text}"
        );
    }
    let example = "         docker run -it ai-lab bash";
    assert!(text.lines().any(|line| line == example), "{text}");
}

#[test]
fn a_shell_that_nobody_knows_is_a_wrong_command_line() {
    let output = Command::new(PROGRAM).args(["completions", "tcsh"]).output();
    assert_eq!(output.unwrap().status.code(), Some(2));
}
