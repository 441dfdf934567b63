//! Stable storage on a real disk: sled, the witness, identity, and the boot that judges them.
