//! The welcome: the text for the person who reads the log when the server is ready.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::server::probe::{Endpoint, Target};
use crate::server::rescue::{Login, Rescued};
use crate::sys;

/// The default password, and a check whether it is effective.
#[derive(Clone)]
pub struct DefaultPassword {
    /// The password, which is public.
    pub text: String,
    /// Reports whether the password is effective. Computes for some 50 ms.
    pub is_effective: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl DefaultPassword {
    /// Checks on a thread of its own whether the default password is effective, and if so sends the
    /// password.
    pub fn check(self) -> oneshot::Receiver<Option<String>> {
        sys::in_thread("password", move || {
            (self.is_effective)().then_some(self.text)
        })
    }
}

/// The facts that the welcome names.
pub struct Welcome<'a> {
    /// True if JupyterHub manages the server; people then log in at the hub.
    pub hub: bool,
    /// The target at which the server answered the probe.
    pub target: &'a Target,
    /// The default password; `None` if it is not known to be effective.
    pub default_password: Option<&'a str>,
    /// The rescue that the server is; `None`: it is the usual one.
    pub rescued: Option<&'a Rescued>,
    /// What is new in the notebooks.
    pub news: Option<&'a str>,
}

/// The phrase that log watchers wait for.
pub const PHRASE: &str = "The server for Jupyter has been started successfully.";

impl Welcome<'_> {
    /// Returns the text. Except in hub mode it ends with a newline, for an empty line in the log.
    pub fn text(&self) -> String {
        let rescue = self.rescued.map(rescue_text).unwrap_or_default();
        if self.hub {
            return format!("{PHRASE}{rescue}");
        }
        let scheme = if self.target.tls { "https" } else { "http" };
        let base = self.target.path.strip_suffix("api").unwrap_or("/");
        let base = base.trim_end_matches('/');
        let token = match self.rescued.map(|rescued| &rescued.login) {
            Some(Login::RandomToken(token)) => format!("/?token={token}"),
            _ => String::new(),
        };
        let urls = match &self.target.endpoint {
            Endpoint::Tcp(address) => format!(
                "    On this machine       {scheme}://localhost:{port}{base}{token}\n    \
                     From other machines   {scheme}://<host>:{port}{base}{token}\n",
                port = address.port()
            ),
            Endpoint::Unix(_) => {
                let target = self.target.to_string();
                let url = target.strip_suffix("/api").unwrap_or(&target);
                format!("    On this machine       {url}{token}\n")
            }
        };
        let mut text = format!("\n{PHRASE}\n\n{urls}{rescue}");
        if let Some(password) = self.default_password {
            text.push_str(&format!("\nThe default password is \"{password}\".\n"));
            text.push_str(
                "Everybody knows it. Choose your own:\n\n    \
                 docker run --env JUPYTER_PASSWORD=<your password> …\n",
            );
        }
        if let Some(news) = self.news {
            text.push_str(&format!("\n{news}\n"));
        }
        text
    }
}

/// Returns what a person has to know about a rescue.
fn rescue_text(rescued: &Rescued) -> String {
    let login = match rescued.login {
        Login::Hub => "",
        Login::Password(_) => "Log in with your password. ",
        Login::Token(_) => "Log in with your token. ",
        Login::RandomToken(_) => "The address has a token to log in with. ",
    };
    format!(
        "\nThis is a rescue, because the usual server did not start:\n{}\n{login}The first page says \
         how to mend it. Then restart:\n\n    docker exec <container> ai-lab-entrypoint restart\n",
        rescued.broken
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::server::probe::Url;
    use crate::server::rescue::Broken;

    fn text(url: &str, hub: bool, default_password: Option<&str>) -> String {
        welcome(url, hub, default_password, None, None)
    }

    fn welcome(
        url: &str,
        hub: bool,
        default_password: Option<&str>,
        news: Option<&str>,
        rescued: Option<&Rescued>,
    ) -> String {
        let url = Url::parse(url).unwrap();
        let target = Target {
            endpoint: url.endpoints[0].clone(),
            tls: url.tls,
            path: url.path,
        };
        let welcome = Welcome {
            hub,
            target: &target,
            default_password,
            rescued,
            news,
        };
        welcome.text()
    }

    const LAB: &str = "http://127.0.0.1:49494/api";

    #[test]
    fn it_names_the_urls() {
        let said = text(LAB, false, None);
        for part in [PHRASE, "http://localhost:49494\n", "http://<host>:49494\n"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("assword"), "{said}");
        let said = text("https://[::1]:1/x/api", false, None);
        assert!(said.contains("https://localhost:1/x\n"), "{said}");
        let said = text("http+unix://%2Fs%25/x/api", false, None);
        assert!(said.ends_with("http+unix://%2Fs%25/x\n"), "{said}");
        assert!(!said.contains("<host>"), "{said}");
    }

    #[test]
    fn the_default_password_comes_with_the_way_to_change_it() {
        let said = text(LAB, false, Some("ailab"));
        assert!(
            said.contains("\nThe default password is \"ailab\".\n"),
            "{said}"
        );
        assert!(said.contains("docker run --env JUPYTER_PASSWORD=<your password>"));
    }

    /// Jupyter's own log hides a token that was configured.
    #[test]
    fn the_address_of_a_rescue_has_its_token_on_a_socket_too() {
        for (url, base) in [
            ("http://127.0.0.1:1/x/api", "http://localhost:1/x"),
            ("http+unix://%2Fs/x/api", "http+unix://%2Fs/x"),
            ("http+unix://%2Fs/api", "http+unix://%2Fs"),
        ] {
            let rescued = Rescued {
                broken: Broken::new("x".into()),
                login: Login::RandomToken("secret".into()),
            };
            let said = welcome(url, false, None, None, Some(&rescued));
            assert!(said.contains(&format!(" {base}/?token=secret\n")), "{said}");
        }
    }

    #[test]
    fn what_is_new_comes_last() {
        let said = welcome(LAB, false, None, Some("New."), None);
        assert!(said.ends_with("49494\n\nNew.\n"), "{said}");
    }

    #[test]
    fn it_fits_into_eighty_columns() {
        let said = text(LAB, false, Some("ailab"));
        assert!(
            said.lines().all(|line| line.chars().count() <= 80),
            "{said}"
        );
    }

    #[test]
    fn under_the_hub_there_is_no_url_to_name() {
        assert_eq!(text(LAB, true, None), PHRASE);
    }
}
