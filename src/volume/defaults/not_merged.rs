//! Why a notebook is not merged.

use rustix::io::Errno;

use crate::degradation::Degradation;
use crate::notebook::NotANotebook;
use crate::notebook::merge::MergeError;
use crate::volume::VolumeError;

/// Why a notebook is not merged. The person's file is as it was.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each is documented by its message
pub enum NotMerged {
    #[error("it is not a default of this image")]
    NotADefault,
    #[error(
        "only notebooks (.ipynb) can be merged: `notebooks diff` shows the difference, and \
         `notebooks restore` brings the new version"
    )]
    NotANotebook,
    #[error("it is not there: `notebooks restore` brings it back")]
    Missing,
    /// Something else than a regular file is there, or in the way to it.
    #[error("it is not a regular file")]
    NotAFile,
    #[error(
        "you have not changed it: the next start or `notebooks restore` brings the new version"
    )]
    Unchanged,
    #[error("there is no newer version of it")]
    NotNewer,
    #[error("this image is older than the one that installed it: start the newer image")]
    Older,
    #[error(
        "the version that you changed is not recorded (an earlier release installed it): see \
         `notebooks diff` and copy what you need, or take the new version with `notebooks \
         restore`, which keeps yours"
    )]
    BaseUnknown,
    /// One of the two is no notebook, or has open conflicts.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Somebody saved the file meanwhile, or a start updated it.
    #[error("it was changed meanwhile: merge it once more")]
    ChangedMeanwhile,
    #[error("{}; see the directory, its owner and its free space", std::io::Error::from(*.0))]
    Refused(Errno),
    /// The person's file could not be put back.
    #[error("yours is now {}", crate::volume::shown(.0))]
    Displaced(Vec<u8>),
    /// No record can be kept in the volume.
    #[error("{0}")]
    NoRecord(Degradation),
    /// The defaults or the volume cannot be opened.
    #[error(transparent)]
    Volume(#[from] VolumeError),
}

impl From<Errno> for NotMerged {
    fn from(error: Errno) -> Self {
        match error {
            Errno::INVAL | Errno::LOOP | Errno::NOTDIR => Self::NotAFile,
            Errno::NOENT => Self::Missing,
            Errno::FBIG => MergeError::Mine(NotANotebook::TooLong).into(),
            error => Self::Refused(error),
        }
    }
}
