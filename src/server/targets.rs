//! The targets at which a server is probed.

use std::path::PathBuf;

use crate::server::argv::Argv;
use crate::server::probe::{Endpoint, Target, Url, addresses};

/// Jupyter's default port.
const DEFAULT_PORT: u16 = 8888;

/// Maximum number of proper prefixes of a logged URL's path that are tried as the base URL.
const MAX_PREFIXES: usize = 32;

/// The targets at which a server is expected before its log names a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    endpoints: Vec<Endpoint>,
    tls: bool,
    base: Option<String>,
    /// The server's working directory; the path of its socket may be relative to it.
    directory: PathBuf,
}

impl Expected {
    /// Creates it from `JUPYTERHUB_SERVICE_URL`, in which the hub decides everything.
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

    /// Creates it from the command line of a server that works in `directory`. A configuration file
    /// may set other values; the URLs in the server's log show them.
    pub fn by_argv(argv: &Argv, directory: PathBuf) -> Self {
        let value = |name| argv.value(name).or_else(|| argv.yielding_value(name));
        let port = value("ServerApp.port").and_then(|port| port.parse().ok());
        let host = match value("ServerApp.ip") {
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

    /// Returns the targets to probe, given the URLs in the server's log.
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
        // The last URL names this machine, so it comes first. The first one may name the only
        // address that the server listens on.
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

    /// Returns the paths at which `api` may be. The path of a logged URL ends with the default page
    /// (`/lab`, `/lab/tree/start.ipynb`), and the log does not say where that page begins.
    fn paths(&self, told: &str) -> Vec<String> {
        if let Some(base) = &self.base {
            // Jupyter keeps slashes that follow each other within it.
            let base = base.trim_matches('/');
            let slash = if base.is_empty() { "" } else { "/" };
            return vec![format!("{slash}{base}/api")];
        }
        let ends = told.match_indices('/').map(|(at, _)| at).take(MAX_PREFIXES);
        let mut paths: Vec<String> = ends.map(|at| format!("{}/api", &told[..at])).collect();
        paths.push(format!("{}/api", told.trim_end_matches('/')));
        paths.dedup();
        paths
    }
}
