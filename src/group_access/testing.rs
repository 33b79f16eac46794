//! A directory ETC and a Docker socket, for the tests of this room.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::group_access::group_file;
use crate::group_access::{Access, grant_access};
use crate::identity::{Account, Root};
use crate::settings::Docker;
use crate::sys::effects::Effects;

pub const GROUPS: &str = "root:x:0:\nshadow:x:42:\ntaken:x:700:ann\n";

/// A directory ETC and a Docker socket. Each start reads the account's groups again, as `resolve`
/// would.
pub struct World {
    pub dir: tempfile::TempDir,
    pub user: &'static str,
}

impl World {
    pub fn new(groups: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = Self { dir, user: "bob" };
        fs::create_dir(world.path("etc")).unwrap();
        fs::write(world.path("etc/group"), groups).unwrap();
        fs::write(world.path("etc/gshadow"), "shadow:*::\ntaken:!:adm:ann\n").unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Makes the socket anew, with this gid and mode.
    pub fn socket(&self, gid: u32, mode: u32) -> &Self {
        let path = self.path("docker.sock");
        let _ = fs::remove_file(&path);
        UnixListener::bind(&path).unwrap();
        chown(&path, Some(0), Some(gid)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub fn account(&self) -> Account {
        let text = fs::read(self.path("etc/group")).unwrap_or_default();
        let mine = group_file::entries(&text).filter(|entry| entry.has(self.user));
        Account {
            name: self.user.into(),
            uid: 1000,
            gid: 1000,
            home: "/".into(),
            shell: "/bin/sh".into(),
            groups: mine.map(|entry| entry.gid).collect(),
            in_passwd: true,
        }
    }

    pub fn docker(&self) -> Docker {
        Docker {
            socket: self.path("docker.sock"),
            grant_access: Vec::new(),
            group: "docker".into(),
        }
    }

    pub fn start(&self) -> Access {
        self.grant(&self.account(), &self.docker())
    }

    pub fn grant(&self, account: &Account, docker: &Docker) -> Access {
        let (root, etc) = (Root::for_tests(), self.path("etc"));
        grant_access(&root, account, docker, &etc, Effects::Make)
    }
}

pub fn causes(access: &Access) -> String {
    let causes = access.degradations.iter().map(|d| d.cause.as_str());
    causes.collect::<Vec<_>>().join("\n")
}
