//! A person's own directory changes its owner on the host where root is that person there: in a
//! rootless engine, and not in every user namespace.

use crate::support::{Image, PROGRAM, Start};

/// Enters a user namespace in which the machine's root is uid 1000, and in it another one with a
/// map, where it is root again.
const ENTER: &str = r#"
import ctypes, os, sys
def enter(kinds, map):
    (up, is_up), (go, may_go) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.read(up, 1)
        for name in ["uid_map", "gid_map"]:
            with open(f"/proc/{child}/{name}", "w") as file: file.write(map)
        os.write(may_go, b"x")
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    assert ctypes.CDLL(None).unshare(kinds) == 0
    os.write(is_up, b"x")
    os.read(go, 1)
enter(0x10000000, "1000 0 9999")
enter(0x10020000, sys.argv[1])
os.execvp("sh", ["sh", "-ec", 'mount -t tmpfs tmpfs "$0"; exec "$@"'] + sys.argv[2:])
"#;

#[test]
fn a_new_owner_on_the_host_is_reported_where_root_is_one_person_there() {
    for (map, told) in [
        ("0 1000 1\n1 1001 9998\n", true),
        // A pod with `hostUsers: false`, and userns-remap.
        ("0 1000 9999\n", false),
    ] {
        let image = Image::new();
        let notebooks = image.path("notebooks");
        std::fs::create_dir(&notebooks).unwrap();
        let start = Start::wrapped("python3").args(["-c", ENTER, map]);
        let start = start.args([notebooks.to_str().unwrap(), PROGRAM]);
        let ended = start.args(image.options()).args(["--", "true"]).run();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("Did chown -R "), "{}", ended.stderr);
        let said = ended.stderr.contains("this engine is rootless");
        assert_eq!(said, told, "{map}: {}", ended.stderr);
    }
}
