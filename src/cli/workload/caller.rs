//! One client of a run: draws operations, and has the SDK carry them out.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{Failure, book::Book};
use crate::{
    cli::connection::Connection,
    client::{self, Client, Compare, Header, Op, OpReply, Retry},
    history::{Call, Full, Reply, Workload, Write},
};

/// Operations after which a client prefers the next endpoint, so that every client meets every
/// replica, and sessions end and begin.
const ROTATE: u64 = 100;

/// How long a serializable read may take: the replica that it is for is there, or it is not.
const NEAR: Duration = Duration::from_secs(1);

pub(super) struct Caller {
    pub(super) number: u64,
    pub(super) connection: Connection,
    /// Whether its writes are numbered in a session, or sent as a client of etcd's sends them.
    pub(super) session: bool,
    pub(super) draws: Workload,
    /// Time from one operation to the next, at least.
    pub(super) period: Duration,
    pub(super) book: Rc<RefCell<Book>>,
}

/// The way to the cluster from a client's place.
pub(super) struct Route {
    /// Finds a replica that answers, beginning with the preferred one.
    all: Client,
    /// The preferred one alone: what may be stale must be asked of one in particular, since the others
    /// would hide what it says.
    near: Client,
}

impl Route {
    /// The route of whoever prefers the endpoint at `preferred`, modulo their number.
    pub(super) fn new(connection: &Connection, preferred: u64, session: bool) -> Result<Self, Failure> {
        let mut endpoints = connection.endpoints();
        let first = preferred % endpoints.len().max(1) as u64;
        endpoints.rotate_left(first as usize);
        let near = connection.builder().endpoints(endpoints.first().cloned()).retry(Retry::NEVER);
        let all = connection.builder().endpoints(endpoints).in_order(true).exactly_once(session);
        Ok(Self { all: all.connect()?, near: near.connect()?.with_deadline(NEAR) })
    }

    /// To the endpoint at `index` and to no other.
    pub(super) fn only(connection: &Connection, index: usize) -> Result<Self, Failure> {
        let near = connection.builder().endpoints(connection.endpoints().get(index).cloned()).connect()?;
        Ok(Self { all: near.clone(), near })
    }

    pub(super) async fn execute(&self, call: &Call) -> Result<(Reply, Header), client::Error> {
        execute(&self.all, &self.near, call).await
    }

    /// Ends the session; nobody should wait for a courtesy.
    pub(super) async fn close(self) {
        self.all.with_deadline(Duration::from_millis(200)).close().await;
    }
}

/// Carries out one operation of a history: serializable reads by `near`, others by `all`.
pub(in crate::cli) async fn execute(
    all: &Client,
    near: &Client,
    call: &Call,
) -> Result<(Reply, Header), client::Error> {
    Ok(match call {
        Call::Put { key, value } => {
            let reply = all.put(key.as_str(), value.as_str()).await?;
            (Reply::Put, reply.header)
        }
        Call::Get { key, serializable } => {
            let reply = match serializable {
                true => near.get(key.as_str()).serializable().await?,
                false => all.get(key.as_str()).await?,
            };
            (Reply::Get(value(&reply)), reply.header)
        }
        Call::Delete { key } => {
            let reply = all.delete(key.as_str()).await?;
            (Reply::Delete(Some(reply.deleted > 0)), reply.header)
        }
        Call::Cas { key, expected, value } => {
            let holds = match expected {
                Some(expected) => Compare::value(key.as_str()).eq(expected.as_str()),
                None => Compare::version(key.as_str()).eq(0),
            };
            let put = Op::put(key.as_str(), value.as_str());
            let reply = all.txn().when([holds]).then([put]).await?;
            (Reply::Cas(reply.succeeded), reply.header)
        }
        Call::Txn { reads, writes } => {
            let gets = reads.iter().map(|key| Op::get(key.as_str()));
            let puts = writes.iter().map(|Write { key, value }| match value {
                Some(value) => Op::from(Op::put(key.as_str(), value.as_str())),
                None => Op::from(Op::delete(key.as_str())),
            });
            let reply = all.txn().then(gets).then(puts).await?;
            let read = |reply: &OpReply| match reply {
                OpReply::Get(reply) => Some(value(reply)),
                OpReply::Put(_) | OpReply::Delete(_) | OpReply::Txn(_) => None,
            };
            let values: Vec<Option<String>> = reply.replies.iter().filter_map(read).collect();
            if values.len() != reads.len() {
                return Err(client::Error::Reply { missing: "the answer to a read of a transaction" });
            }
            (Reply::Txn(values), reply.header)
        }
    })
}

/// Values that are not text were not written by a workload: shown as they can be, they will be found
/// to have come from nowhere.
fn value(reply: &client::GetReply) -> Option<String> {
    reply.value().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Carries out one operation, and records it.
pub(super) async fn record(
    route: &Route,
    book: &RefCell<Book>,
    client: u64,
    call: &Call,
) -> Result<Option<Reply>, Full> {
    let entry = book.borrow_mut().begin(client, call)?;
    let answer = route.execute(call).await;
    let reply = answer.as_ref().ok().map(|(reply, _)| reply.clone());
    book.borrow_mut().end(entry, call, answer);
    Ok(reply)
}

impl Caller {
    /// Until told to stop; then it ends what it has begun.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let mut pace = pace(self.period);
        let mut preferred = self.number;
        loop {
            let route = Route::new(&self.connection, preferred, self.session)?;
            for _ in 0..ROTATE {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => {
                        route.close().await;
                        return Ok(());
                    }
                    () = next(&mut pace) => {}
                }
                let call = self.draws.draw();
                match record(&route, &self.book, self.number, &call).await {
                    Ok(Some(reply)) => self.draws.observe(&call, &reply),
                    Ok(None) => {}
                    Err(full) => return Err(Failure::Other(full.to_string())),
                }
            }
            route.close().await;
            preferred += 1;
        }
    }
}

fn pace(period: Duration) -> Option<Interval> {
    let mut pace = (!period.is_zero()).then(|| interval(period))?;
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(pace)
}

async fn next(pace: &mut Option<Interval>) {
    if let Some(pace) = pace {
        pace.tick().await;
    }
}
