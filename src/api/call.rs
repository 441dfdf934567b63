//! What a client says beside its request, in metadata.

use crate::kv::SessionCall;
use std::time::Duration;
use tonic::Status;
use tonic::metadata::MetadataMap;

/// A request's own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// How long to wait for a reply from the log.
    pub patience: Duration,
    /// Which call of which session it is.
    pub session: Option<SessionCall>,
    /// Whether to refuse at once where no leader is known.
    pub needs_leader: bool,
}

impl Call {
    /// Reads the metadata of a request.
    pub fn read(metadata: &MetadataMap, patience: Duration) -> Result<Call, Status> {
        // An answer that comes as the client gives up is lost: leave it time to travel.
        let asked = timeout(metadata).map(|t| t - t / 10);
        let needs_leader = metadata.get("hasleader").is_some_and(|v| v.as_bytes() == b"true");
        Ok(Call {
            patience: asked.unwrap_or(patience).min(patience),
            session: session(metadata)?,
            needs_leader,
        })
    }
}

/// The client's deadline, as gRPC writes it: up to eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// All three numbers, or none.
fn session(metadata: &MetadataMap) -> Result<Option<SessionCall>, Status> {
    let number = |key| match metadata.get(key) {
        None => Ok(None),
        Some(value) => match value.to_str().ok().and_then(|v| v.parse::<u64>().ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(Status::invalid_argument(format!("kvorum: {key} is not a number"))),
        },
    };
    match (number("kvorum-session")?, number("kvorum-seq")?, number("kvorum-low")?) {
        (None, None, None) => Ok(None),
        (Some(id), Some(seq), Some(low)) if low <= seq => Ok(Some(SessionCall { id, seq, low })),
        (Some(_), Some(seq), Some(low)) => {
            Err(Status::invalid_argument(format!("kvorum: kvorum-low {low} is above kvorum-seq {seq}")))
        }
        _ => Err(Status::invalid_argument(
            "kvorum: a call of a session carries kvorum-session, kvorum-seq and kvorum-low",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<Call, Status> {
        let mut metadata = MetadataMap::new();
        for (key, value) in pairs {
            metadata.insert(*key, value.parse().unwrap());
        }
        Call::read(&metadata, Duration::from_secs(5))
    }

    #[test]
    fn a_clients_deadline_shortens_the_wait_and_never_lengthens_it() {
        for (timeout, millis) in [
            ("1S", 900),
            ("500m", 450),
            ("1H", 5000),
            ("9M", 5000),
            ("x", 5000),
            ("", 5000),
            ("999999999S", 5000),
        ] {
            let patience = read(&[("grpc-timeout", timeout)]).unwrap().patience;
            assert_eq!(patience.as_millis(), millis, "{timeout}");
        }
        assert_eq!(read(&[]).unwrap().patience, Duration::from_secs(5));
    }

    #[test]
    fn a_session_call_has_three_numbers_or_is_none() {
        assert_eq!(read(&[]).unwrap().session, None);
        let all = [("kvorum-session", "7"), ("kvorum-seq", "9"), ("kvorum-low", "8")];
        assert_eq!(read(&all).unwrap().session, Some(SessionCall { id: 7, seq: 9, low: 8 }));
        for broken in [
            &all[..2],
            &all[1..],
            &[all[0], all[1], ("kvorum-low", "-1")],
            &[all[0], all[1], ("kvorum-low", "10")],
        ] {
            assert_eq!(read(broken).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
