//! Atomic registers, by name, without any leader.

use bytes::Bytes;

use super::{Client, Error};
use crate::proto::kvorum::v1::{self as pb, ReadRequest, WriteRequest};

/// An atomic register: every operation takes effect at one instant between its call and its return,
/// at a majority of the replicas. No leader is asked, and none is waited for.
///
/// ```no_run
/// # async fn example(client: kvorum::Client) -> Result<(), kvorum::client::Error> {
/// let mode = client.register("mode");
/// mode.write("maintenance").await?;
/// if let Some(written) = mode.read().await? {
///     println!("{} since {:?}", written.text().unwrap_or("?"), written.stamp);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Register {
    client: Client,
    name: String,
}

/// When a register was written: orders the writes of one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp {
    /// Greater than that of every write before.
    pub number: u64,
    /// Id of the member that wrote: orders writes at the same time.
    pub writer: u64,
}

/// What a register holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The value.
    pub value: Bytes,
    /// When it was written.
    pub stamp: Stamp,
}

impl Written {
    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.value).ok()
    }
}

impl Register {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// What it holds; nothing if it was never written.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// If no majority of the replicas can be reached in time.
    pub async fn read(&self) -> Result<Option<Written>, Error> {
        let reply = self.client.read(ReadRequest { name: self.name.clone() }).await?;
        let Some(value) = reply.value else { return Ok(None) };
        Ok(Some(Written { value, stamp: stamp(reply.stamp)? }))
    }

    /// Has it hold a value, 64 KiB at most unless the replicas are configured otherwise.
    ///
    /// A write whose answer is lost is not repeated, since others may have written meanwhile: the
    /// error has [`Fate::Unknown`](super::Fate::Unknown), and so has a call that is dropped.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` for a name that is new where there are as many registers as there may
    /// be; or if no majority of the replicas can be reached in time.
    pub async fn write(&self, value: impl Into<Bytes>) -> Result<Stamp, Error> {
        let request = WriteRequest { name: self.name.clone(), value: value.into() };
        stamp(self.client.once(request).await?.stamp)
    }
}

fn stamp(stamp: Option<pb::Stamp>) -> Result<Stamp, Error> {
    let pb::Stamp { number, writer } = stamp.ok_or(Error::Reply { missing: "the stamp of a register" })?;
    Ok(Stamp { number, writer })
}
