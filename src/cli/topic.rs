//! `kvorum publish` and `kvorum subscribe`

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::{Failure, block_on, connection::Connection, output::Printer, put::read_value};
use crate::client::{self, Context, Cursor, Delivery, Start};

/// Publish a message to a topic
#[derive(Debug, Args)]
#[command(after_help = "\
A topic is a name together with a guarantee; it comes into being when it is first used:
  kvorum publish news 'hello'                     everyone sees all messages in the same order
  kvorum publish chat --guarantee causal 'hello'  nobody sees an answer before its question
Without MESSAGE, it is read from standard input, to its end. In total order a message whose answer is lost \
is published again with its number, which has one effect; in others its fate is unknown (exit code 3).")]
pub(super) struct Publish {
    /// The topic: a name of 1 to 100 bytes
    topic: String,
    /// The message; standard input if absent
    message: Option<OsString>,
    /// What is promised
    #[arg(short, long, value_enum, default_value = "total")]
    guarantee: Guarantee,
    /// Causal: deliver it after what this context knows of, as `publish` and `subscribe -w json` print it
    #[arg(long, value_parser = hex, value_name = "CONTEXT")]
    after: Vec<Token>,
    #[command(flatten)]
    connection: Connection,
}

/// Print the messages of a topic as they come
#[derive(Debug, Args)]
#[command(after_help = "\
Goes on until it is interrupted, or --count is reached:
  kvorum subscribe news
  kvorum subscribe news --from oldest --print-cursor
  kvorum subscribe news --from 01000000000000002a    go on after the message that had this cursor
  kvorum subscribe news --as printer-1               each until it is printed, also across crashes
  kvorum subscribe news --as printer-1 --forget      no more of that
In total order a cursor holds at every replica, and a subscriber of --as goes on at any; otherwise they \
belong to the replica that gave or has them: name one endpoint.")]
pub(super) struct Subscribe {
    /// The topic
    topic: String,
    /// What is promised of it
    #[arg(short, long, value_enum, default_value = "total")]
    guarantee: Guarantee,
    /// Where to begin: now, oldest, or a cursor
    #[arg(long, value_parser = start, default_value = "now", value_name = "WHERE")]
    from: From,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print the cursor before each message, with -w simple
    #[arg(long)]
    print_cursor: bool,
    /// Have the replica, or in total order the cluster, keep where this subscriber is, and acknowledge
    /// each message once it is printed
    #[arg(long = "as", value_name = "SUBSCRIBER")]
    subscriber: Option<String>,
    /// Forget the subscriber: nothing is kept for it any more
    #[arg(long, requires = "subscriber", conflicts_with_all = ["from", "count", "print_cursor"])]
    forget: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Guarantee {
    /// Delivered if the replica that took it stays up or comes back
    BestEffort,
    /// Uniform: what any replica delivers, all do
    Reliable,
    /// Reliable, and in the order in which each replica took them
    Fifo,
    /// Reliable, and after everything that the publisher knew of
    Causal,
    /// The same order at every replica
    Total,
}

impl std::convert::From<Guarantee> for client::Guarantee {
    fn from(guarantee: Guarantee) -> Self {
        match guarantee {
            Guarantee::BestEffort => Self::BestEffort,
            Guarantee::Reliable => Self::Reliable,
            Guarantee::Fifo => Self::Fifo,
            Guarantee::Causal => Self::Causal,
            Guarantee::Total => Self::Total,
        }
    }
}

/// Opaque bytes, in hexadecimal.
#[derive(Debug, Clone)]
struct Token(Vec<u8>);

#[derive(Debug, Clone)]
enum From {
    Oldest,
    Now,
    After(Token),
}

const NO_MESSAGE: &str =
    "publish needs a message, as an argument or on standard input; for an empty one write ''";

impl Publish {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        if !self.after.is_empty() && !matches!(self.guarantee, Guarantee::Causal) {
            return Err(Failure::Usage("--after is for causal order: add --guarantee causal".into()));
        }
        let message = match self.message {
            Some(message) => message.into_encoded_bytes(),
            None => read_value(NO_MESSAGE)?,
        };
        let published = block_on(async {
            let topic = connection.client()?.topic(self.topic, self.guarantee.into());
            let contexts = self.after.into_iter().map(|token| Context(token.0.into()));
            let publish = contexts.fold(topic.publish(message), |publish, context| publish.after(&context));
            Ok(publish.await?)
        })?;
        printer.published(&published)
    }
}

impl Subscribe {
    pub(super) fn run(self, before: Connection) -> Result<(), Failure> {
        let connection = self.connection.or(before);
        let printer = connection.printer();
        printer.simple_or_json()?;
        let topic = connection.client()?.topic(self.topic, self.guarantee.into());
        let (cursors, count) = (self.print_cursor, self.count.unwrap_or(u64::MAX));
        let Some(subscriber) = self.subscriber else {
            let start = match self.from {
                From::Oldest => Start::Oldest,
                From::Now => Start::Now,
                From::After(cursor) => Start::After(Cursor(cursor.0.into())),
            };
            let mut subscription = topic.subscribe(start);
            return block_on(async {
                for _ in 0..count {
                    show(&printer, subscription.next().await, cursors)?;
                }
                Ok(())
            });
        };
        if self.forget {
            block_on(async { Ok(topic.unsubscribe(subscriber).await?) })?;
            return printer.done();
        }
        let mut receiver = match self.from {
            From::Oldest => topic.receive(subscriber).from_oldest(),
            From::Now => topic.receive(subscriber),
            From::After(_) => {
                return Err(Failure::Usage(
                    "with --as, the cursor is kept for the subscriber: begin at oldest, or now".into(),
                ));
            }
        };
        block_on(async {
            for _ in 0..count {
                if let Some(delivery) = show(&printer, receiver.next().await, cursors)? {
                    receiver.acknowledge(&delivery).await?;
                }
            }
            Ok(())
        })
    }
}

/// Prints a delivery; what is lost goes to standard error, and is no end.
fn show(
    printer: &Printer,
    next: Result<Delivery, client::Error>,
    cursors: bool,
) -> Result<Option<Delivery>, Failure> {
    match next {
        Ok(delivery) => {
            printer.delivery(&delivery, cursors)?;
            Ok(Some(delivery))
        }
        Err(gap @ client::Error::Gap { .. }) => {
            eprintln!("Warning: {gap}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn hex(text: &str) -> Result<Token, String> {
    let wrong = || format!("{text:?} is no token: it is an even number of hexadecimal digits");
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong());
    (0..text.len()).step_by(2).map(byte).collect::<Result<_, _>>().map(Token)
}

fn start(text: &str) -> Result<From, String> {
    match text {
        "oldest" => Ok(From::Oldest),
        "now" => Ok(From::Now),
        cursor => hex(cursor)
            .map(From::After)
            .map_err(|_| format!("{cursor:?} is neither oldest, nor now, nor a cursor (hexadecimal)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_hexadecimal() {
        assert_eq!(hex("00ff1A").unwrap().0, [0, 255, 26]);
        assert_eq!(hex("").unwrap().0, [0; 0]);
        for wrong in ["0", "0g", "é", "+1"] {
            assert!(hex(wrong).is_err(), "{wrong}");
        }
    }
}
