#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::process::Command;

use super::*;
use crate::identity::syscall::Linux;

/// Records every call. `refused` calls fail; `silent` calls succeed without effect.
struct Recorder {
    state: RefCell<Credentials>,
    calls: RefCell<Vec<String>>,
    silent: &'static str,
    refused: &'static str,
    lacks: Option<&'static str>,
    regains: bool,
}

const ALL: u64 = (1 << 41) - 1;

impl Recorder {
    fn root() -> Self {
        let state = Credentials {
            groups: vec![0],
            effective: ALL,
            permitted: ALL,
            inheritable: 1,
            bounding: ALL,
            ambient: 1,
            dumpable: true,
            ..Credentials::default()
        };
        Self {
            state: RefCell::new(state),
            calls: RefCell::default(),
            silent: "",
            refused: "",
            lacks: None,
            regains: false,
        }
    }

    fn call(&self, name: &str, change: impl FnOnce(&mut Credentials)) -> io::Result<()> {
        self.calls.borrow_mut().push(name.into());
        if name.starts_with(self.refused) && !self.refused.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        if !name.starts_with(self.silent) || self.silent.is_empty() {
            change(&mut self.state.borrow_mut());
        }
        Ok(())
    }

    fn drop(&self, new_privileges: bool) -> Result<(Dropped, Vec<Degradation>), DropError> {
        let target = Target {
            uid: 1000,
            gid: 1001,
            groups: vec![7, 5],
            new_privileges,
        };
        Root(()).drop(&target, self)
    }
}

impl Kernel for Recorder {
    fn state(&self) -> Result<Credentials, CallError> {
        Ok(self.state.borrow().clone())
    }
    fn groups(&self) -> Result<Vec<u32>, CallError> {
        Ok(self.state.borrow().groups.clone())
    }
    fn set_groups(&self, groups: &[u32]) -> io::Result<()> {
        let mut sorted = groups.to_vec();
        sorted.sort_unstable();
        self.call("setgroups", |state| state.groups = sorted)
    }
    fn set_gid(&self, gid: u32) -> io::Result<()> {
        self.call("setresgid", |state| state.gids = [gid; 3])
    }
    fn set_uid(&self, uid: u32) -> io::Result<()> {
        self.call("setresuid", |state| state.uids = [uid; 3])
    }
    fn drop_bounding_set(&self, set: u64) -> io::Result<()> {
        self.call("bounding", |state| state.bounding &= !set)
    }
    fn clear_ambient(&self) -> io::Result<()> {
        self.call("ambient", |state| state.ambient = 0)
    }
    fn clear_capabilities(&self) -> io::Result<()> {
        self.call("capset", |state| {
            (state.effective, state.permitted, state.inheritable) = (0, 0, 0);
        })
    }
    fn set_no_new_privs(&self) -> io::Result<()> {
        self.call("no_new_privs", |state| state.no_new_privs = true)
    }
    fn set_not_dumpable(&self) -> io::Result<()> {
        self.call("not dumpable", |state| state.dumpable = false)
    }
    fn why_not_in_namespace(&self, _: u32, _: u32) -> Option<String> {
        self.lacks.map(str::to_owned)
    }
    fn regain_root(&self) -> bool {
        self.calls.borrow_mut().push("regain".into());
        self.regains
    }
}

#[test]
fn the_order_is_groups_gid_bounding_uid_capabilities_ambient_then_proof() {
    let kernel = Recorder::root();
    let (_, degradations) = kernel.drop(false).unwrap();
    assert_eq!(degradations, []);
    let expected = [
        "setgroups",
        "setresgid",
        "bounding",
        "setresuid",
        "capset",
        "ambient",
        "no_new_privs",
        "not dumpable",
        "regain",
    ];
    assert_eq!(*kernel.calls.borrow(), expected);
}

#[test]
fn a_call_that_succeeds_without_effect_is_fatal() {
    for silent in [
        "setgroups",
        "setresgid",
        "bounding",
        "ambient",
        "setresuid",
        "capset",
        "no_new_privs",
        "not dumpable",
    ] {
        let kernel = Recorder {
            silent,
            ..Recorder::root()
        };
        let error = kernel.drop(false).unwrap_err();
        assert!(
            matches!(error, DropError::NotDropped(_)),
            "{silent}: {error}"
        );
    }
    let kernel = Recorder {
        silent: "setresuid",
        ..Recorder::root()
    };
    let error = kernel.drop(false).unwrap_err().to_string();
    assert!(error.contains("uids [0, 0, 0] instead of uids [1000, 1000, 1000]"));
}

/// Refuses each step twice: once when its effect is already there, and once when it is not.
#[test]
fn a_refused_call_is_fatal_unless_what_it_is_for_holds_anyway() {
    type Change = fn(&mut Credentials);
    let cases: [(&str, Change); 7] = [
        ("setgroups", |state| state.groups = vec![5, 7]),
        ("setresgid", |state| state.gids = [1001; 3]),
        ("setresuid", |state| state.uids = [1000; 3]),
        ("capset", |state| {
            (state.effective, state.permitted, state.inheritable) = (0, 0, 0);
        }),
        ("ambient", |state| state.ambient = 0),
        ("no_new_privs", |state| state.no_new_privs = true),
        ("not dumpable", |state| state.dumpable = false),
    ];
    for (refused, change) in cases {
        let kernel = || Recorder {
            refused,
            ..Recorder::root()
        };
        let refusing = kernel();
        let error = refusing.drop(false).unwrap_err();
        let named = matches!(
            error,
            DropError::Refused(_) | DropError::NotPermitted { .. }
        );
        assert!(named, "{refused}: {error}");
        let holding = kernel();
        change(&mut holding.state.borrow_mut());
        // In the capset case CAP_SETPCAP is missing from the start, so the bounding set stays.
        holding.drop(false).unwrap();
    }
}

#[test]
fn a_bounding_set_that_cannot_be_dropped_is_harmless_and_reported() {
    let kernel = Recorder {
        refused: "bounding",
        ..Recorder::root()
    };
    let (_, degradations) = kernel.drop(false).unwrap();
    assert!(degradations[0].cause.contains("PR_CAPBSET_DROP failed"));
    let state = kernel.state().unwrap();
    assert_eq!((state.bounding, state.no_new_privs), (ALL, true));
}

#[test]
fn a_way_back_to_root_is_fatal() {
    let kernel = Recorder {
        regains: true,
        ..Recorder::root()
    };
    let error = kernel.drop(true).unwrap_err();
    assert!(matches!(error, DropError::NotDropped(_)), "{error}");
}

#[test]
fn new_privileges_keep_the_bounding_set_and_leave_no_new_privs_off() {
    let kernel = Recorder::root();
    let (_, degradations) = kernel.drop(true).unwrap();
    assert_eq!(degradations, []);
    let state = kernel.state().unwrap();
    assert_eq!((state.bounding, state.no_new_privs), (ALL, false));
    assert_eq!((state.permitted, state.dumpable), (0, false));
}

#[test]
fn without_setpcap_the_bounding_set_stays_and_that_is_reported() {
    let kernel = Recorder::root();
    kernel.state.borrow_mut().effective &= !CapabilitySet::SETPCAP.bits();
    let (_, degradations) = kernel.drop(false).unwrap();
    assert!(degradations[0].cause.contains("CAP_SETPCAP"));
    assert!(!kernel.calls.borrow().contains(&"bounding".into()));
    assert!(kernel.state().unwrap().no_new_privs);
}

#[test]
fn without_the_capabilities_the_error_names_the_remedy() {
    for refused in ["setgroups", "setresgid", "setresuid"] {
        let kernel = Recorder {
            refused,
            ..Recorder::root()
        };
        let error = kernel.drop(false).unwrap_err().to_string();
        for part in [
            refused,
            "--cap-add SETUID --cap-add SETGID",
            "docker run --user 1000:1001",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn a_user_namespace_without_the_ids_has_a_remedy_of_its_own() {
    let kernel = Recorder {
        refused: "setgroups",
        lacks: Some("it has no uid 1000"),
        ..Recorder::root()
    };
    let error = kernel.drop(false).unwrap_err().to_string();
    for part in ["it has no uid 1000", "/etc/subuid", "--map-users"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("--cap-add"), "{error}");
}

#[test]
fn root_is_no_target() {
    let target = Target {
        uid: 0,
        gid: 5,
        groups: Vec::new(),
        new_privileges: false,
    };
    let error = Root(()).drop(&target, &Recorder::root()).unwrap_err();
    assert!(matches!(error, DropError::ToRoot));
}

#[test]
fn staying_root_warns_and_is_restricted_as_every_mode_is() {
    let kernel = Recorder::root();
    let (_, degradations) = Root(()).stay(false, &kernel).unwrap();
    assert!(degradations[0].cause.contains("runs as root"));
    assert_eq!(*kernel.calls.borrow(), ["no_new_privs", "not dumpable"]);

    let kernel = Recorder::root();
    Dropped::without_root(false, &kernel).unwrap();
    assert_eq!(*kernel.calls.borrow(), ["no_new_privs", "not dumpable"]);

    let kernel = Recorder::root();
    Dropped::without_root(true, &kernel).unwrap();
    assert_eq!(*kernel.calls.borrow(), ["not dumpable"]);

    for silent in ["no_new_privs", "not dumpable"] {
        let kernel = Recorder {
            silent,
            ..Recorder::root()
        };
        Dropped::without_root(false, &kernel).unwrap_err();
    }
}

#[test]
fn groups_are_own_granted_and_passed_on_without_roots() {
    assert_eq!(supplementary(&[5, 3], &[9, 3], &[7, 9]), [3, 5, 7, 9]);
    assert_eq!(supplementary(&[], &[0], &[]), [0]);
    let split = split_inherited(&[0, 6, 7, 42], &[6, 8, 42], &[42, 77]);
    assert_eq!(split, (vec![7, 42], vec![0, 6]));
    assert_eq!(split_inherited(&[0], &[], &[0]), (vec![], vec![0]));
}

/// Ids belong to the whole process, so the real drop happens in a child process, which runs this
/// test again.
#[test]
fn the_real_kernel_lets_go_of_root_for_good() {
    const NAME: &str = "identity::privileges::tests::the_real_kernel_lets_go_of_root_for_good";
    const CHILD: &str = "AI_LAB_TEST_DROP";
    let Some(mode) = std::env::var_os(CHILD) else {
        for mode in ["sealed", "new-privileges"] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME])
                .env(CHILD, mode)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}");
            assert!(text.contains("1 passed"), "{text}");
        }
        return;
    };
    let new_privileges = mode == "new-privileges";
    let target = Target {
        uid: 4242,
        gid: 4243,
        groups: vec![4245, 4244],
        new_privileges,
    };
    let before = Linux.state().unwrap();
    assert!(Linux.regain_root(), "as long as it is there");
    // setresuid would clear the ambient set by itself.
    let mut sets = rustix::thread::capabilities(None).unwrap();
    sets.inheritable = CapabilitySet::CHOWN;
    rustix::thread::set_capabilities(None, sets).unwrap();
    rustix::thread::configure_capability_in_ambient_set(CapabilitySet::CHOWN, true).unwrap();
    assert_eq!(Linux.state().unwrap().ambient, CapabilitySet::CHOWN.bits());
    Linux.clear_ambient().unwrap();
    assert_eq!(Linux.state().unwrap().ambient, 0);
    let (_, degradations) = Root::detect().unwrap().drop(&target, &Linux).unwrap();
    assert_eq!(degradations, []);
    assert!(Root::detect().is_none());
    // Reads the kernel's own report, independent of our parsing.
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].trim().to_owned()
    };
    assert_eq!(field("Uid:"), "4242\t4242\t4242\t4242");
    assert_eq!(field("Gid:"), "4243\t4243\t4243\t4243");
    assert_eq!(field("Groups:"), "4244 4245");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    let bounding = if new_privileges { before.bounding } else { 0 };
    assert_eq!(field("CapBnd:"), format!("{bounding:016x}"));
    let sealed = u8::from(!new_privileges).to_string();
    assert_eq!(field("NoNewPrivs:"), sealed);
    // Not dumpable: /proc/self belongs to root.
    std::fs::read("/proc/self/environ").unwrap_err();
}
