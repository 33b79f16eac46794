//! What a person writes, creates or deletes while a start brings in newer defaults is
//! theirs, at whatever moment they do it, and stays theirs.
//!
//! Exhaustive: the start is stopped before each of its system calls in turn that has to
//! do with files, the person does their thing, and the start goes on.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::file_systems::Kind;
use crate::support::lab;
use crate::support::lab::{Lab, RAN, first, second, third};
use crate::support::tracer::{Call, End, Then};

/// How many system calls bringing in defaults makes at the very least.
const FEWEST: usize = 100;

/// What is in the volume under names of its own.
fn files(lab: &Lab) -> BTreeMap<String, String> {
    let mut all = lab.seen();
    all.retain(|name, _| *name != ".ai-lab/lock" && *name != ".ai-lab/manifest.sha256");
    all
}

fn offered(lab: &Lab) {
    for (version, files) in [("1.0.0", first()), ("2.0.0", second()), ("3.0.0", third())] {
        lab.offer(version, &lab.possible(files));
    }
}

/// An update to the second image, in the middle of which `edit` happens, at each moment
/// in turn. What is then at `path` has to be among `after`, and what a start of the third
/// image leaves there among `later`; every other default is the newest each time.
fn at_every_moment(
    lab: &Lab,
    prepare: impl Fn(),
    (path, edit): (&str, impl Fn(&Path)),
    after: &[Option<&str>],
    later: &[Option<&str>],
) {
    let volume = lab.volume();
    let check = |at: &str, new: lab::Files, allowed: &[Option<&str>]| {
        let mut found = files(lab);
        // Of a notebook that was only run.
        found.retain(|name, _| !name.starts_with(".ai-lab/kept/"));
        let there = found.remove(path);
        assert!(
            allowed.contains(&there.as_deref()),
            "{at}: {there:?}, {found:#?}"
        );
        let mut expected: BTreeMap<String, String> = lab
            .possible(new)
            .iter()
            .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
            .collect();
        expected.remove(path);
        assert_eq!(found, expected, "{at}");
    };
    for nth in (1..).step_by(lab.kind.step(19)) {
        prepare();
        let edit = || {
            edit(&volume.join(path));
            Then::LetGo
        };
        let mut looked = false;
        // Without hard links, what is saved between the last stat of the empty file that
        // reserves a name and the rename is lost: docs/limits.md says so.
        let counts = |call: &Call| {
            if call.is_internal() {
                return false;
            }
            let is_exposed = looked && call.number == libc::SYS_renameat;
            looked = call.number == libc::SYS_statx && call.args[2] & FORCE_SYNC != 0;
            !is_exposed
        };
        let (reached, end) = lab.stop_at("2.0.0", nth, counts, edit);
        let at = format!("edited before call {nth}");
        assert_eq!(end, End::Exited(0), "{at}");
        if !reached {
            assert!(nth > FEWEST, "only {nth} calls were seen");
            return;
        }
        check(&at, second(), after);
        lab.finish("3.0.0");
        check(&format!("{at}, then a later image"), third(), later);
    }
}

/// AT_STATX_FORCE_SYNC.
const FORCE_SYNC: u64 = 0x2000;

/// A lab with the first image's defaults, which every turn begins with.
fn fresh(kind: Kind) -> Lab {
    let lab = Lab::on(kind, "unmodified");
    offered(&lab);
    lab.clear();
    lab.finish("1.0.0");
    lab.keep();
    lab
}

/// As an editor saves: a new file in the old one's place.
fn save(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let temporary = path.with_extension("saving");
    fs::write(&temporary, text).unwrap();
    fs::rename(&temporary, path).unwrap();
}

#[test]
fn a_file_saved_at_any_moment_of_an_update_stays_as_it_was_saved() {
    save_at_any_moment(Kind::Tmpfs);
}

pub fn save_at_any_moment(kind: Kind) {
    let lab = fresh(kind);
    let mine = &[Some("a m")];
    let edit = ("a.ipynb", |path: &Path| save(path, "a m"));
    at_every_moment(&lab, || lab.again(), edit, mine, mine);
}

#[test]
fn a_file_written_in_place_at_any_moment_stays_as_it_was_written() {
    let lab = Lab::new("unmodified");
    offered(&lab);
    // The record of the first start has no stamps: what it is about is too young. With
    // them, the update does not read what it replaces.
    let prepare = || {
        lab.clear();
        lab.finish("1.0.0");
        let data = fs::metadata(lab.volume().join("a.ipynb")).unwrap();
        let nanos = u32::try_from(data.ctime_nsec()).unwrap();
        let made = Duration::new(data.ctime().unsigned_abs(), nanos);
        let settled = SystemTime::UNIX_EPOCH + made + Duration::from_millis(60);
        while SystemTime::now() < settled {
            std::thread::yield_now();
        }
        lab.finish("1.0.0");
        let record = fs::read_to_string(lab.volume().join(".ai-lab/manifest.sha256")).unwrap();
        assert!(record.contains("# seen 3 "), "{record}");
    };
    let mine = &[Some("a m")];
    let edit = ("a.ipynb", |path: &Path| fs::write(path, "a m").unwrap());
    at_every_moment(&lab, prepare, edit, mine, mine);
}

#[test]
fn a_file_created_at_any_moment_is_not_overwritten_by_a_new_default() {
    create_at_any_moment(Kind::Tmpfs);
}

pub fn create_at_any_moment(kind: Kind) {
    let lab = fresh(kind);
    let mine = &[Some("mine")];
    let edit = ("new/n.ipynb", |path: &Path| save(path, "mine"));
    at_every_moment(&lab, || lab.again(), edit, mine, mine);
}

#[test]
fn a_file_deleted_at_any_moment_is_gone_or_new_and_nothing_is_left_over() {
    let lab = fresh(Kind::Tmpfs);
    let edit = ("a.ipynb", |path: &Path| fs::remove_file(path).unwrap());
    let (after, later) = ([None, Some("a 2")], [Some("a 3")]);
    at_every_moment(&lab, || lab.again(), edit, &after, &later);
}

#[test]
fn a_notebook_that_was_only_run_stays_as_it_is_saved_at_any_moment() {
    let lab = Lab::new("unmodified");
    offered(&lab);
    lab.finish("1.0.0");
    fs::write(lab.volume().join("run.ipynb"), RAN).unwrap();
    lab.keep();
    let mine = &[Some("mine")];
    let edit = ("run.ipynb", |path: &Path| save(path, "mine"));
    at_every_moment(&lab, || lab.again(), edit, mine, mine);
}
