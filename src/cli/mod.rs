//! The commands of the `kvorum` program, one file each.
