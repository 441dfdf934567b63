//! Why a data directory is not opened. A refusal has changed nothing on the disk.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a data directory is not opened, and what a person can do about it.
#[derive(Debug, Error)]
pub enum Refused {
    /// The path leads to something else.
    #[error("{path:?} is not a directory; name another data directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The directory cannot be made or written to.
    #[error("{path:?} is not writable ({source}); change its permissions, or name another data directory")]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The directory holds something, and it is not ours.
    #[error("{path:?} is not empty and no data directory of kvorum (it holds {found:?}); name another one")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// A name in it.
        found: String,
    },
    /// The store is there, but the file that tells whose it is has gone.
    #[error("{path:?} has lost its identity file; put it back, or move the directory away to start empty")]
    IdentityLost {
        /// The directory.
        path: PathBuf,
    },
    /// The file that tells whose store it is cannot be read.
    #[error("{path:?} is damaged: {reason}; put it back, or move the directory away to start empty")]
    IdentityDamaged {
        /// The identity file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store belongs to another cluster.
    #[error(
        "{path:?} belongs to cluster {stored:x}, not {asked:x}; name another data directory, or the configuration that it was made with"
    )]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        stored: u64,
        /// Whose it should be.
        asked: u64,
    },
    /// The store belongs to another replica.
    #[error(
        "{path:?} belongs to replica {stored:?}, not {asked:?}; name another data directory, or start {stored:?}"
    )]
    OtherReplica {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        stored: String,
        /// Whose it should be.
        asked: String,
    },
    /// A newer program wrote the store.
    #[error("{path:?} has format {found}, and this program knows only up to {known}; use a newer one")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// The format found.
        found: u64,
        /// The newest format that this program reads.
        known: u64,
    },
    /// Another process, or this one, has the store open.
    #[error("{path:?} is in use by process {holder}; stop it first, or name another data directory")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The id of the process, or `unknown`.
        holder: String,
    },
    /// The disk is too full to open the store, which writes a little.
    #[error("the disk of {path:?} is full; free some space and start again")]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("cannot open {path:?}: {source}; start again once the disk is well")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
}
