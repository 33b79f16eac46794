//! Opens the image's defaults and the volume, and lists what the image offers.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::settings::{DeletedNotebooks, UpdateNotebooks};
use crate::volume::VolumeError;
use crate::volume::defaults::atomic::Fault;
use crate::volume::defaults::source;
use crate::volume::defaults::source::Offers;
use crate::volume::tree;
use crate::volume::tree::{Inode, Tree};

/// The defaults, and the settings for bringing them in.
#[derive(Debug, Clone)]
pub struct Defaults {
    /// Directory of the defaults in the image.
    pub source: PathBuf,
    /// The notebooks volume.
    pub volume: PathBuf,
    /// AI_LAB_VERSION; `None` if it is not set or not UTF-8.
    pub image_version: Option<String>,
    /// Which files a newer image replaces.
    pub update: UpdateNotebooks,
    /// Controls whether deleted defaults come back.
    pub deleted: DeletedNotebooks,
    /// Mode bits of a file; directories and executables get x where it has r.
    pub mode: u32,
}

/// The image's defaults and the volume.
pub(super) struct Opened {
    pub source: Tree,
    pub volume: Tree,
    pub offers: Offers,
}

/// Opens both directories and lists what the image offers for the volume.
pub(super) fn open(defaults: &Defaults, stop: &dyn Fn() -> bool) -> Result<Opened, VolumeError> {
    let (source, volume) = open_both(defaults)?;
    let offers = offers(defaults, &source, Some(inode(defaults, &volume)?), stop)?;
    Ok(Opened {
        source,
        volume,
        offers,
    })
}

/// Opens both directories.
pub(super) fn open_both(defaults: &Defaults) -> Result<(Tree, Tree), VolumeError> {
    let source = open_source(defaults)?;
    let volume = tree::open_top(&defaults.volume).map_err(|error| volume_error(defaults, error))?;
    let mut volume = Tree::new(volume);
    volume.set_dir_mode(tree::with_x(defaults.mode));
    Ok((source, volume))
}

/// Opens the directory of the defaults.
pub(super) fn open_source(defaults: &Defaults) -> Result<Tree, VolumeError> {
    match tree::open_top(&version_of(&defaults.source)) {
        Ok(source) => Ok(Tree::new(source)),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            Err(VolumeError::SourceMissing(defaults.source.clone()))
        }
        Err(error) => Err(source_error(defaults, error)),
    }
}

/// Returns the directory with the files themselves. Kubernetes mounts a ConfigMap as links to files in
/// the directory of its version, which `..data` names. In the volume, such links would lead to
/// another file at each version, away from what a person saved through them.
fn version_of(source: &Path) -> PathBuf {
    let version = fs::read_link(source.join("..data")).ok();
    let version = version.filter(|name| {
        let name = name.as_os_str().as_bytes();
        name.len() > 2 && name.starts_with(b"..") && !name.contains(&b'/')
    });
    version.map_or(source.to_owned(), |version| source.join(version))
}

/// Lists what the image offers, without a volume with this top that lies in the defaults. There is
/// nothing if the defaults are the volume.
pub(super) fn offers(
    defaults: &Defaults,
    source: &Tree,
    volume: Option<Inode>,
    stop: &dyn Fn() -> bool,
) -> Result<Offers, VolumeError> {
    let top = tree::stat_fd(source.top()).map_err(|error| source_error(defaults, error))?;
    if Some(top.inode) == volume {
        return Ok(Offers::default());
    }
    source::image(source, volume, stop).map_err(|fault| match fault {
        Fault::Stopped => VolumeError::Stopped,
        fault => source_error(defaults, fault.errno()),
    })
}

/// Returns the inode of the volume's top.
pub(super) fn inode(defaults: &Defaults, volume: &Tree) -> Result<Inode, VolumeError> {
    let stat = tree::stat_fd(volume.top());
    Ok(stat.map_err(|error| volume_error(defaults, error))?.inode)
}

fn source_error(defaults: &Defaults, error: Errno) -> VolumeError {
    VolumeError::Source {
        directory: defaults.source.clone(),
        source: error.into(),
    }
}

fn volume_error(defaults: &Defaults, error: Errno) -> VolumeError {
    VolumeError::open(&defaults.volume, &defaults.volume, error)
}
