//! The command as a person calls it.

use assert_cmd::Command;
use std::net::TcpListener;

fn main_trace(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("main_trace").expect("it is built with the tests");
    command.args(arguments);
    for (name, _) in std::env::vars() {
        if name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

fn output(arguments: &[&str]) -> (i32, String, String) {
    let output = main_trace(arguments).output().expect("it runs");
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn emit_prints_the_span_on_the_console() {
    let (code, out, err) = output(&[
        "emit",
        "--exporter",
        "console",
        "--name",
        "hello",
        "--attribute",
        "a=b=c",
    ]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains(" hello trace=") && out.contains(" a=b=c"),
        "{out}"
    );
}

#[test]
fn doctor_says_that_nobody_listens() {
    // A port that was free a moment ago, with no listener.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let (code, out, err) = output(&["doctor", "--json", "--endpoint", &endpoint]);
    assert_eq!(code, 1);
    let outcome: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(outcome["delivered"], false);
    assert_eq!(err, "", "with --json all is said on standard output");
}

#[test]
fn a_bad_endpoint_is_one_clear_sentence() {
    let (code, _, err) = output(&["doctor", "--endpoint", "collector"]);
    assert_eq!(code, 2);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("http://localhost:4318"), "{err}");
}
