//! The harness: the program in a PID namespace of its own, with a server that
//! hand-shakes. Nothing here sleeps; everything waits for words, with a limit.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

pub mod blocks;
pub mod certificate;
pub mod chance;
pub mod docker;
pub mod figures;
pub mod file_systems;
pub mod granted;
pub mod ground;
pub mod grown;
pub mod hub;
mod image;
pub mod lab;
pub mod outcomes;
mod ports;
pub mod process;
pub mod running;
pub mod terminal;
pub mod tmpfs;
pub mod tracees;
pub mod tracer;
pub mod typist;

use std::io::{BufRead, BufReader};
use std::time::Duration;

pub use image::Image;
pub use ports::free_port;
pub use running::{Output, Running, Start, Stream};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ai-lab-entrypoint");

/// How long anything may take before a test gives up. Never how long it takes.
pub const LIMIT: Duration = Duration::from_secs(240);

/// How often something is repeated, or how far apart the moments are at which it is tried: few
/// in an ordinary run, all there are under `scripts/test --long`.
pub fn repeated<N>(few: N, all: N) -> N {
    match std::env::var_os("AI_LAB_LONG") {
        Some(_) => all,
        None => few,
    }
}

/// The first few of what is tried, all of it under `scripts/test --long`: what comes later is a
/// repetition of them, or what a process or unit test has.
pub fn few<T>(few: usize, all: &[T]) -> &[T] {
    &all[..repeated(few, all.len())]
}

/// The user of the process tests: nobody's uid.
pub const UID: u32 = 4242;

/// Asks a server of this machine: the status of `GET path`.
pub fn get(port: u16, path: &str) -> Option<u16> {
    use std::io::Write;
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    line.split(' ').nth(1)?.parse().ok()
}
