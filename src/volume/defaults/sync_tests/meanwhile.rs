//! What other processes do while a start runs.

use super::*;
use crate::volume::REPORT_EVERY;

#[test]
fn an_edit_while_the_new_one_is_staged_is_kept() {
    let lab = Lab::new(&[("a", &big('1'))]);
    lab.start();
    let lab = lab.image("1.1.0", &[("a", &big('2'))]);
    let summary = lab.start_while(|_| {
        lab.write("a", "mine");
    });
    assert_eq!((summary.updated, summary.kept), (0, 1));
    lab.holds(&[("a", "mine")]);
    // The next start sees that the file is not the image's.
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current");
}

#[test]
fn what_appears_while_it_is_staged_is_kept() {
    let lab = Lab::new(&[("a", &big('1'))]);
    let summary = lab.start_while(|_| {
        lab.write("a", "mine");
    });
    assert_eq!((summary.installed, summary.kept), (0, 1));
    lab.holds(&[("a", "mine")]);
    let lab = lab.image("1.1.0", &[("a", &big('2'))]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current");
}

#[test]
fn a_directory_swapped_for_a_link_meanwhile_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("c"), "outside").unwrap();
    let lab = Lab::new(&[("big", &big('1')), ("dir/b", "b1"), ("dir/c", "c1")]);
    fs::create_dir(lab.volume("dir")).unwrap();
    let there = tree_of(outside.path());
    lab.start_while(|call| {
        if call == 1 {
            fs::rename(lab.volume("dir"), lab.volume("moved")).unwrap();
            symlink(outside.path(), lab.volume("dir")).unwrap();
        }
    });
    assert_eq!(tree_of(outside.path()), there);
    assert_eq!(lab.all()["dir"], format!("-> {}", outside.path().display()));
}

#[test]
fn a_stop_leaves_what_is_done_and_the_next_start_finishes() {
    let mut lab = Lab::new(&[("a", "a1"), ("b", &big('b')), ("c", "c1")]);
    lab.limits.batch_files = 1;
    let stopped = lab.start_until(&|| lab.volume("a").exists());
    assert!(matches!(stopped, Err(VolumeError::Stopped)));
    lab.holds(&[("a", "a1")]);
    lab.starts("2 installed, 0 updated, 0 kept (changed by you), 1 current");
}

#[test]
fn a_stop_is_heard_while_every_thread_is_busy_and_leaves_nothing_behind() {
    let lab = Lab::new(&[]);
    for number in 0..8 {
        let file = fs::File::create(lab.source(&format!("{number}"))).unwrap();
        // It takes far longer to write this than to ask `stop` three times.
        file.set_len(1 << 30).unwrap();
    }
    let asked = Cell::new(0);
    let stopped = lab.start_until(&|| {
        asked.set(asked.get() + 1);
        asked.get() >= 3
    });
    assert!(matches!(stopped, Err(VolumeError::Stopped)));
    lab.holds(&[]);
    assert_eq!(fs::read(lab.volume(".ai-lab/lock")).unwrap(), b"");
}

#[test]
fn a_stop_is_heard_between_files_that_follow_each_other_fast() {
    let lab = Lab::new(&[]);
    for number in 0..1000 {
        fs::create_dir(lab.source(&format!("dir{number}"))).unwrap();
        fs::write(lab.source(&format!("dir{number}/x")), [b'x'; 20_000]).unwrap();
    }
    let stopped = lab.start_until(&|| lab.volume("dir0").exists());
    assert!(matches!(stopped, Err(VolumeError::Stopped)));
    assert_eq!(fs::read(lab.volume(".ai-lab/lock")).unwrap(), b"");
    lab.starts("1000 installed, 0 updated, 0 kept (changed by you), 0 current");
}

#[test]
fn batches_of_any_size_do_the_same() {
    let names: Vec<String> = (0..101).map(|number| format!("{number:03}")).collect();
    let files = |text: &'static str, count: usize| {
        let names = names[..count].iter();
        names.map(|name| (name.as_str(), text)).collect::<Vec<_>>()
    };
    // From 64 files on, several threads write a batch.
    for batch_files in [1, 2, 63, 64, 1000] {
        let mut lab = Lab::new(&files("1", 100));
        lab.limits.batch_files = batch_files;
        lab.starts("100 installed, 0 updated, 0 kept (changed by you), 0 current");
        let lab = lab.image("1.1.0", &files("2", 101));
        let summary = lab.start();
        assert_eq!(
            (summary.installed, summary.updated),
            (1, 100),
            "{batch_files}"
        );
        assert!(
            names.iter().all(|name| lab.read(name) == "2"),
            "{batch_files}"
        );
    }
}

#[test]
fn two_containers_on_one_volume_do_the_work_once() {
    let lab = Lab::new(&[]);
    for number in 0..200 {
        fs::write(lab.source(&format!("{number}")), "x").unwrap();
    }
    let summaries = std::thread::scope(|scope| {
        let starts = [(); 4].map(|()| scope.spawn(|| lab.start()));
        starts.map(|start| start.join().unwrap())
    });
    assert_eq!(summaries.iter().map(|s| s.installed).sum::<u64>(), 200);
    assert_eq!(summaries.iter().map(|s| s.current).sum::<u64>(), 600);
    assert!(summaries.iter().all(|s| s.degradations.is_empty()));
}

#[test]
fn who_does_not_get_the_lock_goes_on_and_loses_nothing() {
    let mut lab = Lab::new(&[("a", "a1")]);
    lab.start();
    lab.limits.lock = Duration::ZERO;
    let held = fs::File::open(lab.volume(".ai-lab/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let lab = lab.image("1.1.0", &[("a", "a2"), ("b", "b2")]);
    let summary = lab.start();
    assert_eq!((summary.installed, summary.updated), (1, 1));
    assert!(causes(&summary).contains("holds .ai-lab/lock"));
    drop(held);
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
}

#[test]
fn what_another_start_installs_meanwhile_is_known_without_a_lock() {
    let mut lab = Lab::new(&[("a", &big('1'))]);
    lab.limits.lock = Duration::ZERO;
    fs::create_dir(lab.volume(".ai-lab")).unwrap();
    let held = fs::File::create(lab.volume(".ai-lab/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let staged = || fs::read_dir(lab.volume("")).unwrap().count() > 1;
    let other = Cell::new(None);
    let summary = lab.start_while(|_| {
        if staged() && !lab.volume("a").exists() {
            other.set(Some(lab.start().installed));
        }
    });
    assert_eq!(other.get(), Some(1));
    assert_eq!(
        (summary.installed, summary.kept, summary.current),
        (0, 0, 1)
    );
    drop(held);
    let lab = lab.image("1.1.0", &[("a", &big('2'))]);
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
}

#[test]
fn progress_is_told_and_never_goes_back() {
    let lab = Lab::new(&[]);
    for number in 0..REPORT_EVERY + 10 {
        fs::write(lab.source(&format!("{number}")), "").unwrap();
    }
    let mut told = Vec::new();
    bring_in_with(
        &lab.defaults(),
        lab.limits,
        &|_| true,
        &|| false,
        &mut |progress| told.push(progress),
    )
    .unwrap();
    // A slow machine reports more often.
    assert!(told.len() >= 2, "{told:?}");
    assert!(told.is_sorted_by_key(|progress| progress.done));
    assert!(
        told.iter()
            .all(|p| p.total.is_some_and(|total| p.done <= total))
    );
}
