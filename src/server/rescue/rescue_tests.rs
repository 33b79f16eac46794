use std::os::unix::fs::PermissionsExt;

use super::*;

pub(super) fn plan(hub: bool, login: Login) -> RescuePlan {
    plan_in("/".into(), hub, login)
}

fn plan_in(directory: PathBuf, hub: bool, login: Login) -> RescuePlan {
    let variables = [
        ("HOME", "/home/j"),
        ("JUPYTER_PATH", "/mine"),
        ("SHELL", "/bin/bash"),
    ];
    RescuePlan {
        python: "/rescue/bin/python".into(),
        hub,
        program_of_venv: true,
        address: Box::new(|| None),
        shows_lab: true,
        decides: Box::new(|_| false),
        dropped: Dropped::for_tests(),
        environment: variables
            .map(|(n, v)| (n.into(), v.into()))
            .into_iter()
            .collect(),
        directory,
        umask: None,
        uid: rustix::process::getuid().as_raw(),
        login: Box::new(move || Ok(login.clone())),
    }
}

fn traits() -> Vec<(&'static str, String)> {
    vec![("ip", "*".into()), ("port", "80".into())]
}

#[test]
fn nothing_but_the_configured_login_lets_anybody_in() {
    for (login, hash, token) in [
        (Login::Password("argon2:x".into()), "argon2:x", ""),
        (Login::Token("mine".into()), "", "mine"),
        (Login::RandomToken("random".into()), "", "random"),
    ] {
        let plan = plan(false, login.clone());
        let all = plan.configuration(Path::new("/b"), &traits(), &login, None);
        // Values of the configuration: a variable's would count without them.
        assert_eq!(all["PasswordIdentityProvider"]["hashed_password"], hash);
        assert_eq!(all["IdentityProvider"]["token"], token);
        assert_eq!(all["ServerApp"]["port"], 80);
    }
    let all = plan(true, Login::Hub).configuration(Path::new("/b"), &[], &Login::Hub, None);
    assert_eq!(all["IdentityProvider"], Value::Null, "the hub decides");
}

#[test]
fn a_terminal_has_the_variables_of_the_usual_server() {
    let plan = plan(false, Login::Token("t".into()));
    let shell = plan.shell(Path::new("/b")).join(" ");
    assert!(shell.starts_with("env -u JUPYTER_CONFIG_DIR "), "{shell}");
    assert!(shell.contains(" -u JUPYTER_NO_CONFIG "), "{shell}");
    assert!(
        shell.ends_with(" JUPYTER_PATH=/mine /bin/bash -l"),
        "{shell}"
    );
    let program = plan.program(Path::new("/b"));
    let variables: std::collections::BTreeMap<_, _> = program.environment.into_iter().collect();
    let value = |name: &str| variables.get(std::ffi::OsStr::new(name));
    assert_eq!(value("JUPYTER_PATH"), None);
    assert_eq!(value("JUPYTER_NO_CONFIG"), Some(&"1".into()));
}

#[test]
fn the_page_is_found_whatever_the_directories_are_called() {
    let ground = tempfile::tempdir().unwrap();
    let notebooks = ground.path().join("my notebooks");
    let page = "/lab/tree/tmp/%C3%A4%20b/what-broke.md";
    let plan = plan_in(notebooks.clone(), false, Login::Hub);
    let base = Path::new("/tmp/ä b");
    assert_eq!(plan.first_page(base), page, "the notebooks are gone");
    fs::create_dir(&notebooks).unwrap();
    let browser = url_path(&notebooks);
    assert!(browser.ends_with("/my%20notebooks"), "{browser}");
    let expected = format!("{page}?file-browser-path={browser}");
    assert_eq!(plan.first_page(base), expected);
}

#[test]
fn a_rescue_has_https_where_the_usual_server_has_it() {
    let ground = tempfile::tempdir().unwrap();
    let base = ground.path().join("base");
    let plan = plan(false, Login::Token("t".into()));
    let address = Address {
        certificate: TlsFiles::Made,
        ..Address::default()
    };
    let broken = Broken::new("x".into());
    plan.fill(&base, &address, &Login::Token("t".into()), &broken)
        .unwrap();
    let text = fs::read_to_string(base.join("config.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let file = all["ServerApp"]["certfile"].as_str().unwrap();
    assert_eq!(all["ServerApp"]["keyfile"], file);
    let pem = fs::read(file).unwrap();
    assert!(crate::tls::Certificate::parse(&pem, &pem).is_ok());
}

#[test]
fn what_an_earlier_rescue_left_is_gone_and_others_cannot_read_the_rest() {
    let ground = tempfile::tempdir().unwrap();
    let base = ground.path().join("base");
    let plan = plan(false, Login::Token("secret".into()));
    let address = Address::default();
    let broken = Broken::new("<b>a\u{1b}[2J</b>".into());
    for _ in 0..2 {
        plan.fill(&base, &address, &Login::Token("secret".into()), &broken)
            .unwrap();
        assert_eq!(fs::read_dir(base.join("runtime")).unwrap().count(), 0);
        fs::write(base.join("runtime/old"), "").unwrap();
    }
    for path in [base.clone(), base.join("config.json")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
    let page = fs::read_to_string(base.join(PAGE)).unwrap();
    assert!(page.contains(r"\<b\>a\\u\{1b\}\[2J\<\/b\>"), "{page}");
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        plan.fill(&base, &address, &Login::Hub, &broken).is_err(),
        "others could have read it"
    );
}
