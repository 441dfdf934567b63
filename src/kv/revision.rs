//! Revisions and ranges of keys.

use crate::kernel::RowKey;
use bytes::Bytes;
use std::ops::Bound;

/// Names one change: the revision of the transaction that made it, and its number within.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Revision {
    /// The revision, as clients see it; it never repeats and never goes back.
    pub main: i64,
    /// The number of the change within the revision, from 0.
    pub sub: u32,
}

impl Revision {
    /// Before every change.
    pub(super) const ZERO: Revision = Revision { main: 0, sub: 0 };

    /// The last place of a revision.
    pub(super) fn end_of(main: i64) -> Self {
        Revision { main, sub: u32::MAX }
    }

    /// The last place before this one.
    pub(super) fn before(self) -> Self {
        match self.sub.checked_sub(1) {
            Some(sub) => Revision { sub, ..self },
            None => Revision::end_of(self.main - 1),
        }
    }

    /// The place of the row that begins with this change.
    pub(super) fn row_key(self, generation: u32) -> RowKey {
        RowKey { generation, main: self.main.cast_unsigned(), sub: self.sub }
    }

    /// The change that a row begins with.
    pub(super) fn of_row(key: RowKey) -> Self {
        Revision { main: key.main.cast_signed(), sub: key.sub }
    }
}

/// A range of keys, after etcd's conventions for `key` and `range_end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum KeyRange<'a> {
    /// One key.
    One(&'a [u8]),
    /// From a key on, before another.
    Between(&'a [u8], &'a [u8]),
    /// From a key on.
    From(&'a [u8]),
}

/// Where a range begins and ends.
type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl<'a> KeyRange<'a> {
    /// An empty `range_end` means the one key, `\0` every key from `key` on.
    pub(super) fn new(key: &'a Bytes, range_end: &'a Bytes) -> Self {
        match &range_end[..] {
            [] => KeyRange::One(key),
            [0] => KeyRange::From(key),
            end => KeyRange::Between(key, end),
        }
    }

    /// The bounds to look between, or nothing when the range holds no key.
    pub(super) fn bounds(self) -> Option<Bounds<'a>> {
        match self {
            KeyRange::One(key) => Some((Bound::Included(key), Bound::Included(key))),
            KeyRange::Between(key, end) if key < end => Some((Bound::Included(key), Bound::Excluded(end))),
            KeyRange::Between(..) => None,
            KeyRange::From(key) => Some((Bound::Included(key), Bound::Unbounded)),
        }
    }

    /// The least key that could be in the range.
    pub(super) fn start(self) -> &'a [u8] {
        match self {
            KeyRange::One(key) | KeyRange::Between(key, _) | KeyRange::From(key) => key,
        }
    }

    /// Whether a key that is not below the start is in the range.
    pub(super) fn reaches(self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => key == one,
            KeyRange::Between(_, end) => key < end,
            KeyRange::From(_) => true,
        }
    }

    /// Whether every key there is lies in the range: no key is empty.
    pub(super) fn is_everything(self) -> bool {
        matches!(self, KeyRange::From([] | [0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range<'a>(key: &'a Bytes, end: &'a Bytes) -> KeyRange<'a> {
        KeyRange::new(key, end)
    }

    #[test]
    fn the_conventions_of_range_end() {
        let (a, c, empty, zero) = ("a".into(), "c".into(), Bytes::new(), Bytes::from_static(b"\0"));
        assert_eq!(range(&a, &empty), KeyRange::One(b"a"));
        assert_eq!(range(&a, &c), KeyRange::Between(b"a", b"c"));
        assert_eq!(range(&a, &zero), KeyRange::From(b"a"));
        assert!(range(&zero, &zero).is_everything());
        assert_eq!(range(&c, &a).bounds(), None, "an inverted range is empty");
        assert_eq!(range(&a, &a).bounds(), None);
    }
}
