//! Clients whose `:authority` is none.
//!
//! etcd's Go clients say `http://host:port` there in some calls (3.4: all of Maintenance), and
//! `#initially=[…]` (3.5.0: everywhere). etcd does not mind; the HTTP/2 library below refuses such a
//! request before anyone could look at it. Nobody here asks for the authority, so it is overwritten
//! on its way in, byte by byte, by as many bytes that no one minds.
//!
//! That keeps the HPACK tables of both sides in step: the entry has the position that the client
//! gave it, and is not longer than the client believes, since Huffman coding, which is undone,
//! shortens. (A coding that lengthens would be lawful; such an entry may be dropped early, and a
//! request that refers to it then ends the connection, without being mistaken for another.)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection that overwrites the authorities of its client.
pub(super) struct Lenient<S> {
    stream: S,
    frames: Frames,
}

impl<S> Lenient<S> {
    pub fn new(stream: S) -> Self {
        Lenient { stream, frames: Frames::Preface(0) }
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Where in the stream of frames (RFC 9113, section 4) the next byte stands.
#[derive(Debug)]
enum Frames {
    Preface(usize),
    /// Not HTTP/2: none of our business.
    Other,
    Header {
        bytes: [u8; FRAME_HEADER],
        len: usize,
        fields: Fields,
    },
    Payload {
        left: usize,
        /// What to read at the end of a header block.
        block: Option<Block>,
        fields: Fields,
    },
}

/// The header block in a frame.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// The pad length comes first.
    padded: bool,
    /// Bytes before the block.
    skip: usize,
    /// Bytes after it.
    pad: usize,
    ends: bool,
}

impl Frames {
    fn pass(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while let Some((first, _)) = rest.split_first_mut() {
            let passed = match self {
                Frames::Other => return,
                // Most bytes of a connection are data.
                Frames::Payload { left, block: None, .. } if *left > 0 => {
                    let passed = rest.len().min(*left);
                    *left -= passed;
                    passed
                }
                _ => {
                    self.step(first);
                    1
                }
            };
            self.next_frame();
            rest = &mut std::mem::take(&mut rest)[passed..];
        }
    }

    fn step(&mut self, byte: &mut u8) {
        match self {
            Frames::Other => {}
            Frames::Preface(at) if *byte == PREFACE[*at] => *at += 1,
            Frames::Preface(_) => *self = Frames::Other,
            Frames::Header { bytes, len, .. } => {
                bytes[*len] = *byte;
                *len += 1;
            }
            Frames::Payload { left, block, fields } => {
                *left -= 1;
                match block {
                    None => {}
                    Some(block) if block.padded => {
                        block.padded = false;
                        block.pad = usize::from(*byte);
                    }
                    Some(block) if block.skip > 0 => block.skip -= 1,
                    Some(block) if *left < block.pad => {}
                    Some(_) => fields.step(byte),
                }
            }
        }
    }

    /// Moves on where a part is complete.
    fn next_frame(&mut self) {
        let header = |fields| Frames::Header { bytes: [0; FRAME_HEADER], len: 0, fields };
        match self {
            Frames::Preface(at) if *at == PREFACE.len() => *self = header(Fields::Field),
            Frames::Header { bytes, len: FRAME_HEADER, fields } => {
                let [a, b, c, kind, flags, ..] = *bytes;
                let has = |kinds: &[u8], flag| kinds.contains(&kind) && flags & flag != 0;
                let block = [HEADERS, CONTINUATION].contains(&kind).then(|| Block {
                    padded: has(&[HEADERS], PADDED),
                    skip: if has(&[HEADERS], PRIORITY) { 5 } else { 0 },
                    pad: 0,
                    ends: has(&[HEADERS, CONTINUATION], END_HEADERS),
                });
                let left = u32::from_be_bytes([0, a, b, c]) as usize;
                *self = Frames::Payload { left, block, fields: *fields };
                self.next_frame();
            }
            Frames::Payload { left: 0, block, fields } => {
                let ended = block.is_some_and(|block| block.ends);
                *self = header(if ended { Fields::Field } else { *fields });
            }
            Frames::Preface(_) | Frames::Other | Frames::Header { .. } | Frames::Payload { .. } => {}
        }
    }
}

/// The static table's entry of `:authority`.
const AUTHORITY: u8 = 1;

/// Where in a block of header fields (RFC 7541, section 6) the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Fields {
    /// At the beginning of a field.
    Field,
    /// Within an integer whose value does not matter; `strings` come after it.
    Skip { strings: u8 },
    /// At the length of a string; `strings` more come after it.
    Length { strings: u8, authority: bool },
    /// Within that length, when it is long.
    LongLength { strings: u8, authority: bool, len: u64, shift: u32 },
    /// Within a string.
    Text { strings: u8, authority: bool, left: u64 },
}

impl Fields {
    fn step(&mut self, byte: &mut u8) {
        *self = match *self {
            Fields::Field => {
                let literal = |mask: u8| match *byte & mask {
                    0 => Fields::Length { strings: 1, authority: false },
                    index if index == mask => Fields::Skip { strings: 1 },
                    index => Fields::Length { strings: 0, authority: index == AUTHORITY },
                };
                let number = |mask: u8| match *byte & mask {
                    n if n == mask => Fields::Skip { strings: 0 },
                    _ => Fields::Field,
                };
                match *byte {
                    0x80.. => number(0x7f),
                    0x40.. => literal(0x3f),
                    0x20.. => number(0x1f),
                    _ => literal(0x0f),
                }
            }
            Fields::Skip { strings } if *byte & 0x80 != 0 => Fields::Skip { strings },
            Fields::Skip { strings } => Fields::strings(strings),
            Fields::Length { strings, authority } => {
                let len = u64::from(*byte & 0x7f);
                if authority {
                    *byte &= 0x7f; // no Huffman coding
                }
                match len {
                    0x7f => Fields::LongLength { strings, authority, len, shift: 0 },
                    _ => Fields::text(strings, authority, len),
                }
            }
            Fields::LongLength { strings, authority, len, shift } => {
                let more = u64::from(*byte & 0x7f).checked_shl(shift).unwrap_or(0);
                let len = len.saturating_add(more);
                match *byte & 0x80 {
                    0 => Fields::text(strings, authority, len),
                    _ => Fields::LongLength { strings, authority, len, shift: shift.saturating_add(7) },
                }
            }
            Fields::Text { strings, authority, left } => {
                if authority {
                    *byte = b'a';
                }
                Fields::text(strings, authority, left - 1)
            }
        };
    }

    fn text(strings: u8, authority: bool, left: u64) -> Fields {
        match left {
            0 => Fields::strings(strings),
            _ => Fields::Text { strings, authority, left },
        }
    }

    /// What comes after a string or an index.
    fn strings(left: u8) -> Fields {
        match left {
            0 => Fields::Field,
            _ => Fields::Length { strings: left - 1, authority: false },
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lenient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.frames.pass(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lenient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// POST, http, `:authority`, a header with a name of its own, and one with a long index.
    fn fields(authority: &[u8]) -> Vec<u8> {
        let own = [&[0x00, 2][..], b"te", &[8], b"trailers"].concat();
        let long = [&[0x7f, 0x80, 0x01, 3][..], b"xyz"].concat();
        [&[0x3f, 0xe1, 0x1f, 0x83, 0x86, 0x41][..], authority, &own, &long, &[0x84, 0xff, 0x01]].concat()
    }

    /// With and without Huffman coding, and the latter with a length of two bytes.
    fn cases() -> Vec<(Vec<u8>, Vec<u8>)> {
        vec![
            (fields(b"\x85http:"), fields(b"\x05aaaaa")),
            (fields(b"\x05http:"), fields(b"\x05aaaaa")),
            (
                fields(&[&[0xff, 0x10][..], &[b'#'; 143]].concat()),
                fields(&[&[0x7f, 0x10][..], &[b'a'; 143]].concat()),
            ),
        ]
    }

    fn pass(bytes: &[u8], cut: &[usize]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let mut frames = Frames::Preface(0);
        let mut rest = &mut bytes[..];
        for at in cut {
            let (now, later) = rest.split_at_mut((*at).min(rest.len()));
            frames.pass(now);
            rest = later;
        }
        frames.pass(rest);
        bytes
    }

    /// The block in frames of every shape, between others.
    fn connection(block: &[u8], other: &[u8]) -> Vec<u8> {
        let (first, second) = block.split_at(block.len() / 3);
        let padded = [&[2, 0, 0, 0, 0, 7][..], first, b"AA"].concat();
        [
            PREFACE,
            &frame(4, 0, b""),
            &frame(HEADERS, END_HEADERS, block),
            &frame(0, 0, other),
            &frame(HEADERS, PADDED | PRIORITY, &padded),
            &frame(CONTINUATION, 0, b""),
            &frame(CONTINUATION, END_HEADERS, second),
            &frame(8, 0, b"A\x05AA"),
            &frame(HEADERS, END_HEADERS | 1, block),
        ]
        .concat()
    }

    #[test]
    fn the_authority_is_overwritten_and_nothing_else() {
        for (block, expected) in cases() {
            let data = b"PRI A\x05hello";
            assert_eq!(pass(&connection(&block, data), &[]), connection(&expected, data));
        }
    }

    #[test]
    fn what_is_not_http2_passes_as_it_is() {
        let request = [b"PRI * HTTP/1.1\r\n\r\n".as_slice(), &frame(HEADERS, 4, &cases()[0].0)].concat();
        assert_eq!(pass(&request, &[]), request);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            other in prop::collection::vec(any::<u8>(), 0..300),
            cut in prop::collection::vec(0usize..60, 0..20),
        ) {
            for (block, expected) in cases() {
                prop_assert_eq!(pass(&connection(&block, &other), &cut), connection(&expected, &other));
            }
        }

        #[test]
        fn garbage_does_no_harm(garbage in prop::collection::vec(any::<u8>(), 0..2000)) {
            let bytes = [PREFACE, &frame(HEADERS, 0, &garbage), &garbage].concat();
            let passed = pass(&bytes, &[]);
            prop_assert_eq!(passed.len(), bytes.len());
            prop_assert_eq!(&passed[..PREFACE.len() + FRAME_HEADER], &bytes[..PREFACE.len() + FRAME_HEADER]);
        }
    }
}
