//! `kvorum txn`

use std::{
    ffi::OsString,
    io::{BufRead, stdin},
    os::unix::ffi::OsStringExt,
};

use clap::{Args, Parser};

use super::{
    Failure, block_on,
    connection::{self, Connection},
    del, get, put,
    quote::unquote,
};
use crate::client::{Compare, Op, Operand};

/// Run a transaction, read from standard input
#[derive(Debug, Args)]
#[command(after_help = r#"
Three parts, each ended by an empty line: conditions, what to do if all of them hold, what to do
otherwise.

  kvorum txn <<'END'
  value("owner") = "alice"
  version("lock") = "0"

  put lock "alice was here"
  get --prefix job/

  get lock

  END

A condition: TARGET("KEY") OP "OPERAND", where TARGET is ver, c (create revision), m (mod revision),
val or lease, and OP is =, !=, < or >. A request: put, get or del, with their flags. Keys and values
may be quoted, with the escapes of Go."#)]
pub(super) struct Txn {
    /// Say on standard error what is expected next
    #[arg(short, long)]
    interactive: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Txn {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.refuse_table()?;
        let mut input = Input { lines: stdin().lock(), interactive: self.interactive };
        let compares = input.part("compares", "compares:", compare, false)?;
        let success = input.part("success requests", "success requests (get, put, del):", request, false)?;
        // Nothing comes after it, so its end may be the end of the input.
        let failure = input.part("failure requests", "failure requests (get, put, del):", request, true)?;
        let reply = block_on(async {
            let client = connection.client()?;
            connection::with(client, async |client| {
                Ok(client.txn().when(compares).then(success).otherwise(failure).await?)
            })
            .await
        })?;
        printer.txn(&reply)
    }
}

struct Input<R> {
    lines: R,
    interactive: bool,
}

impl<R: BufRead> Input<R> {
    /// The lines up to an empty one.
    fn part<T>(
        &mut self,
        name: &str,
        prompt: &str,
        parse: fn(&[u8]) -> Result<T, Failure>,
        last: bool,
    ) -> Result<Vec<T>, Failure> {
        if self.interactive {
            eprintln!("{prompt}");
        }
        let mut items = Vec::new();
        loop {
            let mut line = Vec::new();
            let read = self.lines.read_until(b'\n', &mut line);
            read.map_err(|e| Failure::Other(format!("cannot read the transaction: {e}")))?;
            if line.is_empty() && !last {
                let text = format!("the input ends among the {name}; end each part with an empty line");
                return Err(Failure::Usage(text));
            }
            match line.trim_ascii() {
                [] => return Ok(items),
                line => items.push(parse(line)?),
            }
        }
    }
}

/// `TARGET("KEY") OP "OPERAND"`
fn compare(line: &[u8]) -> Result<Compare, Failure> {
    let shown = String::from_utf8_lossy(line);
    let wrong = |reason: &str| Failure::Usage(format!("malformed comparison: {shown} ({reason})"));
    let form = || wrong("write it as TARGET(\"KEY\") OP \"OPERAND\"");

    let open = line.iter().position(|&byte| byte == b'(').ok_or_else(form)?;
    let (target, rest) = (line[..open].trim_ascii(), &line[open + 1..]);
    let (key, rest) = unquote(rest.trim_ascii_start()).ok_or_else(form)?;
    let rest = rest.trim_ascii_start().strip_prefix(b")").ok_or_else(form)?.trim_ascii_start();
    let end = rest.iter().position(|byte| !b"=!<>".contains(byte)).ok_or_else(form)?;
    let (operator, rest) = rest.split_at(end);
    let (operand, rest) = unquote(rest.trim_ascii_start()).ok_or_else(form)?;
    if !rest.trim_ascii().is_empty() {
        return Err(form());
    }

    let number = |radix| {
        let text = std::str::from_utf8(&operand).ok();
        let number = text.and_then(|text| i64::from_str_radix(text, radix).ok());
        number.ok_or_else(|| wrong("the operand is not a number"))
    };
    let operators = Operator { name: operator, unknown: || wrong("the operator is one of = != < >") };
    match target {
        b"ver" | b"version" => operators.apply(Compare::version(key), number(10)?),
        b"c" | b"create" => operators.apply(Compare::create_revision(key), number(10)?),
        b"m" | b"mod" => operators.apply(Compare::mod_revision(key), number(10)?),
        b"val" | b"value" => operators.apply(Compare::value(key), operand),
        b"lease" => operators.apply(Compare::lease(key), number(16)?),
        _ => Err(wrong("the target is one of ver, c, m, val, lease")),
    }
}

struct Operator<'a, F> {
    name: &'a [u8],
    unknown: F,
}

impl<F: Fn() -> Failure> Operator<'_, F> {
    fn apply<T>(&self, left: Operand<T>, right: T) -> Result<Compare, Failure> {
        match self.name {
            b"=" => Ok(left.eq(right)),
            b"!=" => Ok(left.ne(right)),
            b"<" => Ok(left.lt(right)),
            b">" => Ok(left.gt(right)),
            _ => Err((self.unknown)()),
        }
    }
}

/// One request, with the flags of its command.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
enum Request {
    Put(put::Request),
    Get(get::Request),
    Del(del::Request),
}

fn request(line: &[u8]) -> Result<Op, Failure> {
    let shown = String::from_utf8_lossy(line);
    let wrong = |reason: &str| Failure::Usage(format!("invalid txn request: {shown} ({reason})"));
    let words = words(line).ok_or_else(|| wrong("a quote is not closed, or an escape unknown"))?;
    let request = Request::try_parse_from(words).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        wrong(first.strip_prefix("error: ").unwrap_or(first))
    })?;
    match request {
        Request::Put(put) => put.op().ok_or_else(|| wrong("it has no value")),
        Request::Get(get) => Ok(get.op()),
        Request::Del(del) => Ok(del.op()),
    }
}

/// Splits at white space; `"…"` is a Go string and `'…'` is taken as it is.
fn words(line: &[u8]) -> Option<Vec<OsString>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first() {
        let (word, after) = match first {
            b'"' => unquote(rest)?,
            b'\'' => {
                let end = rest[1..].iter().position(|&byte| byte == b'\'')? + 1;
                (rest[1..end].to_vec(), &rest[end + 1..])
            }
            _ => {
                let end = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                (rest[..end].to_vec(), &rest[end..])
            }
        };
        words.push(OsString::from_vec(word));
        rest = after.trim_ascii_start();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debug(compare: Result<Compare, Failure>) -> String {
        format!("{:?}", compare.unwrap())
    }

    #[test]
    fn comparisons_have_targets_operators_and_quoted_operands() {
        let built = |line: &str| debug(compare(line.as_bytes()));
        assert_eq!(built(r#"mod("k") > "0""#), debug(Ok(Compare::mod_revision("k").gt(0))));
        assert_eq!(built(r#"m("k")!="7""#), debug(Ok(Compare::mod_revision("k").ne(7))));
        assert_eq!(built(r#"ver("a b") = "1""#), debug(Ok(Compare::version("a b").eq(1))));
        assert_eq!(built(r#"c("k") < "9""#), debug(Ok(Compare::create_revision("k").lt(9))));
        assert_eq!(built(r#"val("k") = "x\ty""#), debug(Ok(Compare::value("k").eq("x\ty"))));
        assert_eq!(built(r#"lease("k") = "ff""#), debug(Ok(Compare::lease("k").eq(255))));
    }

    #[test]
    fn a_malformed_comparison_is_shown_with_the_reason() {
        for (line, reason) in [
            ("nonsense", "write it as"),
            (r#"mod(k) = "1""#, "write it as"),
            (r#"mod("k") = 1"#, "write it as"),
            (r#"mod("k") = "1" x"#, "write it as"),
            (r#"mod("k") == "1""#, "operator"),
            (r#"mod("k") = "one""#, "not a number"),
            (r#"age("k") = "1""#, "target"),
        ] {
            let text = compare(line.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(line) && text.contains(reason), "{text}");
        }
    }

    #[test]
    fn requests_take_the_flags_of_their_commands() {
        let built = |line: &str| format!("{:?}", request(line.as_bytes()).unwrap());
        let op = |op: Op| format!("{op:?}");
        assert_eq!(built(r#"put k "a \"b\"" --prev-kv"#), op(Op::put("k", "a \"b\"").prev_kv().into()));
        assert_eq!(built("put k 'a b'"), op(Op::put("k", "a b").into()));
        assert_eq!(built("get --prefix a --limit 3"), op(Op::get("a").prefix().limit(3).into()));
        assert_eq!(built("del a c"), op(Op::delete("a").range("c").into()));
        for wrong in ["put k", "put", "get", "watch k", "get k --bogus", r#"put k "open"#, "get --help"] {
            let text = request(wrong.as_bytes()).unwrap_err().to_string();
            assert!(text.contains(wrong) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn parts_end_at_empty_lines_and_only_the_last_at_the_end_of_the_input() {
        let parts = |text: &str| {
            let mut input = Input { lines: text.as_bytes(), interactive: false };
            let compares = input.part("compares", "", compare, false)?.len();
            let success = input.part("success", "", request, false)?.len();
            Ok::<_, Failure>((compares, success, input.part("failure", "", request, true)?.len()))
        };
        assert_eq!(parts("ver(\"k\") = \"0\"\n\nput k v\nget k\n\nget k\n\n").unwrap(), (1, 2, 1));
        assert_eq!(parts("\n\n\n").unwrap(), (0, 0, 0));
        assert_eq!(parts("\nput k v\n\nget k").unwrap(), (0, 1, 1));
        assert!(parts("ver(\"k\") = \"0\"\n").unwrap_err().to_string().contains("compares"));
        assert!(parts("\nput k v\n").unwrap_err().to_string().contains("success"));
    }
}
