//! The body of a reply: handed on piece by piece, and accounted for until the last piece is sent.

use super::outflow::{Connection, Flight, Kind, Outflow, Reserved};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::AcquireError;

/// What is handed on at a time: of a reply that does not move, HTTP/2 buffers no more.
const PIECE: usize = 16 << 10;

/// Marks a response that its client follows for as long as it likes.
#[derive(Clone)]
pub(super) struct Followed;

/// Puts a reply on its way.
pub(super) async fn pace(State(outflow): State<Arc<Outflow>>, request: Request, next: Next) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    // Who asks from within the program has no connection.
    let connection = connection.unwrap_or_else(|| outflow.no_connection());
    let response = next.run(request).await;
    let kind = match response.extensions().get::<Followed>() {
        Some(Followed) => Kind::Stream,
        None => Kind::Reply,
    };
    let reserved = response.extensions().get::<Arc<Reserved>>().cloned();
    response.map(|body| {
        Body::new(Paced { body, outflow, connection, kind, reserved, waiting: None, handed_on: None })
    })
}

type Room = Pin<Box<dyn Future<Output = Result<Reserved, AcquireError>> + Send>>;

/// A body, piece by piece.
struct Paced {
    body: Body,
    outflow: Arc<Outflow>,
    connection: Arc<Connection>,
    kind: Kind,
    /// Room for the whole reply, if it was reserved before that was made.
    reserved: Option<Arc<Reserved>>,
    /// What has no room yet.
    waiting: Option<(Bytes, Room)>,
    /// What is being handed on.
    handed_on: Option<(Bytes, Arc<Flight>)>,
}

impl Paced {
    fn begin(&mut self, bytes: Bytes, room: Arc<Reserved>) {
        let flight = Flight::begin(&self.outflow, &self.connection, self.kind, bytes.len(), room);
        self.handed_on = Some((bytes, Arc::new(flight)));
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let (rest, flight) = self.handed_on.as_mut()?;
        let piece = Piece { bytes: rest.split_to(rest.len().min(PIECE)), flight: flight.clone() };
        if rest.is_empty() {
            self.handed_on = None;
        }
        Some(Bytes::from_owner(piece))
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if let Some(piece) = self.next_piece() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if let Some((_, room)) = &mut self.waiting {
                let room = ready!(room.as_mut().poll(cx)).map_err(axum::Error::new)?;
                if let Some((bytes, _)) = self.waiting.take() {
                    self.begin(bytes, Arc::new(room));
                }
                continue;
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match (frame.into_data(), self.reserved.clone()) {
                (Ok(bytes), Some(room)) if !bytes.is_empty() => self.begin(bytes, room),
                (Ok(bytes), None) if !bytes.is_empty() => {
                    let (outflow, connection) = (self.outflow.clone(), self.connection.clone());
                    let room = outflow.take(connection, self.kind, bytes.len());
                    self.waiting = Some((bytes, Box::pin(room)));
                }
                (Ok(nothing), _) => return Poll::Ready(Some(Ok(Frame::data(nothing)))),
                (Err(trailers), _) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.handed_on.is_none() && self.waiting.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.handed_on, &self.waiting) {
            (None, None) => self.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// A piece of a message. Whoever sends it drops it then.
struct Piece {
    bytes: Bytes,
    flight: Arc<Flight>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.flight.moved();
    }
}
