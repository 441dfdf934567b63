//! Looking at one execution of the simulator, on the command line.
#![cfg(feature = "cli")]

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
    command
        .args(["sim", "--profile", "calm", "--steps", "300", "--processes", "1"])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_execution_is_drawn_and_stopped_at_a_step() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("3.svg");
    let out = sim(&["--seed", "3", "--draw", path.to_str().unwrap(), "--configuration", "120"]);
    assert!(out.status.success(), "{out:?}");
    let told = text(&out.stdout);
    assert!(told.starts_with("Configuration after step 120\n\np0  "), "{told}");
    assert!(told.contains("seed 3: every property held"), "{told}");
    let svg = std::fs::read_to_string(path).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains(">p0</text>"), "{svg}");
}

#[test]
fn a_picture_is_of_one_seed_and_of_a_file_that_can_be_written() {
    let out = sim(&["--seeds", "0..2", "--draw", "x.svg"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(text(&out.stderr).contains("cannot be used with"), "{out:?}");
    let out = sim(&["--seed", "3", "--draw", "/nowhere/x.svg"]);
    assert!(!out.status.success());
    assert!(text(&out.stderr).contains("cannot be written to /nowhere/x.svg"), "{out:?}");
}
