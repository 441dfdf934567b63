//! Builds a history while clients run.

use super::operation::{Call, Operation, Outcome};

/// Collects operations as they begin and end. It has no clock: the caller passes the time, from
/// one clock for all clients that never goes back, so that "ended before it began" means what it
/// says.
///
/// An operation that is never completed stays of unknown fate, which is what a client that
/// crashed leaves behind.
#[derive(Debug)]
pub struct Recorder {
    operations: Vec<Operation>,
    capacity: usize,
}

/// Names an operation that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(usize);

/// The recorder holds as many operations as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the history is full with {0} operations: verify it, and begin another")]
pub struct Full(pub usize);

impl Recorder {
    /// An empty history of at most `capacity` operations.
    pub fn new(capacity: usize) -> Recorder {
        Recorder { operations: Vec::new(), capacity }
    }

    /// A client sends a request. Call it before the request leaves.
    pub fn invoke(&mut self, client: u64, call: Call, now_ns: u64) -> Result<Handle, Full> {
        if self.operations.len() >= self.capacity {
            return Err(Full(self.capacity));
        }
        let handle = Handle(self.operations.len());
        self.operations.push(Operation {
            client,
            call,
            start_ns: now_ns,
            end_ns: None,
            outcome: Outcome::Unknown,
        });
        Ok(handle)
    }

    /// The client has its answer, or gives up. Call it after the answer came.
    ///
    /// # Panics
    /// If the operation was completed before, if the reply is not of the call's kind, or if time
    /// went back: such a history would prove nothing.
    pub fn complete(&mut self, handle: Handle, outcome: Outcome, now_ns: u64) {
        let operation = &mut self.operations[handle.0];
        assert!(operation.end_ns.is_none(), "{operation} was completed already");
        assert!(now_ns >= operation.start_ns, "{operation} began at {}, after {now_ns}", operation.start_ns);
        if let Outcome::Ok { reply, .. } = &outcome {
            assert!(operation.call.fits(reply), "{reply:?} is no answer to {operation}");
        }
        operation.end_ns = Some(now_ns);
        operation.outcome = outcome;
    }

    /// The operations so far, in the order in which they began.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Ends the recording: what is still under way is of unknown fate.
    pub fn finish(self) -> Vec<Operation> {
        self.operations
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reply;
    use super::*;

    fn get() -> Call {
        Call::Get { key: "a".into(), serializable: false }
    }

    #[test]
    fn operations_never_completed_are_of_unknown_fate() {
        let mut recorder = Recorder::new(2);
        let first = recorder.invoke(1, get(), 10).unwrap();
        recorder.invoke(2, get(), 11).unwrap();
        let outcome = Outcome::Ok { reply: Reply::Get(None), revision: Some(1), replica: None };
        recorder.complete(first, outcome.clone(), 12);
        let history = recorder.finish();
        assert_eq!((history[0].end_ns, &history[0].outcome), (Some(12), &outcome));
        assert_eq!((history[1].end_ns, &history[1].outcome), (None, &Outcome::Unknown));
    }

    #[test]
    fn it_is_bounded() {
        let mut recorder = Recorder::new(1);
        recorder.invoke(1, get(), 10).unwrap();
        assert_eq!(recorder.invoke(1, get(), 11), Err(Full(1)));
    }

    #[test]
    #[should_panic(expected = "is no answer to")]
    fn an_answer_is_of_the_kind_of_its_call() {
        let mut recorder = Recorder::new(1);
        let get = recorder.invoke(1, get(), 10).unwrap();
        recorder.complete(get, Outcome::Ok { reply: Reply::Put, revision: None, replica: None }, 11);
    }
}
