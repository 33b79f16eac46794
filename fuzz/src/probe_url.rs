//! URLs of a server: what is one reads back from what is written into the state, and cannot
//! add to the request.

use ai_lab_entrypoint::server::probe::{Target, Url};

pub fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Some(url) = Url::parse(text) else {
        return;
    };
    assert!(url.path.starts_with('/'));
    assert!(
        !url.path
            .contains(|char: char| char.is_control() || char.is_whitespace())
    );
    assert!(!url.endpoints.is_empty());
    for endpoint in url.endpoints {
        let target = Target {
            endpoint,
            tls: url.tls,
            path: url.path.clone(),
        };
        let again = Url::parse(&target.to_string()).unwrap();
        assert!(again.endpoints.contains(&target.endpoint), "{target}");
        assert_eq!((again.tls, again.path), (target.tls, target.path));
    }
}
