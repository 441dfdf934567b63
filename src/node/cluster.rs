//! Who founds a cluster, and the ids that follow from it.

use crate::api::{Cluster, Member};
use crate::kernel::ProcessId;
use crate::transport::Address;

/// What all founding members must be told alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Founding {
    pub token: String,
    /// The state machine, if it is not the store.
    pub machine: Option<String>,
    /// Name and peer URLs, sorted by name.
    pub members: Vec<(String, Vec<Address>)>,
}

impl Founding {
    /// Hashed with the token, a member's urls and so on in one fixed order.
    fn hash(&self, what: &str, only: Option<&str>) -> u64 {
        let mut hash = Fnv::new();
        hash.add(what);
        hash.add(&self.token);
        self.machine.iter().for_each(|machine| hash.add(machine));
        for (name, addresses) in self.members.iter().filter(|(name, _)| only.is_none_or(|o| o == name)) {
            hash.add(name);
            let mut urls: Vec<String> = addresses.iter().map(Address::to_string).collect();
            urls.sort();
            urls.iter().for_each(|url| hash.add(url));
        }
        hash.finish()
    }

    pub fn cluster_id(&self) -> u64 {
        self.hash("cluster", None)
    }

    pub fn configuration(&self) -> u64 {
        self.hash("configuration", None)
    }

    /// The cluster, with what is known before anyone was heard.
    pub fn cluster(&self, id: u64, me: ProcessId, client_urls: Vec<String>) -> Cluster {
        let member = |(place, (name, addresses)): (usize, &(String, Vec<Address>))| Member {
            id: self.hash("member", Some(name)),
            name: name.clone(),
            peer_urls: addresses.iter().map(Address::to_string).collect(),
            client_urls: if place == me.index() { client_urls.clone() } else { Vec::new() },
            learner: false,
        };
        Cluster { id, me, members: self.members.iter().enumerate().map(member).collect() }
    }
}

/// FNV-1a of 64 bits over parts, each followed by a byte that no text contains, and mixed at the
/// end so that short inputs spread. The ids are stored: they must never change.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &str) {
        for byte in text.bytes().chain([0xff]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(self) -> u64 {
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)).max(1) // 0 stands for nobody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding(token: &str, names: &[&str]) -> Founding {
        let member = |name: &&str| (name.to_string(), vec![Address::new(*name, 2380)]);
        Founding { token: token.into(), machine: None, members: names.iter().map(member).collect() }
    }

    #[test]
    fn ids_never_change() {
        let founding = founding("t", &["a", "b"]);
        assert_eq!(founding.cluster_id(), 0x574b_a04a_9e96_7ab1);
        let cluster = founding.cluster(founding.cluster_id(), ProcessId(1), vec![]);
        assert_eq!(cluster.my_id(), 0x3613_7851_c964_f86c);
    }

    #[test]
    fn ids_tell_tokens_members_and_names_apart() {
        let ids = [
            founding("t", &["a", "b"]).cluster_id(),
            founding("u", &["a", "b"]).cluster_id(),
            founding("t", &["a", "c"]).cluster_id(),
            founding("t", &["a"]).cluster_id(),
            founding("t", &["ab"]).cluster_id(),
            founding("t", &["a", "b"]).configuration(),
            Founding { machine: Some("bank".into()), ..founding("t", &["a", "b"]) }.cluster_id(),
        ];
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "{i}");
        }
    }
}
