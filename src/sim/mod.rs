//! The simulator: the production stack under a seeded adversary, with a monitor per property.
