//! What the person in front of the log is told when the server is ready.

/// What there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// JupyterHub manages the server and has its own door.
    pub hub: bool,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// The port it listens on; `None`: a Unix socket.
    pub port: Option<u16>,
    /// The path of its pages, from `/` to `/`.
    pub base: &'a str,
    /// The default password, only while it is the one in force.
    pub default_password: Option<&'a str>,
}

/// The phrase that log watchers wait for.
pub const PHRASE: &str = "The server for Jupyter has been started successfully.";

impl Welcome<'_> {
    /// The text, without a final newline.
    pub fn text(&self) -> String {
        let Some(port) = self.port.filter(|_| !self.hub) else {
            return PHRASE.into();
        };
        let scheme = if self.tls { "https" } else { "http" };
        let base = self.base.trim_end_matches('/');
        let mut text = format!(
            "\n{PHRASE}\n\n    \
             On this machine:       {scheme}://localhost:{port}{base}\n    \
             From other machines:   {scheme}://<host>:{port}{base}\n"
        );
        if let Some(password) = self.default_password {
            text.push_str(&format!(
                "\n    Password:              {password}\n    \
                 This is the default, which everybody knows. Choose your own:\n    \
                 docker run --env JUPYTER_PASSWORD=<your password> …\n"
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: Welcome<'_> = Welcome {
        hub: false,
        tls: false,
        port: Some(49494),
        base: "/",
        default_password: None,
    };

    #[test]
    fn it_names_the_urls() {
        let text = LAB.text();
        for part in [PHRASE, "http://localhost:49494\n", "http://<host>:49494\n"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("assword"), "{text}");
        let text = Welcome {
            tls: true,
            base: "/x/",
            ..LAB
        }
        .text();
        assert!(text.contains("https://localhost:49494/x\n"), "{text}");
    }

    #[test]
    fn the_default_password_comes_with_the_way_to_change_it() {
        let text = Welcome {
            default_password: Some("ailab"),
            ..LAB
        }
        .text();
        assert!(text.contains("Password:              ailab\n"), "{text}");
        assert!(text.contains("docker run --env JUPYTER_PASSWORD=<your password>"));
    }

    #[test]
    fn under_the_hub_and_on_a_unix_socket_there_is_no_url_to_name() {
        let hub = Welcome { hub: true, ..LAB };
        let socket = Welcome { port: None, ..LAB };
        assert_eq!(hub.text(), PHRASE);
        assert_eq!(socket.text(), PHRASE);
    }
}
