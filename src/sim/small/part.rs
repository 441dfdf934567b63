//! Part of a state, which states share, with its digest.

use super::digest;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

/// Part of a state. Its digest is taken when it is first asked for.
#[derive(Clone, Debug)]
pub(super) struct Part<T> {
    part: Arc<T>,
    digest: Option<u128>,
}

impl<T: Clone + Debug> Part<T> {
    pub(super) fn new(part: T) -> Self {
        Self { part: Arc::new(part), digest: None }
    }

    /// To change it; a copy of its own, if it is shared.
    pub(super) fn change(&mut self) -> &mut T {
        self.digest = None;
        Arc::make_mut(&mut self.part)
    }

    /// By which it is told from others.
    pub(super) fn digest(&mut self) -> u128 {
        *self.digest.get_or_insert_with(|| digest::of_shown(&self.part))
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.part
    }
}
