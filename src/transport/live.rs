//! The streams of one peer, and how a twin is told from a restart.
//!
//! A peer is one process at a time. A second one of its name may be the same replica after a restart,
//! or a twin: a copy of its directory that runs beside it. Only the first of the two can tell: a process
//! that is gone answers no question that was put after the other one came.
//!
//! ```text
//! restart   old stream: its end is heard, or nothing for PATIENCE ──── the new one takes its place
//! twin      old stream: ping ─ pong ───────────────────────────────── the new one is refused
//! ```

use crate::proto::peer::{Envelope, envelope::Body};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long a live process may take to answer. A restart is held up for no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// What waits to be said on a stream beside its frames.
const WORDS: usize = 16;

/// What is to be said on a stream beside its frames.
pub(super) fn words() -> (Sender<Body>, Receiver<Body>) {
    mpsc::channel(WORDS)
}

/// One end of an open stream, as seen from beside it.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// Tells streams apart.
    pub id: u64,
    /// Of the process at the other end.
    pub life: u64,
    words: Sender<Body>,
    pong: Arc<watch::Sender<u64>>,
    end: Arc<Notify>,
}

impl Live {
    /// A stream to a process, on which these words are said.
    pub fn new(life: u64, words: Sender<Body>) -> Self {
        Self { id: fastrand::u64(1..), life, words, pong: Arc::default(), end: Arc::default() }
    }

    /// Says something beside the frames. Nobody waits for a stream that does not move.
    pub fn say(&self, word: Body) {
        let _ = self.words.try_send(word);
    }

    /// The other end said something beside its frames.
    pub fn upon(&self, word: &Body) {
        match word {
            Body::Ping(number) => self.say(Body::Pong(*number)),
            Body::Pong(number) => {
                self.pong.send_replace(*number);
            }
            Body::Hello(_) | Body::Refused(_) | Body::Frame(_) | Body::Proof(_) => {}
        }
    }

    /// Ends the stream, from beside it.
    pub fn end(&self) {
        self.end.notify_one();
    }

    /// Waits until somebody ends it.
    pub async fn ended(&self) {
        self.end.notified().await;
    }

    /// Whether the process at the other end answers now.
    async fn answers(&self) -> bool {
        let number = fastrand::u64(1..);
        let mut pong = self.pong.subscribe();
        self.say(Body::Ping(number));
        let answered = async {
            tokio::select! {
                heard = pong.wait_for(|heard| *heard == number) => heard.is_ok(),
                () = self.words.closed() => false,
            }
        };
        timeout(PATIENCE, answered).await.unwrap_or(false)
    }
}

/// Whether somebody answers on one of these streams. If nobody does they end.
pub(super) async fn any_answers(streams: Vec<Live>) -> bool {
    let mut asked: Vec<_> =
        streams.iter().cloned().map(|live| tokio::spawn(async move { live.answers().await })).collect();
    let mut any = false;
    for answer in &mut asked {
        any |= !any && answer.await.unwrap_or(false);
    }
    asked.iter().for_each(|answer| answer.abort());
    if !any {
        streams.iter().for_each(Live::end);
    }
    any
}

/// What is said, as it goes over the wire.
pub(super) fn envelope(word: Body) -> Envelope {
    Envelope { body: Some(word) }
}
