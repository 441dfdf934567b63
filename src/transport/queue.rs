//! What waits to be sent to one peer.
//!
//! Frames of the window leave in order and are dropped when it is full, or while no stream is
//! open: the link is fair-lossy, and whoever needs more sends again. Cumulative frames have a slot
//! of their own per component and kind, where the newest replaces the one that waits. Slots are
//! sent first, so an acknowledgement never stands behind a full window.

use crate::kernel::{Bounds, Frame, Slot};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio_stream::Stream;

/// Bounds: `bounds.peer_frames` and `bounds.peer_bytes` in the window, and one frame in each slot.
#[derive(Debug)]
pub(super) struct Queue {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Which stream may take frames; 0 is none. A stream that was replaced takes no more.
    stream: u64,
    opened: u64,
    newest: BTreeMap<(u8, u8), Frame>,
    window: VecDeque<Frame>,
    bytes: usize,
    waker: Option<Waker>,
}

impl Queue {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame; returns how many frames were dropped for it, itself included.
    pub fn push(&self, frame: Frame) -> u64 {
        let mut state = self.lock();
        let dropped = match frame.slot() {
            Slot::Newest => u64::from(state.newest.insert(frame.tag(), frame).is_some()),
            Slot::Window => {
                let size = frame.bytes().len();
                let full = state.window.len() >= self.bounds.peer_frames
                    || !state.window.is_empty() && state.bytes + size > self.bounds.peer_bytes;
                if state.stream == 0 || full {
                    return 1;
                }
                state.bytes += size;
                state.window.push_back(frame);
                0
            }
        };
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        dropped
    }

    /// Frames for a new stream, which takes the place of any before it.
    pub fn open(self: &Arc<Self>) -> Frames {
        let mut state = self.lock();
        state.opened += 1;
        state.stream = state.opened;
        Frames { queue: self.clone(), stream: state.opened }
    }

    fn close(&self, stream: u64) {
        let mut state = self.lock();
        if state.stream == stream {
            state.stream = 0;
            state.window.clear();
            state.bytes = 0;
        }
    }

    /// Frames and bytes in the window now.
    #[cfg(test)]
    pub fn window(&self) -> (usize, usize) {
        let state = self.lock();
        (state.window.len(), state.bytes)
    }
}

impl State {
    fn pop(&mut self) -> Option<Frame> {
        if let Some((_, frame)) = self.newest.pop_first() {
            return Some(frame);
        }
        let frame = self.window.pop_front()?;
        self.bytes -= frame.bytes().len();
        Some(frame)
    }
}

/// The frames that one stream sends, as they come up. Dropping it closes the window.
#[derive(Debug)]
pub(super) struct Frames {
    queue: Arc<Queue>,
    stream: u64,
}

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut state = self.queue.lock();
        if state.stream != self.stream {
            return Poll::Ready(None);
        }
        match state.pop() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.queue.close(self.stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Component, Message};
    use serde::{Deserialize, Serialize};
    use tokio_stream::StreamExt;

    const BOUNDS: Bounds = Bounds { peer_frames: 5, peer_bytes: 1000, ..Bounds::DEFAULT };

    #[derive(Serialize, Deserialize)]
    struct Note {
        kind: u8,
        newest: bool,
        body: Vec<u8>,
    }

    impl Message for Note {
        const COMPONENT: Component = Component::Consensus;
        fn kind(&self) -> u8 {
            self.kind
        }
        fn slot(&self) -> Slot {
            if self.newest { Slot::Newest } else { Slot::Window }
        }
    }

    fn window(kind: u8) -> Frame {
        Frame::seal(&Note { kind, newest: false, body: vec![] })
    }

    fn newest(kind: u8, value: u8) -> Frame {
        Frame::seal(&Note { kind, newest: true, body: vec![value] })
    }

    async fn drain(frames: &mut Frames) -> Vec<Frame> {
        let mut all = Vec::new();
        while let Ok(Some(frame)) =
            tokio::time::timeout(std::time::Duration::from_millis(10), frames.next()).await
        {
            all.push(frame);
        }
        all
    }

    #[tokio::test]
    async fn the_newest_of_a_kind_is_sent_before_the_window() {
        let queue = Arc::new(Queue::new(BOUNDS));
        let mut frames = queue.open();
        assert_eq!(queue.push(window(1)), 0);
        assert_eq!(queue.push(window(2)), 0);
        assert_eq!(queue.push(newest(9, 1)), 0);
        assert_eq!(queue.push(newest(9, 2)), 1, "the older one is dropped");
        assert_eq!(queue.push(newest(8, 3)), 0);
        assert_eq!(drain(&mut frames).await, [newest(8, 3), newest(9, 2), window(1), window(2)]);
    }

    #[tokio::test]
    async fn a_full_window_drops_the_frame_and_still_takes_acknowledgements() {
        let queue = Arc::new(Queue::new(BOUNDS));
        let mut frames = queue.open();
        for _ in 0..BOUNDS.peer_frames {
            assert_eq!(queue.push(window(1)), 0);
        }
        assert_eq!(queue.push(window(2)), 1);
        assert_eq!(queue.push(newest(9, 1)), 0);
        assert_eq!(frames.next().await, Some(newest(9, 1)));
        assert_eq!(frames.next().await, Some(window(1)));
        assert_eq!(queue.push(window(2)), 0, "room again");
    }

    #[tokio::test]
    async fn the_window_is_bounded_in_bytes_but_one_large_frame_passes() {
        let queue = Arc::new(Queue::new(BOUNDS));
        let mut frames = queue.open();
        let large = || Frame::seal(&Note { kind: 1, newest: false, body: vec![0; BOUNDS.peer_bytes + 1] });
        assert_eq!(queue.push(large()), 0);
        assert_eq!(queue.push(window(1)), 1);
        assert!(frames.next().await.is_some());
        assert_eq!(queue.window(), (0, 0));
    }

    #[tokio::test]
    async fn without_a_stream_only_the_newest_wait() {
        let queue = Arc::new(Queue::new(BOUNDS));
        assert_eq!(queue.push(window(1)), 1);
        assert_eq!(queue.push(newest(9, 1)), 0);
        assert_eq!(drain(&mut queue.open()).await, [newest(9, 1)]);
        // A stream that was replaced sends nothing, and closes nothing when it goes.
        let mut old = queue.open();
        let mut new = queue.open();
        assert_eq!(queue.push(window(2)), 0);
        assert_eq!(old.next().await, None);
        drop(old);
        assert_eq!(drain(&mut new).await, [window(2)]);
    }
}
