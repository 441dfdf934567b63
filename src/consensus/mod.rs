//! The replicated log: leader detection and Sequence Paxos.
