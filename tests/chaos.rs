//! `scripts/chaos`: its command line. What it does is seen by running it (`.ci/run`).
#![cfg(unix)]

use std::{
    path::Path,
    process::{Command, Output},
};

fn chaos(flags: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/chaos");
    Command::new("bash").arg(script).args(flags).output().unwrap()
}

#[test]
fn it_says_what_it_does() {
    let output = chaos(&["--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for flag in ["--seconds", "--seed", "--replicas", "--partitions", "--history", "--profile"] {
        assert!(text.contains(flag), "{flag}");
    }
}

#[test]
fn a_wrong_command_line_is_refused_before_anything_is_built() {
    for (flags, complaint) in [
        (&["--nonsense"][..], "unknown option '--nonsense'"),
        (&["--seconds"], "--seconds needs a value"),
        (&["--seconds", "soon"], "--seconds takes a number from 1 to 86400, not 'soon'"),
        (&["--seconds=0"], "--seconds takes a number"),
        (&["--seed", "-1"], "--seed takes a number"),
        (&["--replicas", "8"], "--replicas takes a number from 1 to 7, not '8'"),
        (&["--replicas", "1", "--partitions"], "--partitions needs two replicas at least"),
        (&["--profile", "fast"], "--profile is dev or release, not 'fast'"),
        (&["--history", "no/such/directory/file"], "no/such/directory/file"),
    ] {
        let output = chaos(flags);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {text}");
        assert!(text.contains(complaint), "{flags:?}: {text}");
        assert!(output.stdout.is_empty(), "{flags:?}");
    }
}
