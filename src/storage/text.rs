//! Small files for people to read: a title with the format, a body, a checksum.

use super::codec::FORMAT;

const CHECKSUM: &str = "crc32 ";

/// Why a file cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// It contradicts itself.
    Damaged(String),
    /// A newer program wrote it.
    Newer(u64),
}

/// The text of a file.
pub fn seal(title: &str, body: &str) -> String {
    let text = format!("{title}, format {FORMAT}\n{body}\n");
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text}{CHECKSUM}{crc:08x}\n")
}

/// The body of a file.
pub fn open<'a>(title: &str, bytes: &'a [u8]) -> Result<&'a str, Unreadable> {
    let damaged = |what: &str| Unreadable::Damaged(what.to_owned());
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let (sealed, crc) = text.rsplit_once(CHECKSUM).ok_or_else(|| damaged("it has no checksum"))?;
    if crc != format!("{:08x}\n", crc32fast::hash(sealed.as_bytes())) {
        return Err(damaged("its checksum does not fit"));
    }
    let (first, body) = sealed.split_once('\n').ok_or_else(|| damaged("it has one line only"))?;
    let format = first.strip_prefix(title).and_then(|rest| rest.strip_prefix(", format "));
    match format.and_then(|format| format.parse::<u64>().ok()) {
        None => Err(damaged("its first line is not ours")),
        Some(format) if format > u64::from(FORMAT) => Err(Unreadable::Newer(format)),
        Some(_) => Ok(body.trim_end_matches('\n')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let bytes = seal("title", "two\nlines crc32 ").into_bytes();
        assert_eq!(open("title", &bytes), Ok("two\nlines crc32 "));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open("title", &flipped), Err(Unreadable::Damaged(_))), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(matches!(open("title", &bytes[..len]), Err(Unreadable::Damaged(_))), "cut at {len}");
        }
    }

    #[test]
    fn a_newer_format_is_named_and_another_kind_of_file_is_not_taken() {
        let text = "title, format 7\nwho knows\n";
        let sealed = format!("{text}{CHECKSUM}{:08x}\n", crc32fast::hash(text.as_bytes()));
        assert_eq!(open("title", sealed.as_bytes()), Err(Unreadable::Newer(7)));
        assert!(matches!(open("other", seal("title", "").as_bytes()), Err(Unreadable::Damaged(_))));
    }
}
