//! Random events in random order.

use super::*;

/// What can happen between two starts.
#[derive(Debug, Clone)]
enum Event {
    /// An image with this version and this text in its files.
    Image(u64, u8),
    Edit(usize, u8),
    Delete(usize),
    Rename(usize, usize),
    Policy(UpdateNotebooks, DeletedNotebooks),
    Start,
    /// The manifest gets damaged.
    Damage,
    /// A start is killed before it records the pending files as installed.
    Kill,
}

const NAMES: [&str; 4] = ["a.ipynb", "b", "dir/c.ipynb", "dir/d"];

fn event() -> impl Strategy<Value = Event> {
    let name = || 0..NAMES.len();
    let update = prop_oneof![
        Just(UpdateNotebooks::Unmodified),
        Just(UpdateNotebooks::Beside),
        Just(UpdateNotebooks::Never),
    ];
    let deleted = prop_oneof![
        Just(DeletedNotebooks::Restore),
        Just(DeletedNotebooks::Respect),
    ];
    prop_oneof![
        3 => (1..5u64, 0..6u8).prop_map(|(version, text)| Event::Image(version, text)),
        3 => (name(), 0..4u8).prop_map(|(name, text)| Event::Edit(name, text)),
        2 => name().prop_map(Event::Delete),
        2 => (name(), name()).prop_map(|(from, to)| Event::Rename(from, to)),
        2 => (update, deleted).prop_map(|(update, deleted)| Event::Policy(update, deleted)),
        5 => Just(Event::Start),
        1 => Just(Event::Damage),
        1 => Just(Event::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Random events in random order: what a person wrote stays until that person deletes it,
    /// and a default that no one changed is the newest one so far.
    #[test]
    fn nothing_a_person_wrote_is_lost_and_the_untouched_is_the_newest(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let text = |version: u64, text: u8, name: &str| format!("{name} of the image {version} {text}");
        let mut lab = Lab::new(&[]);
        // What the person wrote, by its current name.
        let mut mine: BTreeMap<String, String> = BTreeMap::new();
        // Defaults that a start put in place and that no person touched.
        let mut untouched: BTreeMap<String, String> = BTreeMap::new();
        let (mut version, mut letter, mut newest) = (1, 0, 0);
        let mut recorded = true;
        let mut serial = 0;
        for event in events.into_iter().chain([Event::Start]) {
            match event {
                Event::Image(to, with) => {
                    (version, letter) = (to, with);
                    let files = NAMES.map(|name| (name, text(version, letter, name)));
                    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
                    lab = lab.image(&format!("{version}.0.0"), &files);
                }
                Event::Edit(name, with) => {
                    let name = NAMES[name];
                    serial += 1;
                    // Now and then, the file gets exactly the size of the default.
                    let mut new = format!("mine {serial}");
                    if with == 0 {
                        new = format!("{new:width$}", width = text(version, letter, name).len());
                    }
                    fs::create_dir_all(lab.volume(name).parent().unwrap()).unwrap();
                    lab.write(name, &new);
                    mine.insert(name.into(), new);
                    untouched.remove(name);
                }
                Event::Delete(name) => {
                    let _ = fs::remove_file(lab.volume(NAMES[name]));
                    mine.remove(NAMES[name]);
                    untouched.remove(NAMES[name]);
                }
                Event::Rename(from, to) => {
                    let (from, to) = (NAMES[from], NAMES[to]);
                    fs::create_dir_all(lab.volume(to).parent().unwrap()).unwrap();
                    if from != to && fs::rename(lab.volume(from), lab.volume(to)).is_ok() {
                        mine.remove(to);
                        untouched.remove(to);
                        let moved = mine.remove(from).or(untouched.remove(from));
                        let moved = moved.unwrap_or_else(|| lab.read(to));
                        // A default under another name counts as the person's; one that
                        // is back under its own name is what it was.
                        if !moved.starts_with(&format!("{to} of the image")) {
                            mine.insert(to.into(), moved);
                        }
                    }
                }
                Event::Policy(update, deleted) => lab = lab.policy(update, deleted),
                Event::Damage => {
                    if lab.volume(".ai-lab").exists() {
                        lab.write(".ai-lab/manifest.sha256", "damaged");
                        recorded = false;
                        newest = 0;
                    }
                }
                Event::Kill => {
                    if recorded && lab.volume(".ai-lab/manifest.sha256").exists() {
                        let mut manifest = lab.manifest();
                        lab.start();
                        for (path, after) in lab.manifest().entries {
                            let entry = manifest.entries.entry(path).or_default();
                            if entry.installed != after.installed {
                                entry.pending = after.installed;
                            }
                        }
                        lab.write_manifest(&manifest);
                        lab.write(".ai-lab/lock", "x");
                        // The next start finds out what was put in place.
                        untouched.clear();
                    }
                }
                Event::Start => {
                    let before: BTreeMap<_, _> = untouched.clone();
                    let summary = lab.start();
                    let told = causes(&summary);
                    prop_assert!(summary.degradations.is_empty() || !recorded, "{}", told);
                    let older = version < newest;
                    let all = lab.all();
                    let has_image = fs::read_dir(lab.source("")).unwrap().count() > 0;
                    for name in NAMES.iter().filter(|_| has_image) {
                        let new = text(version, letter, name);
                        let now = all.get(*name);
                        let replaces = lab.update != UpdateNotebooks::Never && !older && recorded;
                        match before.get(*name) {
                            Some(old) if !replaces => prop_assert_eq!(now, Some(old)),
                            Some(_) => prop_assert_eq!(now, Some(&new)),
                            None => {}
                        }
                        if now == Some(&new) && !mine.contains_key(*name) {
                            untouched.insert((*name).into(), new);
                        }
                    }
                    if !recorded {
                        // What differs from the image now counts as the person's.
                        untouched.retain(|name, text| *text == self::text_of(&lab, name));
                    }
                    newest = newest.max(version);
                    recorded = true;
                }
            }
            for (name, text) in &mine {
                prop_assert_eq!(&lab.read(name), text, "{}", name);
            }
            let whole = lab.all();
            prop_assert!(whole.keys().all(|name| !name.contains(".ai-lab.")), "{:?}", whole);
        }
    }
}

/// Returns the image's text for this name.
fn text_of(lab: &Lab, name: &str) -> String {
    fs::read_to_string(lab.source(name)).unwrap_or_default()
}
