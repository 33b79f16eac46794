//! Containers whose seccomp profile answers as another kernel does, gVisor's among them.

use std::fs;

use crate::support::docker::{Container, run};
use crate::support::few;

/// A seccomp profile under which calls end with an error: their names, the only first argument
/// that counts, and the error.
type Refusals<'a> = &'a [(&'a str, Option<i32>, i32)];

struct Profile(tempfile::NamedTempFile);

impl Profile {
    fn new(refusals: Refusals<'_>) -> Self {
        let rule = |(call, first, error): &(&str, Option<i32>, i32)| {
            let only = first.map_or(String::new(), |first| {
                format!(r#", "args": [{{"index": 0, "value": {first}, "op": "SCMP_CMP_EQ"}}]"#)
            });
            format!(
                r#"{{"names": ["{call}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {error}{only}}}"#
            )
        };
        let rules: Vec<String> = refusals.iter().map(rule).collect();
        let rules = rules.join(",");
        let profile = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rules}]}}"#);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), profile).unwrap();
        Self(file)
    }

    fn option(&self) -> String {
        format!("--security-opt=seccomp={}", self.0.path().display())
    }
}

/// What gVisor answered before July 2026.
const GVISOR: Refusals<'_> = &[("prctl", Some(libc::PR_CAP_AMBIENT), libc::EINVAL)];

#[test]
fn under_gvisor_a_server_starts_as_root_and_as_a_user() {
    let profile = Profile::new(GVISOR);
    for user in [&[][..], &["--user", "jupyter"]] {
        let option = profile.option();
        let options = [&[option.as_str()], user].concat();
        let container = Container::start(&options, &[]);
        let log = container.wait_for("] ready in ");
        assert!(!log.contains("PR_CAP_AMBIENT"), "{log}");
        let status = container.exec_ok("jupyter", &["cat", "/proc/1/status"]);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(
                status.contains(&format!("{set}:\t0000000000000000")),
                "{status}"
            );
        }
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        // Verbs drop root, too.
        let healthy = ["ai-lab-entrypoint", "healthcheck"];
        assert!(container.exec_ok("root", &healthy).starts_with("healthy"));
    }
}

#[test]
fn a_profile_that_refuses_what_is_needed_is_named_and_nothing_is_started() {
    const NO_NEW_PRIVS: i32 = libc::PR_SET_NO_NEW_PRIVS;
    // The process test `odd_kernels` refuses each call.
    let cases: [(Refusals<'_>, &[&str], &str); 5] = [
        (
            &[("setresuid", None, libc::ENOSYS)],
            &[],
            "setresuid failed",
        ),
        (
            &[("signalfd4", None, libc::ENOSYS)],
            &["--user", "jupyter"],
            "signalfd4 failed",
        ),
        (
            &[("epoll_create1", None, libc::EPERM)],
            &[],
            "epoll_create1 failed",
        ),
        (&[("wait4", None, libc::ENOSYS)], &[], "wait4 failed"),
        // runc sets no_new_privs itself where it is asked to, so it is not asked.
        (
            &[("prctl", Some(NO_NEW_PRIVS), libc::EINVAL)],
            &[],
            "PR_SET_NO_NEW_PRIVS failed",
        ),
    ];
    for &(refusals, user, named) in few(2, &cases) {
        let profile = Profile::new(refusals);
        let option = profile.option();
        let options = [&[option.as_str()], user].concat();
        let (code, stdout, stderr) = run(&options, &["echo", "ran"]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{named}: {stderr}");
        assert!(stderr.contains(named), "{stderr}");
    }
}
