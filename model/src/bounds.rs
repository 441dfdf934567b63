//! How far the search goes, and what is left out of the protocol.

/// Bounds of a search.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Ballots, from 1 on.
    pub ballots: u8,
    /// Who stands in each of them; process 0 in the odd ones and process 1 in the even ones, if this is empty.
    pub owners: Vec<usize>,
    /// Entries of a log.
    pub entries: u8,
    /// Crashes, beside the one after which the disk is put back.
    pub crashes: u8,
    /// States after which the search gives up.
    pub states: usize,
    /// Whether commit marks are kept and compared.
    pub marks: bool,
    /// Whether decided prefixes are compared.
    pub hash: bool,
    /// Whether an AcceptSync that ends below what is decided here halts.
    pub short: bool,
    /// Whether the search begins where all have recorded the first life of all.
    pub settled: bool,
    /// Whether two lives may stand in the same ballot.
    pub anylife: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            ballots: 2,
            owners: Vec::new(),
            entries: 1,
            crashes: 0,
            states: 60_000_000,
            marks: true,
            hash: true,
            short: true,
            settled: false,
            anylife: false,
        }
    }
}

impl Bounds {
    /// Who stands in a ballot.
    pub fn owner(&self, ballot: u8) -> usize {
        let at = usize::from(ballot - 1);
        self.owners.get(at).copied().unwrap_or(at % 2)
    }
}
