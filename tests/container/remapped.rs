//! An engine with userns-remap: root in its containers is an ordinary user of the machine.

use std::process::Command;

use crate::support::docker::{IMAGE, archive};

/// Prints a line of what the machine and the container say about each promise.
const SCRIPT: &str = r#"
docker load --quiet >/dev/null
docker run --detach --name lab --no-healthcheck --volume notebooks:/home/jupyter/notebooks \
    --volume /var/run/docker.sock:/var/run/docker.sock "$1" >/dev/null
timeout 240 sh -c 'until docker logs lab 2>&1 | grep -qF "] ready in "; do sleep 0.2; done' ||
    { docker logs lab; exit 1; }
echo "map: $(docker exec lab cat /proc/self/uid_map | xargs)"
pid=$(docker inspect --format '{{.State.Pid}}' lab)
echo "uid outside: $(sed -n 's/^Uid:\t\([0-9]*\).*/\1/p' "/proc/$pid/status")"
notebooks=$(docker volume inspect --format '{{.Mountpoint}}' notebooks)
echo "owners: $(find "$notebooks" -printf '%u\n' | sort -u | xargs)"
docker exec lab ai-lab-entrypoint healthcheck
docker exec --user jupyter lab docker ps >/dev/null 2>&1 || echo "no Docker"
docker stop --time 60 lab >/dev/null
echo "code: $(docker inspect --format '{{.State.ExitCode}}' lab)"
docker logs lab 2>&1

echo "== again"
docker run --rm --no-healthcheck --volume notebooks:/home/jupyter/notebooks "$1" true 2>&1

echo "== a directory of somebody who has no id there"
given=$(mktemp -d)
chmod 755 "$given"
chown 1234:1234 "$given"
docker run --rm --no-healthcheck --volume "$given:/home/jupyter/notebooks" "$1" true 2>&1
echo "its owner: $(stat --format %u "$given")"

echo "== a directory of the user's"
chown 101000:101000 "$given"
docker run --rm --no-healthcheck --volume "$given:/home/jupyter/notebooks" "$1" true 2>&1
rm -r "$given"
"#;

#[test]
fn with_userns_remap_all_works_but_the_sockets_group_and_unmapped_owners() {
    let engine = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/own-engine");
    let output = Command::new(engine)
        .args(["--remap", "sh", "-euc", SCRIPT, "sh", IMAGE])
        .stdin(archive())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let [start, again, others, own] = said
        .split("== ")
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| panic!("{said}"));
    for told in [
        "map: 0 100000 65536\nuid outside: 101000\nowners: 101000\nhealthy",
        "no Docker\ncode: 0\n",
        "No access is given to /var/run/docker.sock: its group has no number in this user namespace",
    ] {
        assert!(start.contains(told), "{told:?} is missing in {start}");
    }
    assert_eq!(start.matches("[W ").count(), 2, "{start}");
    assert!(
        again.contains("4 current") && !again.contains("[W "),
        "{again}"
    );
    assert!(
        others.contains("could not hand over to 1000:1000"),
        "{others}"
    );
    assert!(others.ends_with("its owner: 1234\n"), "{others}");
    assert!(own.contains("4 installed") && !own.contains("[W "), "{own}");
}
