//! Reads rows of state off the core.

use super::codec::{self, Place};
use super::sled_disk::Store;
use super::store::{self, Scan};
use crate::kernel::{DiskError, Row, RowKey, Rows};
use bytes::Bytes;
use std::sync::Arc;

/// The rows of an open store. It blocks: not on an async task.
pub struct SledRows(pub Arc<Store>);

impl Rows for SledRows {
    fn row(&self, key: RowKey) -> Result<Option<Bytes>, DiskError> {
        Ok(self.0.with(|sled| sled.blob(&Place::Row(key)))?.map(Bytes::from))
    }

    fn scan(&self, from: RowKey, end: u64, max_bytes: usize) -> Result<Vec<Row>, DiskError> {
        let start = Place::Row(from).base();
        let to = Place::Row(RowKey { main: end, sub: 0, ..from }).base();
        let mut rows: Vec<(RowKey, u32, Vec<u8>)> = Vec::new();
        let mut size = 0;
        if start >= to {
            return Ok(Vec::new());
        }
        self.0.with(|sled| {
            sled.scan(&start, Some(&to), |key, value| {
                let Some((Place::Row(row), chunk)) = Place::parse(key) else {
                    return Err(DiskError::Damaged(format!("key {} is no row", codec::Hex(key))));
                };
                if chunk == 0 && size > max_bytes {
                    return Ok(Scan::Enough);
                }
                let (total, data) = codec::unseal(key, value).map_err(store::damaged)?;
                size += data.len();
                match rows.last_mut() {
                    Some((last, _, blob)) if *last == row => blob.extend(data),
                    _ => rows.push((row, total, data.to_vec())),
                }
                Ok(Scan::More)
            })
        })?;
        if let Some((key, ..)) = rows.iter().find(|(_, total, blob)| blob.len() != *total as usize) {
            return Err(DiskError::Damaged(format!("a chunk of {key:?} is gone")));
        }
        Ok(rows.into_iter().map(|(key, _, blob)| (key, blob.into())).collect())
    }
}
