//! Settings: what a node is told, under the names of etcd's flags.
//!
//! All of them are texts until here, so that a flag, a variable, a builder's call and what was
//! stored at the first boot go one way, and are checked in one place.

use crate::api;
use crate::kernel::{Bounds, Timing};
use crate::kv::Limits;
use crate::transport::Address;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use super::cluster::Founding;
use super::core::TICK;

/// Settings as texts, by the names of etcd's flags.
pub(super) type Texts = BTreeMap<String, String>;

/// The most members of a cluster.
pub const MEMBERS: usize = 7;

/// Names of settings.
pub mod name {
    #![allow(missing_docs)]
    pub const NAME: &str = "name";
    pub const LISTEN_CLIENT: &str = "listen-client-urls";
    pub const LISTEN_PEER: &str = "listen-peer-urls";
    pub const ADVERTISE_CLIENT: &str = "advertise-client-urls";
    pub const ADVERTISE_PEER: &str = "initial-advertise-peer-urls";
    pub const CLUSTER: &str = "initial-cluster";
    pub const TOKEN: &str = "initial-cluster-token";
    pub const STATE: &str = "initial-cluster-state";
    pub const HEARTBEAT: &str = "heartbeat-interval";
    pub const ELECTION: &str = "election-timeout";
    pub const MAX_REQUEST: &str = "max-request-bytes";
    pub const MAX_OPS: &str = "max-txn-ops";
    pub const MAX_REPLY: &str = "max-reply-bytes";
    pub const QUOTA: &str = "quota-backend-bytes";
    pub const COMPACTION_MODE: &str = "auto-compaction-mode";
    pub const COMPACTION_RETENTION: &str = "auto-compaction-retention";
    pub const DELIVERIES: &str = "topic-retention-messages";
    pub const DELIVERY_BYTES: &str = "topic-retention-bytes";
    pub const TOPICS: &str = "max-topics";
    pub const SUBSCRIBERS: &str = "max-subscribers";
    pub const REGISTERS: &str = "max-registers";
    /// Not a flag: [`Builder::replicate`](super::super::Builder::replicate) says it.
    pub const MACHINE: &str = "state-machine";
}

/// What a node does about old revisions by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AutoCompaction {
    /// Keeps the revisions of the last so long.
    Periodic(Duration),
    /// Keeps so many revisions.
    Revisions(i64),
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub name: String,
    pub token: String,
    /// The state machine, if it is not the store.
    pub machine: Option<String>,
    /// Members by name, if the cluster was given.
    pub cluster: Option<Vec<(String, Vec<Address>)>>,
    pub listen_client: Vec<Address>,
    pub listen_peer: Vec<Address>,
    pub advertise_client: Vec<Address>,
    pub advertise_peer: Vec<Address>,
    pub joins_existing: bool,
    pub timing: Timing,
    pub bounds: Bounds,
    pub limits: Limits,
    /// Bytes that one read may answer.
    pub reply_bytes: u64,
    /// 0: none.
    pub quota: u64,
    pub compaction: Option<AutoCompaction>,
}

impl Settings {
    /// Checks settings. An error is one line that says what to do.
    pub fn parse(texts: &Texts) -> Result<Self, String> {
        let name = texts.get(name::NAME).map_or("default", String::as_str);
        check_name(name)?;
        let joins_existing = match texts.get(name::STATE).map_or("new", String::as_str) {
            "new" => false,
            "existing" => true,
            other => return Err(format!("--initial-cluster-state {other:?} is neither new nor existing")),
        };
        let settings = Settings {
            name: name.to_owned(),
            token: texts.get(name::TOKEN).cloned().unwrap_or_else(|| "kvorum-cluster".into()),
            machine: texts.get(name::MACHINE).cloned(),
            cluster: texts.get(name::CLUSTER).map(|text| cluster(text)).transpose()?,
            listen_client: addresses(texts, name::LISTEN_CLIENT)?,
            listen_peer: addresses(texts, name::LISTEN_PEER)?,
            advertise_client: advertised(texts, name::ADVERTISE_CLIENT)?,
            advertise_peer: advertised(texts, name::ADVERTISE_PEER)?,
            joins_existing,
            timing: timing(texts)?,
            bounds: bounds(texts)?,
            limits: limits(texts)?,
            reply_bytes: reply_bytes(texts)?,
            quota: quota(texts)?,
            compaction: compaction(texts)?,
        };
        settings.check()?;
        Ok(settings)
    }

    /// What must hold between settings.
    fn check(&self) -> Result<(), String> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let Some((_, own)) = cluster.iter().find(|(name, _)| *name == self.name) else {
            let names: Vec<&str> = cluster.iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!(
                "--initial-cluster does not name this replica, {:?}; it names {}: add {:?}, or set --name",
                self.name,
                names.join(", "),
                self.name
            ));
        };
        if cluster.len() > 1 && cluster.iter().flat_map(|(_, urls)| urls).any(|url| url.port() == 0) {
            return Err(
                "--initial-cluster of several members cannot use port 0: its peers must know it".into()
            );
        }
        if !self.advertise_peer.is_empty() && self.advertise_peer != *own {
            return Err(format!(
                "--initial-advertise-peer-urls ({}) and --initial-cluster ({}) differ for {:?}: make them equal",
                list(&self.advertise_peer),
                list(own),
                self.name
            ));
        }
        Ok(())
    }

    /// The founding members; where none are given, this one alone, with these peer URLs.
    pub fn founding(&self, own_peer_urls: &[Address]) -> Founding {
        let alone = || vec![(self.name.clone(), own_peer_urls.to_vec())];
        Founding {
            token: self.token.clone(),
            machine: self.machine.clone(),
            members: self.cluster.clone().unwrap_or_else(alone),
        }
    }

    /// How long a silent leader is trusted.
    pub fn election(&self) -> Duration {
        TICK * self.timing.election as u32
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 128 {
        return Err(format!("--name {name:?} must have between 1 and 128 bytes"));
    }
    match name.chars().find(|c| c.is_whitespace() || c.is_control() || matches!(c, '=' | ',' | '/')) {
        Some(c) => Err(format!("--name {name:?} contains {c:?}: use letters, digits, '-', '_' and '.'")),
        None => Ok(()),
    }
}

/// `NAME=URL,NAME=URL,…`, sorted by name.
fn cluster(text: &str) -> Result<Vec<(String, Vec<Address>)>, String> {
    const HELP: &str = "write NAME=http://HOST:PORT,NAME=http://HOST:PORT,…";
    let mut members = BTreeMap::new();
    let mut urls = BTreeMap::new();
    for part in text.split(',').map(str::trim) {
        let (name, url) = part
            .split_once('=')
            .ok_or_else(|| format!("--initial-cluster: {part:?} is not NAME=URL; {HELP}"))?;
        check_name(name).map_err(|e| e.replace("--name", "--initial-cluster: the name"))?;
        let address = Address::from_str(url).map_err(|e| format!("--initial-cluster: {e}"))?;
        if address.is_unspecified() {
            return Err(format!("--initial-cluster: {address} of {name:?} is no address to connect to"));
        }
        if members.insert(name.to_owned(), vec![address.clone()]).is_some() {
            return Err(format!("--initial-cluster names {name:?} twice: give each member once"));
        }
        if let Some(other) = urls.insert(address.clone(), name) {
            return Err(format!("--initial-cluster: {other:?} and {name:?} have the same URL, {address}"));
        }
    }
    if members.len() > MEMBERS {
        return Err(format!(
            "--initial-cluster has {} members, and {MEMBERS} are the most: three or five are usual",
            members.len()
        ));
    }
    Ok(members.into_iter().collect())
}

/// A list of URLs; an empty text is an empty list.
fn addresses(texts: &Texts, name: &str) -> Result<Vec<Address>, String> {
    let mut addresses: Vec<Address> = Vec::new();
    for url in texts.get(name).into_iter().flat_map(|text| text.split(',')).map(str::trim) {
        if url.is_empty() {
            continue;
        }
        let address = Address::from_str(url).map_err(|e| format!("--{name}: {e}"))?;
        if address.port() != 0 && addresses.contains(&address) {
            return Err(format!("--{name} has {address} twice: give it once"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

fn advertised(texts: &Texts, name: &str) -> Result<Vec<Address>, String> {
    let addresses = addresses(texts, name)?;
    match addresses.iter().find(|a| a.is_unspecified() || a.port() == 0) {
        Some(none) => Err(format!("--{name}: {none} is no address that others can connect to")),
        None => Ok(addresses),
    }
}

/// A number within bounds; `default` where none is given.
fn number(texts: &Texts, name: &str, unit: &str, range: (i64, i64), default: i64) -> Result<i64, String> {
    let Some(text) = texts.get(name) else { return Ok(default) };
    let (low, high) = range;
    text.parse()
        .ok()
        .filter(|n| (low..=high).contains(n))
        .ok_or_else(|| format!("--{name} {text:?} must be a whole number of {unit} between {low} and {high}"))
}

fn timing(texts: &Texts) -> Result<Timing, String> {
    let heartbeat = number(texts, name::HEARTBEAT, "milliseconds", (10, 10_000), 100)?;
    let election = number(texts, name::ELECTION, "milliseconds", (50, 50_000), 1000)?;
    if election < 5 * heartbeat {
        return Err(format!(
            "--election-timeout ({election} ms) must be at least five times --heartbeat-interval ({heartbeat} ms)"
        ));
    }
    let ticks = |ms: i64| (ms as u64).div_ceil(TICK.as_millis() as u64);
    Ok(Timing { heartbeat: ticks(heartbeat), election: ticks(election), resend: ticks(3 * heartbeat) })
}

/// What a replica keeps by itself, in memory and on disk.
fn bounds(texts: &Texts) -> Result<Bounds, String> {
    let default = Bounds::default();
    let count =
        |name: &str, unit: &str, most: i64, default: i64| number(texts, name, unit, (1, most), default);
    let entries = count(name::DELIVERIES, "messages", 1 << 20, default.delivery_entries as i64)?;
    // The largest message, at least, with its header.
    let range = (2 * default.message_bytes as i64, 1 << 30);
    let bytes = number(texts, name::DELIVERY_BYTES, "bytes", range, default.delivery_bytes as i64)?;
    let topics = count(name::TOPICS, "topics", 1 << 16, default.topics as i64)?;
    let subscribers = count(name::SUBSCRIBERS, "subscribers", 1 << 16, default.subscribers as i64)?;
    let registers = count(name::REGISTERS, "registers", 1 << 20, default.registers as i64)?;
    let bounds = Bounds {
        delivery_entries: entries as u64,
        delivery_bytes: bytes as usize,
        topics: topics as usize,
        subscribers: subscribers as usize,
        registers: registers as usize,
        ..default
    };
    bounds.check()?;
    Ok(bounds)
}

fn limits(texts: &Texts) -> Result<Limits, String> {
    let default = Limits::default();
    let bytes = number(
        texts,
        name::MAX_REQUEST,
        "bytes",
        (1024, super::COMMAND_BYTES as i64),
        default.max_request_bytes as i64,
    )?;
    let ops = number(texts, name::MAX_OPS, "operations", (1, 100_000), default.max_txn_ops as i64)?;
    Ok(Limits { max_request_bytes: bytes as usize, max_txn_ops: ops as usize })
}

/// One value can always be read.
fn reply_bytes(texts: &Texts) -> Result<u64, String> {
    let range = (16 << 20, 1 << 30);
    number(texts, name::MAX_REPLY, "bytes", range, api::Limits::REPLY_BYTES as i64).map(i64::cast_unsigned)
}

/// 0 stands for the default, a negative number for no quota, as with etcd.
fn quota(texts: &Texts) -> Result<u64, String> {
    match number(texts, name::QUOTA, "bytes", (i64::MIN, i64::MAX), 0)? {
        0 => Ok(api::Limits::QUOTA),
        n => Ok(u64::try_from(n).unwrap_or(0)),
    }
}

fn compaction(texts: &Texts) -> Result<Option<AutoCompaction>, String> {
    let retention = texts.get(name::COMPACTION_RETENTION).map_or("0", String::as_str);
    let wrong = |what: &str| Err(format!("--auto-compaction-retention {retention:?} must be {what}"));
    match texts.get(name::COMPACTION_MODE).map_or("periodic", String::as_str) {
        "periodic" => match period(retention) {
            Some(Duration::ZERO) => Ok(None),
            Some(period) => Ok(Some(AutoCompaction::Periodic(period))),
            None => wrong("hours, or a duration such as 30m or 1h30m"),
        },
        "revision" => match retention.parse() {
            Ok(0) => Ok(None),
            Ok(n) if n > 0 => Ok(Some(AutoCompaction::Revisions(n))),
            _ => wrong("a number of revisions"),
        },
        other => Err(format!("--auto-compaction-mode {other:?} is neither periodic nor revision")),
    }
}

/// A number of hours, or a duration in Go's grammar: `1h30m`, `90s`, `500ms`.
fn period(text: &str) -> Option<Duration> {
    if let Ok(hours) = text.parse::<u32>() {
        return Some(Duration::from_secs(3600) * hours);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, after) = rest.split_at(unit);
        sum += number
            * match unit {
                "h" => Duration::from_secs(3600),
                "m" => Duration::from_secs(60),
                "s" => Duration::from_secs(1),
                "ms" => Duration::from_millis(1),
                _ => return None,
            };
        rest = after;
    }
    Some(sum)
}

/// URLs as one text.
fn list(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(settings: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::parse(&settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn nothing_given_is_a_lone_replica_without_ports() {
        let settings = parse(&[]).unwrap();
        assert_eq!((settings.name.as_str(), settings.quota), ("default", 2 << 30));
        assert!(settings.cluster.is_none() && settings.listen_client.is_empty());
        assert_eq!(settings.timing.election, 100);
        assert_eq!(settings.compaction, None);
    }

    #[test]
    fn members_are_sorted_by_name() {
        let text = "b=http://h:2,a=http://h:1";
        let settings = parse(&[("name", "a"), ("initial-cluster", text)]).unwrap();
        let names: Vec<String> = settings.cluster.unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_contradicts_itself_is_refused_in_one_line() {
        let too_many = (0..8).map(|n| format!("n{n}=http://h:{n}1")).collect::<Vec<_>>().join(",");
        for settings in [
            &[("name", "")][..],
            &[("name", "a b")],
            &[("name", "a=b")],
            &[("initial-cluster", "a=http://h:1")],
            &[("initial-cluster", "default")],
            &[("initial-cluster", "")],
            &[("initial-cluster", "default=http://h:1,default=http://h:2")],
            &[("initial-cluster", "default=http://h:1,b=http://h:1")],
            &[("initial-cluster", "default=https://h:1")],
            &[("initial-cluster", "default=http://0.0.0.0:1")],
            &[("initial-cluster", "default=http://h:0,b=http://h:1")],
            &[("initial-cluster", &too_many), ("name", "n0")],
            &[("initial-cluster", "default=http://h:1"), ("initial-advertise-peer-urls", "http://h:2")],
            &[("initial-cluster-state", "old")],
            &[("listen-client-urls", "localhost:2379")],
            &[("listen-client-urls", "https://localhost:2379")],
            &[("listen-client-urls", "http://localhost:99999")],
            &[("listen-client-urls", "http://h:1,http://h:1")],
            &[("listen-peer-urls", "http://h")],
            &[("advertise-client-urls", "http://0.0.0.0:1")],
            &[("heartbeat-interval", "0")],
            &[("heartbeat-interval", "ten")],
            &[("heartbeat-interval", "300"), ("election-timeout", "1000")],
            &[("election-timeout", "60000")],
            &[("max-request-bytes", "1")],
            &[("max-txn-ops", "0")],
            &[("max-reply-bytes", "1000000")],
            &[("quota-backend-bytes", "2G")],
            &[("auto-compaction-mode", "never")],
            &[("auto-compaction-retention", "1 hour")],
            &[("auto-compaction-mode", "revision"), ("auto-compaction-retention", "-1")],
        ] {
            let error = parse(settings).expect_err(&format!("{settings:?}"));
            assert!(error.contains("--") && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn retention_is_read_as_etcd_reads_it() {
        let read = |mode, text| {
            parse(&[("auto-compaction-mode", mode), ("auto-compaction-retention", text)]).unwrap().compaction
        };
        let minutes = |n: u64| Some(AutoCompaction::Periodic(Duration::from_secs(60 * n)));
        assert_eq!(read("periodic", "1"), minutes(60));
        assert_eq!(read("periodic", "1h30m"), minutes(90));
        assert_eq!(read("periodic", "0"), None);
        assert_eq!(read("revision", "1000"), Some(AutoCompaction::Revisions(1000)));
    }
}
