//! Histories of client operations, and the check that they are linearizable.
