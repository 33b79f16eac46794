use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use super::{Init, Init::*, Table};
use crate::support::running::code;
use crate::support::{Image, PROGRAM, Start, repeated};

/// Writes its stdin to stdout, and backwards to stderr.
const ECHO: &str = "
import sys
data = sys.stdin.buffer.read()
sys.stdout.buffer.write(data)
sys.stderr.buffer.write(data[::-1])
";

fn byte_for_byte(image: &Image, init: Init) -> String {
    // Every byte, no line structure, more than any pipe holds, no final newline.
    let data: Vec<u8> = (0..1_000_003u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut command = init.start(image, &["python3", "-c", ECHO]).into_command();
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = data.clone();
    let writer = thread::spawn(move || stdin.write_all(&input).unwrap());
    let mut stdout = child.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        all
    });
    let mut told = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut told).unwrap();
    writer.join().unwrap();
    let out = reader.join().unwrap();
    child.wait().unwrap();
    let backwards: Vec<u8> = data.iter().rev().copied().collect();
    let own = told.len().saturating_sub(backwards.len());
    // Our own log comes before it, and is whole lines.
    let clean = own == 0 || told[own - 1] == b'\n';
    let same = out == data && told[own..] == backwards && clean;
    if same { "unchanged" } else { "changed" }.into()
}

fn output(start: Start, prepare: impl FnOnce(&mut Command)) -> String {
    let mut command = start.into_command();
    prepare(&mut command);
    let output = command.output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim_end().into()
}

fn without_dashes(image: &Image, init: Init) -> String {
    let file = image.path("defaults/start.ipynb").display().to_string();
    let words = init.words(image, &["ls", "-l", &file]);
    let words = words.into_iter().filter(|word| word != "--");
    let listed = output(Start::wrapped(init.program()).args(words), |_| {});
    let ran = listed.starts_with("-rw") && listed.lines().count() == 1;
    if ran { "ls -l" } else { "its own -l" }.into()
}

#[test]
fn streams_arguments_and_surroundings_are_the_commands_own() {
    let image = Image::new();
    let mut table = Table::new("streams, arguments, surroundings");
    table.case(
        "stdin, stdout and stderr, byte for byte",
        &[Tini, Catatonit],
        "unchanged",
        |init| byte_for_byte(&image, init),
    );
    table.case("init ls -l FILE", &[], "ls -l", |init| {
        without_dashes(&image, init)
    });
    let show = "import sys; print(sys.argv[1:])";
    let words = ["python3", "-c", show, "-l", "--", "--port", "", "a b", "*"];
    table.case(
        "arguments after COMMAND",
        &[Tini, Catatonit],
        "unchanged",
        |init| {
            let got = output(init.start(&image, &words), |_| {});
            let same = got == "['-l', '--', '--port', '', 'a b', '*']";
            if same { "unchanged".into() } else { got }
        },
    );
    table.case(
        "working directory",
        &[Tini, Catatonit],
        "/usr/share",
        |init| {
            output(init.start(&image, &["pwd"]), |command| {
                command.current_dir("/usr/share");
            })
        },
    );
    let outer = |text: &'static str| ["sh", "-c", text, "sh"];
    table.case("umask", &[Tini, Catatonit], "0027", |init| {
        let start = init.start(&image, &["sh", "-c", "umask"]);
        output(start.under(&outer("umask 27; exec \"$@\"")), |_| {})
    });
    let bare =
        "for fd in /proc/self/fd/*; do fd=${fd##*/}; [ $fd -gt 2 ] && eval \"exec $fd>&-\"; done
        exec 7</dev/null; exec \"$@\"";
    let descriptors =
        "import os; print(*[n for n in range(256) if os.path.exists(f'/proc/self/fd/{n}')])";
    table.case(
        "descriptors: three, and the caller's 7",
        &[Tini, Catatonit],
        "0 1 2 7",
        |init| {
            let start = init.start(&image, &["python3", "-c", descriptors]);
            output(start.under(&["bash", "-c", bare, "bash"]), |_| {})
        },
    );
    table.judge();
}

fn exit_code(start: Start) -> i32 {
    let mut command = start.into_command();
    command.stdout(Stdio::null()).stderr(Stdio::null());
    code(command.status().unwrap())
}

fn count(expected: impl Iterator<Item = i32>, of: impl Fn(i32) -> i32, base: i32) -> String {
    let (mut right, mut all) = (0, 0);
    for number in expected {
        all += 1;
        right += i32::from(of(number) == base + number);
    }
    format!("{right} of {all}")
}

#[test]
fn the_exit_code_is_the_commands_own() {
    let image = Image::new();
    let mut table = Table::new("exit codes");
    let (step, all) = repeated((5, "52 of 52"), (1, "256 of 256"));
    table.case("0 to 255", &[Tini, Catatonit], all, |init| {
        let exit = |code: i32| {
            let words = ["sh", "-c", &format!("exit {code}")];
            exit_code(init.start(&image, &words))
        };
        count((0..256).step_by(step), exit, 0)
    });
    // All but those whose default is to be ignored or to stop, and glibc's own.
    let deadly = || (1..65).filter(|n| !(17..24).contains(n) && ![28, 32, 33].contains(n));
    table.case("128 + signal", &[Tini, Catatonit], "54 of 54", |init| {
        let die = |number: i32| {
            let words = ["sh", "-c", &format!("kill -{number} $$")];
            exit_code(init.start(&image, &words))
        };
        count(deadly(), die, 128)
    });
    let plain = image.path("defaults/start.ipynb").display().to_string();
    for (case, program, expected) in [
        ("no such program", "no-such-program", "127"),
        ("no such file", "/nonexistent/program", "127"),
        ("not executable", plain.as_str(), "126"),
        ("a directory", "/", "126"),
    ] {
        table.case(case, &[Tini], expected, |init| {
            exit_code(init.start(&image, &[program])).to_string()
        });
    }
    let said = Start::pid1().args(image.options()).args(["--", "no-such"]);
    let said = said.run().stderr;
    assert!(said.contains("no-such was not found"), "{PROGRAM}: {said}");
    table.judge();
}
