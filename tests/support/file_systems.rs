//! The kinds of file systems that notebooks may be on and that can be mounted here.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use super::tmpfs::{run, unmount};
use super::{UID, repeated};

/// A kind of file system, after the program or the kernel's module that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tmpfs,
    Ext4,
    Xfs,
    Btrfs,
    Overlay,
    FuseOverlayfs,
    Bindfs,
    Unionfs,
    Ntfs3g,
    Exfat,
}

/// With the calls that Docker's own volumes have.
pub const EXCHANGING: [Kind; 5] = [
    Kind::Ext4,
    Kind::Xfs,
    Kind::Btrfs,
    Kind::Overlay,
    Kind::FuseOverlayfs,
];

/// Without RENAME_EXCHANGE and RENAME_NOREPLACE, as NFS.
pub const LINKING: [Kind; 3] = [Kind::Bindfs, Kind::Unionfs, Kind::Ntfs3g];

impl Kind {
    /// Whether two files can be exchanged, so that no default is ever absent.
    pub fn exchanges(self) -> bool {
        self == Self::Tmpfs || EXCHANGING.contains(&self)
    }

    /// How many moments of an update a test goes on by: `few` in memory, every one with
    /// AI_LAB_LONG, fewer on the kinds that lack no more than others.
    pub fn step(self, few: usize) -> usize {
        match self {
            Self::Tmpfs => repeated(few, 1),
            Self::Bindfs | Self::Exfat => repeated(3 * few, 1),
            _ => 3 * few,
        }
    }

    /// Whether there are hard links, symbolic links, modes and a difference between `a` and `A`.
    pub fn is_unix(self) -> bool {
        self != Self::Exfat
    }

    /// Mounts one of the user's at `at`. What it is made of is in the directory `below`.
    pub fn mount(self, below: &Path, at: &Path) -> Mounted {
        let mounted = Mounted(at.to_owned());
        for dir in [below, at] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let made = |name: &str| {
            std::fs::create_dir_all(below.join(name)).unwrap();
            below.join(name).display().to_string()
        };
        let [files, layer, work] = ["files", "layer", "work"].map(made);
        let layers = format!("lowerdir={layer},upperdir={files},workdir={work}");
        let user = format!("uid={UID},gid={UID}");
        let image = |size: u64, make: &str, words: &[&str]| {
            let image = below.join("image");
            let file = std::fs::File::create(&image).unwrap();
            file.set_len(size << 20).unwrap();
            run(make, words, &image);
            image.display().to_string()
        };
        let mount = |options: &[&str]| run("mount", options, at);
        match self {
            Self::Tmpfs => mount(&["-t", "tmpfs", "ai-lab-test"]),
            Self::Ext4 => mount(&["-o", "loop", &image(16, "mkfs.ext4", &["-q", "-F"])]),
            Self::Xfs => mount(&["-o", "loop", &image(320, "mkfs.xfs", &["-q"])]),
            Self::Btrfs => mount(&["-o", "loop", &image(120, "mkfs.btrfs", &["-q"])]),
            Self::Overlay => mount(&["-t", "overlay", "-o", &layers, "ai-lab-test"]),
            Self::FuseOverlayfs => run("fuse-overlayfs", &["-o", &layers], at),
            Self::Bindfs => run("bindfs", &[&files], at),
            Self::Unionfs => {
                let branch = format!("{files}=RW");
                run("unionfs-fuse", &["-o", "cow,allow_other", &branch], at);
            }
            Self::Ntfs3g => {
                let image = image(16, "mkntfs", &["-F", "-Q", "-q"]);
                run("ntfs-3g", &["-o", "permissions", &image], at);
            }
            Self::Exfat => {
                let options = format!("loop,{user}");
                let image = image(16, "mkfs.exfat", &[]);
                mount(&["-t", "exfat-fuse", "-o", &options, &image]);
            }
        }
        if self.is_unix() {
            chown(at, Some(UID), Some(UID)).unwrap();
        }
        mounted
    }
}

/// A mounted file system, unmounted when it goes away.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}
