//! The seal of the defaults: whatever it says, a start would bring the same.

use std::io::Write;
use std::time::{Duration, SystemTime};

use ai_lab_entrypoint::settings::{DeletedNotebooks, UpdateNotebooks};
use ai_lab_entrypoint::volume::{Defaults, Rights, preview_defaults};

pub fn holds(text: &[u8]) {
    let directory = super::directory();
    let source = directory.path().join("defaults");
    std::fs::create_dir_all(source.join(".ai-lab")).unwrap();
    // Long ago, or no seal would count.
    let default = std::fs::File::create_new(source.join("a.ipynb")).unwrap();
    (&default).write_all(b"a").unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_000_000);
    default.set_modified(then).unwrap();
    // The same, so that there is something to tell apart.
    std::fs::create_dir_all(directory.path().join("volume")).unwrap();
    std::fs::write(directory.path().join("volume/a.ipynb"), "a").unwrap();
    let defaults = Defaults {
        source: source.clone(),
        volume: directory.path().join("volume"),
        image_version: Some("1.0.0".into()),
        update: UpdateNotebooks::Unmodified,
        deleted: DeletedNotebooks::Restore,
        mode: 0o644,
    };
    let without = preview_defaults(&defaults, false, Rights::ThisProcess, &|| false).unwrap();
    std::fs::write(source.join(".ai-lab/manifest.sha256"), text).unwrap();
    let with = preview_defaults(&defaults, false, Rights::ThisProcess, &|| false).unwrap();
    assert_eq!(with.files, without.files);
    // A record that says so of the volume names nothing that is not among the defaults.
    std::fs::create_dir_all(defaults.volume.join(".ai-lab")).unwrap();
    std::fs::write(defaults.volume.join(".ai-lab/manifest.sha256"), text).unwrap();
    std::fs::write(defaults.volume.join("a.ipynb"), "mine").unwrap();
    preview_defaults(&defaults, false, Rights::ThisProcess, &|| false).unwrap();
    let mine = std::fs::read(defaults.volume.join("a.ipynb")).unwrap();
    assert_eq!(mine, b"mine");
}
