//! What the streams of one peer share, and whom to believe.
//!
//! **Who calls is called back.** Until there is TLS, a name proves nothing, and the configuration says
//! where each name is. So whoever dials is heard only once it has named a number that was told at that
//! address, and nowhere else:
//!
//! ```text
//! A ── hello, "name 7 to me" ──► B's address             whoever is there knows the 7
//! A ◄────────── hello, "it is 7", frames ── B's stream   who else says that it is B does not
//! ```

use super::hello::Identity;
use super::live::{Live, any_answers};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Streams of a peer that have proved nothing yet: the youngest of them stay.
const UNPROVEN: usize = 2;

/// What is known of a peer.
pub(super) struct Known {
    pub connected: AtomicBool,
    /// Told when the peer dialed here: it is up, so dialing it is worth a try at once.
    pub up: Notify,
    /// What the peer names as proof: told at its address.
    pub number: u64,
    /// What this replica names to the peer: as a stream that proved itself told it, and as the last one
    /// did, which may be a stranger's. 0 is none.
    pub told: watch::Sender<[u64; 2]>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    identity: Option<Identity>,
    /// The last reason for which a hello of one of us was refused: logged once.
    refusal: Option<String>,
    /// The stream that it dialed and proved. An older one is a leftover of a connection that it has
    /// given up.
    accepted: Option<Live>,
    unproven: Vec<Live>,
    /// The stream that was dialed to it.
    dialed: Option<Live>,
}

impl Known {
    pub fn new() -> Self {
        Self {
            connected: AtomicBool::new(false),
            up: Notify::new(),
            number: fastrand::u64(1..),
            told: watch::Sender::new([0; 2]),
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn identity(&self) -> Option<Identity> {
        self.lock().identity.clone()
    }

    /// Whether another process of this name than the one of `life` is alive.
    pub async fn has_twin_of(&self, life: u64) -> bool {
        let others = {
            let inner = self.lock();
            let open = inner.accepted.iter().chain(&inner.dialed);
            open.filter(|live| live.life != life).cloned().collect::<Vec<_>>()
        };
        !others.is_empty() && any_answers(others).await
    }

    /// It dialed here, and says where it wants to be named what.
    pub fn hailed(&self, live: &Live, call: u64) {
        let mut inner = self.lock();
        inner.unproven.push(live.clone());
        if inner.unproven.len() > UNPROVEN {
            inner.unproven.remove(0).end();
        }
        drop(inner);
        self.told.send_modify(|told| told[1] = call);
        self.up.notify_one();
    }

    /// The stream proved itself: it takes the place of the one before.
    pub fn proved(&self, live: &Live, identity: &Identity, call: u64) {
        let mut inner = self.lock();
        inner.unproven.retain(|other| other.id != live.id);
        if let Some(before) = inner.accepted.replace(live.clone()) {
            before.end();
        }
        inner.greeted(identity);
        drop(inner);
        self.told.send_modify(|told| *told = [call; 2]);
    }

    /// The stream that was dialed to it is open.
    pub fn opened(&self, live: &Live, identity: &Identity) {
        let mut inner = self.lock();
        if let Some(before) = inner.dialed.replace(live.clone()) {
            before.end();
        }
        inner.greeted(identity);
        drop(inner);
        self.connected.store(true, Ordering::Relaxed);
    }

    /// The stream is over.
    pub fn over(&self, live: &Live) {
        let mut inner = self.lock();
        inner.unproven.retain(|other| other.id != live.id);
        if inner.accepted.as_ref().is_some_and(|other| other.id == live.id) {
            inner.accepted = None;
        }
        if inner.dialed.as_ref().is_some_and(|other| other.id == live.id) {
            inner.dialed = None;
            self.connected.store(false, Ordering::Relaxed);
        }
    }

    /// Whether this reason is news.
    pub fn refused(&self, reason: &str) -> bool {
        let mut inner = self.lock();
        let news = inner.refusal.as_deref() != Some(reason);
        inner.refusal = Some(reason.to_owned());
        news
    }
}

impl Inner {
    fn greeted(&mut self, identity: &Identity) {
        self.identity = Some(identity.clone());
        self.refusal = None;
    }
}
