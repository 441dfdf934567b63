//! Strings quoted as Go quotes them: etcdctl prints and reads them so.

use std::fmt::Write;

/// Go's `%q`: printable text as it is, all else escaped.
pub(super) fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c);
        }
        for byte in chunk.invalid() {
            push(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\0'..' ' | '\x7f' => push(out, format_args!("\\x{:02x}", c as u32)),
        // An apostrophe needs no escape here, though Rust would give it one.
        '\'' => out.push(c),
        _ if c.escape_debug().len() == 1 => out.push(c),
        '\u{10000}'.. => push(out, format_args!("\\U{:08x}", c as u32)),
        _ => push(out, format_args!("\\u{:04x}", c as u32)),
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// Reads a double-quoted string at the start of `text`: its bytes, and what follows it. None if there
/// is none, or it does not end, or has an escape that Go does not know.
pub(super) fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut out = Vec::new();
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((out, rest)),
            b'\\' => rest = escape(rest, &mut out)?,
            _ => out.push(byte),
        }
    }
}

/// Reads what follows a backslash.
fn escape<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&kind, rest) = text.split_first()?;
    let number = |text: &'a [u8], digits: usize, radix: u32| {
        let (digits, rest) = text.split_at_checked(digits)?;
        if !digits.iter().all(|&d| char::from(d).is_digit(radix)) {
            return None;
        }
        let digits = std::str::from_utf8(digits).ok()?;
        Some((u32::from_str_radix(digits, radix).ok()?, rest))
    };
    let simple = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => kind,
        b'x' | b'0'..=b'7' => {
            let (value, rest) = if kind == b'x' { number(rest, 2, 16)? } else { number(text, 3, 8)? };
            out.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (value, rest) = number(rest, if kind == b'u' { 4 } else { 8 }, 16)?;
            let mut buffer = [0; 4];
            out.extend(char::from_u32(value)?.encode_utf8(&mut buffer).bytes());
            return Some(rest);
        }
        _ => return None,
    };
    out.push(simple);
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_does() {
        for (bytes, quoted) in [
            (&b"plain 'text'"[..], r#""plain 'text'""#),
            (b"say \"hi\" \\", r#""say \"hi\" \\""#),
            (b"\x00\x07\n\t\x7f", r#""\x00\a\n\t\x7f""#),
            (b"\xff\xfe", r#""\xff\xfe""#),
            ("zürich \u{a0}\u{200b}".as_bytes(), r#""zürich \u00a0\u200b""#),
        ] {
            assert_eq!(quote(bytes), quoted);
        }
    }

    #[test]
    fn what_was_quoted_is_read_back() {
        let mut all: Vec<u8> = (0..=255).collect();
        all.extend("é\u{a0}\u{10ffff}".bytes());
        let mut line = quote(&all).into_bytes();
        line.extend(b" rest");
        assert_eq!(unquote(&line), Some((all, &b" rest"[..])));
        assert_eq!(unquote(br#""\101\u00e9""#), Some(("Aé".into(), &b""[..])));
    }

    #[test]
    fn what_is_not_a_quoted_string_is_refused() {
        for text in [r#"open"#, r#""open"#, r#""\"#, r#""\q""#, r#""\x4""#, r#""\x+1""#, r#""\ud800""#] {
            assert_eq!(unquote(text.as_bytes()), None, "{text}");
        }
    }
}
