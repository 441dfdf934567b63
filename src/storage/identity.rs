//! Whose data directory it is: the cluster, the process, the disk, and the configuration given at
//! the first boot, so that a restart needs only the name and the directory.
//!
//! `identity` is a text file for people to read, with JSON in it.

use super::files;
use super::place::{FileId, Place};
use super::steps::Steps;
use super::text::{self, Unreadable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::Path;

/// What a replica is told when its data directory is made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Configuration {
    /// The cluster.
    pub cluster_id: u64,
    /// The token that the cluster was founded with.
    pub token: String,
    /// The name of this process.
    pub name: String,
    /// Its position in `members`.
    pub index: u8,
    /// All members at the beginning, sorted by name.
    pub members: Vec<Member>,
    /// Where clients reach this process.
    pub client_urls: Vec<String>,
    /// Anything else that a restart should not have to repeat.
    pub settings: BTreeMap<String, String>,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// The content of an identity file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    /// Made at random with the store, never 0: a store that is set aside takes it along.
    pub disk_id: u64,
    /// The disk id of the store that was set aside as damaged before this one was made. Such a
    /// disk has forgotten what it promised: whoever has it is a learner.
    pub replaces: Option<u64>,
    /// Where the directory lies. Nothing in one that was made before this was known.
    #[serde(default)]
    pub place: Option<Place>,
    /// The configuration of the first boot.
    #[serde(flatten)]
    pub configuration: Configuration,
}

const TITLE: &str = "kvorum data directory";

impl Identity {
    /// A new identity, with a disk id of its own.
    pub fn new(configuration: Configuration, replaces: Option<u64>) -> Self {
        let disk_id = std::iter::repeat_with(|| fastrand::u64(1..)).find(|id| Some(*id) != replaces);
        let disk_id = disk_id.expect("random numbers differ in the end");
        Self { disk_id, replaces, place: None, configuration }
    }

    /// The text of the file.
    pub fn encode(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("an identity has string keys only");
        text::seal(TITLE, &json)
    }

    /// Reads the text of the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let json = text::open(TITLE, bytes)?;
        let identity: Identity =
            serde_json::from_str(json).map_err(|e| Unreadable::Damaged(e.to_string()))?;
        if identity.disk_id == 0 {
            return Err(Unreadable::Damaged("its disk id is 0".into()));
        }
        Ok(identity)
    }

    /// Makes it the identity of a directory that has its witness, at once and durably: with the place
    /// of its own file in it, which stays when the file gets its name.
    pub fn write(mut self, dir: &Path, steps: &Steps) -> io::Result<Self> {
        let witness = FileId::of(&std::fs::metadata(dir.join("witness"))?);
        let content = |own: &Metadata| {
            self.place = Some(Place { identity: FileId::of(own), witness });
            self.encode()
        };
        files::replace_with(&dir.join("identity"), content, steps)?;
        Ok(self)
    }

    /// Reads the file; `None` when there is none.
    pub fn read(path: &Path) -> io::Result<Option<Result<Self, Unreadable>>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(Self::decode(&bytes))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let members = ["a", "b"]
            .map(|name| Member { name: name.into(), peer_urls: vec![format!("http://{name}:2380")] });
        let configuration = Configuration {
            cluster_id: u64::MAX,
            token: "crc32 or not".into(),
            name: "a".into(),
            index: 0,
            members: members.to_vec(),
            client_urls: vec!["http://a:2379".into()],
            settings: BTreeMap::from([("quota".into(), "2G".into())]),
        };
        Identity::new(configuration, Some(9))
    }

    #[test]
    fn what_was_written_is_read_again() {
        let identity = identity();
        assert_eq!(Identity::decode(identity.encode().as_bytes()), Ok(identity));
    }
}
