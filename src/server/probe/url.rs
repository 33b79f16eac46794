//! The target of a probe, and the URLs that name targets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The target of a probe. It is displayed as a URL: `http://127.0.0.1:8888/api`, `https://…`, or
/// `http+unix://%2Frun%2Fjupyter.sock/api`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The address to connect to.
    pub endpoint: Endpoint,
    /// True if the server uses TLS.
    pub tls: bool,
    /// The path; it begins with `/`.
    pub path: String,
}

/// The address to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match &self.endpoint {
            Endpoint::Tcp(address) => write!(f, "{scheme}://{address}{}", self.path),
            Endpoint::Unix(socket) => {
                let socket = socket.to_string_lossy().replace('%', "%25");
                let socket = socket.replace('/', "%2F");
                write!(f, "{scheme}+unix://{socket}{}", self.path)
            }
        }
    }
}

/// The parts of a URL that a probe needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// The endpoints to try, in this order: all addresses of a TCP host, or one Unix socket.
    pub endpoints: Vec<Endpoint>,
    /// True if the URL uses TLS.
    pub tls: bool,
    /// The path without query and fragment; it begins with `/`.
    pub path: String,
}

impl Url {
    /// Parses a URL; `None` if it is not valid or has a space or a control character. A host name
    /// stands for this machine: Jupyter and the hub name the machine that the server runs on.
    pub fn parse(text: &str) -> Option<Self> {
        // Such a character would break the request line, which contains the path.
        if text.contains(|char: char| char.is_whitespace() || char.is_control()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = path.split(['?', '#']).next().unwrap_or("/").to_owned();
        let (tls, unix) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "http+unix" => (false, true),
            "https+unix" => (true, true),
            _ => return None,
        };
        let endpoints = if unix {
            let socket = authority.replace("%2F", "/").replace("%2f", "/");
            vec![Endpoint::Unix(socket.replace("%25", "%").into())]
        } else {
            let default = if tls { 443 } else { 80 };
            let (host, port) = match authority.rsplit_once(':') {
                Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
                _ => (authority, default),
            };
            addresses(host.trim_matches(['[', ']']), port)
        };
        Some(Self {
            endpoints,
            tls,
            path,
        })
    }
}

/// Returns the endpoints at which a server that listens on `host` can be reached from here.
pub fn addresses(host: &str, port: u16) -> Vec<Endpoint> {
    let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let ips: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => local.into(),
        Ok(ip) => vec![ip],
        Err(_) if host == "localhost" => local.into(),
        Err(_) => local.into_iter().chain(own_addresses()).collect(),
    };
    ips.into_iter()
        .map(|ip| Endpoint::Tcp(SocketAddr::new(ip, port)))
        .collect()
}

/// Returns the addresses that a name of this machine may stand for: a container's name stands for
/// its address on the bridge. They come from the interfaces, because a resolver may be slow.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| interface.address);
    let ips = addresses.filter_map(|address| {
        let ipv4 = address
            .as_sockaddr_in()
            .map(|address| IpAddr::V4(address.ip()));
        ipv4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))
    });
    // A link-local address is usable only together with its interface.
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    ips.filter(|ip| !ip.is_loopback() && !link_local(ip))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_jupyter_and_of_the_hub_are_understood() {
        for (text, endpoints, tls, path) in [
            (
                "http://127.0.0.1:8888/lab?token=x",
                &["127.0.0.1:8888"][..],
                false,
                "/lab",
            ),
            (
                "http://0.0.0.0:8888/user/a/",
                &["127.0.0.1:8888", "[::1]:8888"],
                false,
                "/user/a/",
            ),
            (
                "http://localhost:80/lab",
                &["127.0.0.1:80", "[::1]:80"],
                false,
                "/lab",
            ),
            ("https://[::1]:8443", &["[::1]:8443"], true, "/"),
            ("http://[::]:1/x", &["127.0.0.1:1", "[::1]:1"], false, "/x"),
        ] {
            let url = Url::parse(text).unwrap();
            let expected: Vec<_> = endpoints
                .iter()
                .map(|address| Endpoint::Tcp(address.parse().unwrap()))
                .collect();
            assert_eq!(
                (url.endpoints, url.tls, url.path.as_str()),
                (expected, tls, path)
            );
        }
        let named = Url::parse("http://3f2a:80/lab").unwrap().endpoints;
        let local = Url::parse("http://0.0.0.0:80/").unwrap().endpoints;
        assert_eq!(named[..2], local);
        let unix = Url::parse("http+unix://%2Frun%2Fa%2525.sock/lab").unwrap();
        assert_eq!(unix.endpoints, [Endpoint::Unix("/run/a%25.sock".into())]);
        for text in [
            "ftp://x/",
            "http://x:y/",
            "nonsense",
            "http://x/ y",
            "http://x/\r\ny",
        ] {
            assert_eq!(Url::parse(text), None);
        }
    }

    #[test]
    fn a_target_survives_being_written() {
        for text in [
            "http://127.0.0.1:1/api",
            "https://[::1]:2/x/api",
            "http+unix://%2Fa%25b/api",
        ] {
            let url = Url::parse(text).unwrap();
            let target = Target {
                endpoint: url.endpoints[0].clone(),
                tls: url.tls,
                path: url.path,
            };
            assert_eq!(target.to_string(), text);
        }
    }
}
