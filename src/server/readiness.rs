//! Finds out when the server is ready: its log triggers the probe, and the probe decides.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use crate::server::probe::{Target, Url, probe};
use crate::server::targets::Expected;

/// How long one probe may take.
pub const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// How long a line that the server has already written to its log may take to reach us.
const LOG_LATENCY: Duration = Duration::from_millis(100);

/// After this time a server whose port is in use has ended. If ours still runs and there is an
/// answer, it is ours, even if its log has no URL (the log goes elsewhere or was lost).
const PORT_CONFLICT_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until the server answers, and returns the target that answered. If this takes longer than
/// `limit`, calls `late` once and goes on waiting.
pub async fn ready(
    expected: &Expected,
    told: watch::Receiver<Vec<Url>>,
    limit: Duration,
    late: impl FnOnce(),
) -> Target {
    let mut answering = pin!(answering(expected, told));
    match timeout(limit, &mut answering).await {
        Ok(target) => target,
        Err(_) => {
            late();
            answering.await
        }
    }
}

async fn answering(expected: &Expected, mut told: watch::Receiver<Vec<Url>>) -> Target {
    let began = Instant::now();
    let stranger = foreign_target(expected, &told).await;
    if let Some(stranger) = &stranger {
        warn!(
            "{stranger} answers before the server was started: another program has the port \
             (remedy: end that one, or choose another port with --port)"
        );
    }
    let mut wait = Duration::from_millis(500);
    let mut next = Instant::now() + wait;
    loop {
        let mut heard = false;
        tokio::select! {
            _ = told.changed() => heard = true,
            () = sleep_until(next) => {}
        }
        let urls = told.borrow_and_update().clone();
        if heard {
            // Jupyter logs its URLs some milliseconds before its socket accepts connections.
            for pause in [0, 2, 3, 5, 5, 5, 10, 10, 10, 20, 20, 50, 50, 100, 200] {
                sleep(Duration::from_millis(pause)).await;
                if let Some(target) = first_that_answers(expected, &urls).await {
                    return target;
                }
            }
        } else if (stranger.is_none()
            || !urls.is_empty()
            || began.elapsed() > PORT_CONFLICT_TIMEOUT)
            && let Some(target) = first_that_answers(expected, &urls).await
        {
            return target;
        }
        if Instant::now() >= next {
            wait = (wait * 2).min(Duration::from_secs(15));
            next = Instant::now() + wait;
        }
    }
}

/// Returns the target of another program that answers before our server can. Our server will log
/// that it listens, or that it cannot.
async fn foreign_target(expected: &Expected, told: &watch::Receiver<Vec<Url>>) -> Option<Target> {
    let stranger = first_that_answers(expected, &[]).await?;
    // On a busy machine this check may be late. Then our server has logged its URLs, and they
    // arrive soon. The clone leaves them marked as new for the caller.
    let mut told = told.clone();
    let heard = told.wait_for(|urls| !urls.is_empty());
    match timeout(LOG_LATENCY, heard).await {
        Ok(Ok(_)) => None,
        _ => Some(stranger),
    }
}

async fn first_that_answers(expected: &Expected, urls: &[Url]) -> Option<Target> {
    for target in expected.targets(urls) {
        if probe(&target, PROBE_LIMIT).await.is_ok() {
            return Some(target);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::server::log_reader::LogReader;

    fn argv(words: &[&str]) -> crate::server::argv::Argv {
        let plan = crate::server::argv::ArgvInput {
            hub: false,
            root_dir: None,
            default_url: None,
            ip: None,
            port: Some(1),
            certificate: None,
            base_url: None,
            as_root: false,
            configured: &|_| false,
            may_be_configured: &|_| false,
        };
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        crate::server::argv::merge(plan, &words, &[])
    }

    fn expected(words: &[&str]) -> Expected {
        Expected::by_argv(&argv(words), "/notebooks".into())
    }

    fn shown(targets: &[Target]) -> Vec<String> {
        targets.iter().map(Target::to_string).collect()
    }

    #[test]
    fn who_answers_at_once_is_a_stranger_unless_the_server_has_said_that_it_is_there() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = format!("--port={}", listener.local_addr().unwrap().port());
        let expected = expected(&["--ip=127.0.0.1", &port]);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                // Reads the whole request: unread bytes would cause a reset and cut off the answer.
                let _ = client.read(&mut [0; 4096]).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                client.write_all(answer).unwrap();
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (_words, told) = LogReader::new();
            assert!(foreign_target(&expected, &told).await.is_some());
            let (mut words, told) = LogReader::new();
            let says = async {
                // The line arrives while the server is probed.
                words.observe(b"Jupyter Server 2 is running at:\nhttp://host/lab\n");
            };
            let (found, ()) = tokio::join!(foreign_target(&expected, &told), says);
            assert_eq!(found, None);
        });
    }

    #[test]
    fn a_late_server_is_reported_in_time_whatever_it_says() {
        // The listener accepts no connection, so each probe runs until its limit.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let expected = expected(&["--ip=127.0.0.1", &format!("--port={port}")]);
        let (mut words, told) = LogReader::new();
        let says = format!("Jupyter Server 2 is running at:\nhttp://127.0.0.1:{port}/lab\n");
        words.observe(says.as_bytes());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (tell, late) = tokio::sync::oneshot::channel();
            let limit = Duration::from_millis(1);
            let ready = ready(&expected, told, limit, || tell.send(()).unwrap());
            tokio::select! {
                target = ready => panic!("{target}"),
                said = timeout(PROBE_LIMIT, late) => said.unwrap().unwrap(),
            }
        });
    }

    #[test]
    fn targets_follow_the_command_line_until_the_server_spoke() {
        for (words, targets) in [
            (
                &[][..],
                &["http://127.0.0.1:1/api", "http://[::1]:1/api"][..],
            ),
            (&["--ip=10.0.0.1", "--port=2"], &["http://10.0.0.1:2/api"]),
            (
                &["--ServerApp.base_url=/x/"],
                &["http://127.0.0.1:1/x/api", "http://[::1]:1/x/api"],
            ),
            (
                &["--ServerApp.base_url=//x//y/"],
                &["http://127.0.0.1:1/x//y/api", "http://[::1]:1/x//y/api"],
            ),
            (
                &["--ServerApp.base_url=/"],
                &["http://127.0.0.1:1/api", "http://[::1]:1/api"],
            ),
            (&["--certfile=/c", "--ip=::1"], &["https://[::1]:1/api"]),
            (&["--sock=/s"], &["http+unix://%2Fs/api"]),
            (&["--sock=s"], &["http+unix://%2Fnotebooks%2Fs/api"]),
        ] {
            assert_eq!(shown(&expected(words).targets(&[])), targets);
        }
        let hub = Expected::by_hub("http://0.0.0.0:8888/user/a/").unwrap();
        assert_eq!(
            shown(&hub.targets(&[])),
            [
                "http://127.0.0.1:8888/user/a/api",
                "http://[::1]:8888/user/a/api"
            ]
        );
    }

    #[test]
    fn what_the_server_says_comes_first() {
        let told = [
            Url::parse("http://host:9/x/lab").unwrap(),
            Url::parse("http://127.0.0.1:9/x/lab").unwrap(),
        ];
        let targets = expected(&["--ip=127.0.0.1"]).targets(&told);
        assert_eq!(
            shown(&targets)[..3],
            [
                "http://127.0.0.1:9/api",
                "http://127.0.0.1:9/x/api",
                "http://127.0.0.1:9/x/lab/api",
            ]
        );
    }
}
