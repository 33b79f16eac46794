//! What is done once for each line, entry or byte:  cargo bench -p ai-lab-entrypoint-benches [NAME]
//!
//! For who changes one of these loops, to compare before and after. What a start takes as
//! a whole is in `scripts/bench`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;

use ai_lab_entrypoint::group_access::group_file::{AccountFile, entries, grant};
use ai_lab_entrypoint::log::pump::{StreamOutputs, pump};
use ai_lab_entrypoint::log::server_json::JsonLines;
use ai_lab_entrypoint::log::sink::Sink;
use ai_lab_entrypoint::password::{Secret, hash};
use ai_lab_entrypoint::server::log_reader::LogReader;
use ai_lab_entrypoint::settings::{DeletedNotebooks, UpdateNotebooks};
use ai_lab_entrypoint::volume::manifest::Manifest;
use ai_lab_entrypoint::volume::{Defaults, Rights, preview_defaults};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A directory service's worth of groups, the one that is looked for at the end.
fn group_file(criterion: &mut Criterion) {
    let mut text = String::new();
    for gid in 1000..3000 {
        writeln!(text, "group{gid}:x:{gid}:alice,bob,user{gid}").unwrap();
    }
    text.push_str("docker:x:999:alice\n");
    let text = text.as_bytes();
    let mut group = criterion.benchmark_group("group file");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("grant", |bench| {
        bench.iter(|| grant(text, AccountFile::Group, "docker", 998, "bob").unwrap());
    });
    group.bench_function("find a gid", |bench| {
        bench.iter(|| entries(text).find(|entry| entry.gid == 999).is_some());
    });
    group.finish();
}

/// The record of 10,000 defaults.
fn manifest(criterion: &mut Criterion) {
    let mut text = String::from("# ai-lab notebooks 1\n# image 1.0.0\n");
    for index in 0..10_000 {
        let stamp = format!("120 1760000000.25 1760000000.5 {index}");
        writeln!(text, "{index:064x}  dir{}/{index}.ipynb", index % 100).unwrap();
        writeln!(text, "# seen {stamp} / {stamp}").unwrap();
    }
    text.push_str("# end\n");
    let parsed = Manifest::parse(text.as_bytes()).unwrap();
    let mut group = criterion.benchmark_group("manifest");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bench| {
        bench.iter(|| Manifest::parse(text.as_bytes()).unwrap());
    });
    group.bench_function("render", |bench| bench.iter(|| parsed.render()));
    group.finish();
}

/// What a start will do about 1,000 defaults, none of which it knows.
fn plan(criterion: &mut Criterion) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let [source, volume] = ["source", "volume"].map(|name| directory.path().join(name));
    for top in [&source, &volume] {
        fs::create_dir(top).unwrap();
        for index in 0..1_000 {
            fs::write(top.join(format!("{index}.ipynb")), "a notebook").unwrap();
        }
    }
    let defaults = Defaults {
        source,
        volume,
        image_version: None,
        update: UpdateNotebooks::Unmodified,
        deleted: DeletedNotebooks::Restore,
        mode: 0o644,
    };
    criterion.bench_function("plan 1,000 defaults", |bench| {
        bench.iter(|| preview_defaults(&defaults, false, Rights::ThisProcess, &|| false).unwrap());
    });
}

fn password(criterion: &mut Criterion) {
    let secret = Secret::new("a password".into());
    let hash = hash::make(&secret).unwrap();
    let mut group = criterion.benchmark_group("password");
    group.sample_size(20);
    group.bench_function("make", |bench| bench.iter(|| hash::make(&secret).unwrap()));
    group.bench_function("verify", |bench| {
        bench.iter(|| assert!(hash::verify(&hash, &secret)));
    });
    group.finish();
}

const LINE: &str =
    "[I 2026-01-01 00:00:00.000 ServerApp] 200 GET /api/contents (alice@::1) 1.23ms\n";

/// From the server's pipe to who reads the console, on a runtime as PID 1 has it: how many
/// bytes arrived.
fn pumped(text: &[u8]) -> u64 {
    let (from, mut server) = io::pipe().unwrap();
    let (mut reader, console) = UnixStream::pair().unwrap();
    let (console, written) = Sink::start(console, |_| Vec::new()).unwrap();
    let to = StreamOutputs {
        console,
        json: None,
        logfile: None,
    };
    let (mut words, _told) = LogReader::new();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    thread::scope(|scope| {
        scope.spawn(move || server.write_all(text).unwrap());
        let arrived = scope.spawn(move || io::copy(&mut reader, &mut io::sink()).unwrap());
        runtime.enable_all().build().unwrap().block_on(async {
            pump(from.into(), to, &mut |chunk| words.observe(chunk))
                .await
                .unwrap();
            written.wait().await;
        });
        arrived.join().unwrap()
    })
}

/// A chunk of the server's log, as the pump has it; and the pump.
fn log(criterion: &mut Criterion) {
    let chunk = LINE.repeat(64 * 1024 / LINE.len());
    let mut group = criterion.benchmark_group("log");
    group.throughput(Throughput::Bytes(chunk.len() as u64));
    group.bench_function("look for where the server is", |bench| {
        let (mut words, _told) = LogReader::new();
        bench.iter(|| words.observe(chunk.as_bytes()));
    });
    group.bench_function("as JSON", |bench| {
        let mut lines = JsonLines::new("stderr");
        bench.iter(|| lines.wrap(chunk.as_bytes()));
    });
    let text = chunk.repeat(256);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.sample_size(10);
    group.bench_function("pump", |bench| {
        bench.iter(|| assert_eq!(pumped(text.as_bytes()), text.len() as u64));
    });
    group.finish();
}

criterion_group!(loops, group_file, manifest, plan, password, log);
criterion_main!(loops);
