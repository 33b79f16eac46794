//! A file is not read again if its stamp fits, and is read if its stamp is not certain.

use super::*;

#[test]
fn the_first_start_installs_and_the_second_finds_all_current() {
    let lab = Lab::new(TWO);
    lab.starts("2 installed, 0 updated, 0 kept (changed by you), 0 current")
        .holds(&[("a.ipynb", "a1"), ("dir", "dir"), ("dir/b.ipynb", "b1")])
        .starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
    assert_eq!(lab.manifest().image.as_deref(), Some("1.0.0"));
    assert_eq!(lab.entry("dir/b.ipynb").installed, Some(file("b1")));
}

#[test]
fn a_start_with_nothing_to_do_writes_nothing() {
    let lab = Lab::new(TWO);
    lab.start();
    for name in ["a.ipynb", "dir/b.ipynb"] {
        wait_past_ctime(&lab.volume(name));
        wait_past_ctime(&lab.source(name));
    }
    // Records the stamps that are certain by now.
    lab.start();
    let names = ["", "a.ipynb", "dir", ".ai-lab", ".ai-lab/lock"];
    let before = names.map(|name| changed(&lab.volume(name)));
    lab.start();
    assert_eq!(names.map(|name| changed(&lab.volume(name))), before);
}

#[test]
fn what_is_known_is_not_read_again() {
    let lab = Lab::new(TWO);
    for name in ["a.ipynb", "dir/b.ipynb"] {
        wait_past_ctime(&lab.source(name));
    }
    lab.start();
    lab.start();
    let entry = lab.entry("a.ipynb");
    assert!(entry.in_image.is_some());
    for (name, text) in [("a.ipynb", "a1"), ("dir/b.ipynb", "b1")] {
        wait_past_ctime(&lab.volume(name));
        assert_eq!(lab.read(name), text);
    }
    lab.start();
    let stamps = lab.entry("a.ipynb");
    assert!(stamps.in_volume.is_some() && stamps.in_image.is_some());
    // The manifest is believed as long as the stamps fit.
    let mut manifest = lab.manifest();
    let entry = manifest.entries.get_mut(&b"a.ipynb"[..]).unwrap();
    entry.installed = Some(file("something else"));
    lab.write_manifest(&manifest);
    lab.starts("0 installed, 0 updated, 0 kept (changed by you), 2 current");
    assert_eq!(lab.entry("a.ipynb").installed, Some(file("something else")));
}

#[test]
fn the_second_start_already_knows_what_the_first_one_put_there() {
    // A large batch takes a moment between writing a file and renaming it.
    let lab = Lab::new(TWO);
    let source = lab.source("a.ipynb");
    wait_past_ctime(&source);
    fs::File::options()
        .write(true)
        .open(&source)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    wait_past_ctime(&source);
    lab.start_while(|_| wait_past_ctime(&source_of_time(&lab)));
    // Its last write is long enough ago, though its rename is not.
    assert!(lab.entry("a.ipynb").in_volume.is_some());
}

/// Makes a new file, so that `settle` can wait until the clock is past its ctime.
fn source_of_time(lab: &Lab) -> PathBuf {
    let path = lab.dir.path().join("time");
    fs::write(&path, "").unwrap();
    path
}

#[test]
fn a_record_that_is_wrong_about_a_file_is_found_out_before_it_is_replaced() {
    let lab = Lab::new(&[("a", "mine")]);
    stamped(&lab, "a");
    // As if the file had been edited within one clock tick of its installation.
    let mut manifest = lab.manifest();
    manifest.entries.get_mut(&b"a"[..]).unwrap().installed = Some(file("a1"));
    lab.write_manifest(&manifest);
    let lab = lab.image("1.1.0", &[("a", "a2")]);
    lab.starts("0 installed, 0 updated, 1 kept (changed by you), 0 current")
        .holds(&[("a", "mine")]);
    let stamp = lab.entry("a").in_volume;
    assert!(stamp.is_none_or(|stamp| stamp.is_of_size()), "{stamp:?}");
}

#[test]
fn stamps_of_one_image_say_nothing_about_another() {
    // Images on read-only file systems may have the same inodes and times.
    let mut lab = Lab::new(&[("a", "a2")]);
    stamped(&lab, "a");
    let mut manifest = lab.manifest();
    manifest.entries.get_mut(&b"a"[..]).unwrap().installed = Some(file("a1"));
    lab.write_manifest(&manifest);
    lab.version = Some("1.1.0".into());
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current");
    assert_eq!(lab.entry("a").installed, Some(file("a2")));
}

#[test]
fn an_image_that_changed_under_the_same_version_is_noticed() {
    let lab = Lab::new(&[("a", "a1")]);
    stamped(&lab, "a");
    fs::write(lab.source("a"), "a2").unwrap();
    lab.starts("0 installed, 1 updated, 0 kept (changed by you), 0 current")
        .holds(&[("a", "a2")]);
}
