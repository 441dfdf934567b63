//! What several of the tests need.
#![allow(dead_code)]

pub mod forgetful;
mod fuse;
mod mounts;
pub mod ports;
