//! Where a server is looked for.

use std::path::PathBuf;

use super::super::argv::Argv;
use super::super::probe::{Endpoint, Target, Url, addresses};

/// Jupyter's default port.
const DEFAULT_PORT: u16 = 8888;

/// A server's page is not more levels than this below its base URL.
const MOST_LEVELS: usize = 32;

/// Where a server is expected before it said anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    endpoints: Vec<Endpoint>,
    tls: bool,
    base: Option<String>,
    /// Where the server works: the paths of its sockets may be relative to that.
    directory: PathBuf,
}

impl Expected {
    /// From `JUPYTERHUB_SERVICE_URL`: the hub decided everything.
    pub fn by_hub(service_url: &str) -> Option<Self> {
        let directory = PathBuf::new();
        let url = Url::parse(service_url)?;
        Some(Self {
            endpoints: url.endpoints,
            tls: url.tls,
            base: Some(url.path),
            directory,
        })
    }

    /// From the command line. A configuration file may say otherwise, which the
    /// server's own words will tell. It works in `directory`.
    pub fn by_argv(argv: &Argv, directory: PathBuf) -> Self {
        let port = argv.value("ServerApp.port");
        let port = port.and_then(|port| port.parse().ok());
        let host = match argv.value("ServerApp.ip") {
            Some("*" | "") | None => "0.0.0.0",
            Some(ip) => ip,
        };
        let endpoints = match argv.value("ServerApp.sock") {
            Some(socket) if !socket.is_empty() => vec![Endpoint::Unix(socket.into())],
            _ => addresses(host, port.unwrap_or(DEFAULT_PORT)),
        };
        Self {
            endpoints,
            tls: argv.value("ServerApp.certfile").is_some(),
            base: argv.value("ServerApp.base_url").map(str::to_owned),
            directory,
        }
    }

    /// The probes worth trying, given what the server said.
    pub(super) fn targets(&self, told: &[Url]) -> Vec<Target> {
        let mut targets = Vec::new();
        let mut add = |endpoint: &Endpoint, tls, path| {
            let endpoint = match endpoint {
                Endpoint::Unix(path) => Endpoint::Unix(self.directory.join(path)),
                tcp => tcp.clone(),
            };
            let target = Target {
                endpoint,
                tls,
                path,
            };
            if !targets.contains(&target) {
                targets.push(target);
            }
        };
        // The last URL is the one of this machine; the first may name the address of
        // a server that listens on that alone.
        for url in told.iter().rev() {
            for path in self.paths(&url.path) {
                for endpoint in &url.endpoints {
                    add(endpoint, url.tls, path.clone());
                }
            }
        }
        for path in self.paths("/") {
            for endpoint in &self.endpoints {
                add(endpoint, self.tls, path.clone());
            }
        }
        targets
    }

    /// Where `api` may be: the URL that is told ends with the default page (`/lab`,
    /// `/lab/tree/start.ipynb`), and how much of it is that page nobody says.
    fn paths(&self, told: &str) -> Vec<String> {
        if let Some(base) = &self.base {
            return vec![format!("/{}/api", base.trim_matches('/')).replace("//", "/")];
        }
        let ends = told.match_indices('/').map(|(at, _)| at).take(MOST_LEVELS);
        let mut paths: Vec<String> = ends.map(|at| format!("{}/api", &told[..at])).collect();
        paths.push(format!("{}/api", told.trim_end_matches('/')));
        paths.dedup();
        paths
    }
}
