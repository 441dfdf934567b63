//! `kvorum verify` on files: its verdicts, and their exit codes.
#![cfg(feature = "cli")]

use std::{
    io::Write,
    process::{Command, Stdio},
};

const RIGHT: &str = r#"{"client":1,"op":"put","key":"a","value":"x","revision":2,"start_ns":1,"end_ns":2,"outcome":"ok"}
{"client":2,"op":"put","key":"a","value":"y","revision":3,"start_ns":3,"end_ns":4,"outcome":"ok"}
"#;
const FRESH: &str =
    r#"{"client":3,"op":"get","key":"a","value":"y","revision":3,"start_ns":5,"end_ns":6,"outcome":"ok"}"#;
const STALE: &str =
    r#"{"client":3,"op":"get","key":"a","value":"x","revision":3,"start_ns":5,"end_ns":6,"outcome":"ok"}"#;

/// Exit code, standard output, standard error.
fn verify(history: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kvorum"))
        .args(["verify", "-"])
        .args(flags)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(history.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_history_that_is_right_passes() {
    let (code, out, err) = verify(&format!("{RIGHT}{FRESH}\n"), &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.starts_with("3 operations of 3 clients on 1 key: 3 ok"), "{out}");
    assert!(out.contains("every property holds"), "{out}");
}

#[test]
fn a_stale_read_fails_and_is_shown() {
    let (code, out, err) = verify(&format!("{RIGHT}{STALE}\n"), &[]);
    assert_eq!(code, Some(1));
    assert!(out.contains("violation of linearizability"), "{out}");
    assert!(out.contains("violation of value at revision"), "{out}");
    assert!(out.contains("get a: \"x\""), "{out}");
    assert_eq!(err, "Error: the history is not that of a correct store\n");
}

#[test]
fn what_is_no_history_is_refused_with_the_line() {
    let (code, out, err) = verify(&format!("{RIGHT}nonsense\n"), &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("Error: -: line 3 of the history is not an operation"), "{err}");
    let (code, _, err) = verify("\n", &[]);
    assert_eq!(code, Some(2));
    assert!(err.contains("no operations"), "{err}");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_kvorum")).args(["verify", "no/such/file"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("Error: no/such/file: "));
}

#[test]
fn what_is_not_decided_is_no_pass() {
    let (code, out, err) = verify(&format!("{RIGHT}{FRESH}\n"), &["--limit", "0"]);
    assert_eq!(code, Some(4));
    assert!(out.contains("UNDECIDED"), "{out}");
    assert!(err.contains("no pass"), "{err}");
}
