//! The key-value state machine: multi-version, pure and deterministic.
