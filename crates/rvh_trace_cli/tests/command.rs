//! The command as a person calls it.

use assert_cmd::Command;
use std::net::TcpListener;

fn main_trace(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("main_trace").expect("it is built with the tests");
    command.args(arguments);
    for (name, _) in std::env::vars() {
        if name.starts_with("OTEL_") || name.starts_with("RVH_") || name.starts_with("TRACE") {
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

fn emitted(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, serde_json::Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("spans.jsonl");
    let mut command = main_trace(&["emit", "--file"]);
    command.arg(&file).args(arguments).envs(variables.to_vec());
    let output = command.output().expect("it runs");
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
        serde_json::from_str(&written).unwrap_or_default(),
    )
}

#[test]
fn emit_says_all_that_it_was_told() {
    let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (code, err, sent) = emitted(
        &[
            "--level=debug",
            "--service-name=shop",
            "--resource=team=a",
            "--attribute=paid=yes",
        ],
        &[("TRACEPARENT", header), ("RVH_TRACE_LEVEL", "error")],
    );
    assert_eq!((code, err.as_str()), (0, ""));
    let text = sent.to_string();
    for said in ["shop", "team", "paid"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let span = &sent["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "main_trace emit");
    assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span["parentSpanId"], "b7ad6b7169203331");
}

#[test]
fn a_span_that_is_not_sent_is_told_with_its_cause() {
    let disabled = emitted(&[], &[("OTEL_SDK_DISABLED", "true")]);
    assert_eq!(disabled.0, 1);
    assert!(disabled.1.contains("OTEL_SDK_DISABLED"), "{}", disabled.1);
    let not_sampled = emitted(&[], &[("OTEL_TRACES_SAMPLER", "always_off")]);
    assert_eq!(not_sampled.0, 1);
    assert!(not_sampled.1.contains("not sampled"), "{}", not_sampled.1);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (arguments, said) in [
        (vec!["emit", "--level", "off"], "off"),
        (vec!["emit", "--attribute", "x"], "KEY=VALUE"),
        (vec!["emit", "--timeout", "0"], "timeout"),
        (vec!["emit", "--exporter", "none", "--file", "f"], "file"),
        (vec!["doctor", "--exporter", "none"], "--exporter"),
    ] {
        let (code, _, err) = output(&arguments);
        assert_eq!(code, 2, "{arguments:?}");
        assert!(err.contains(said), "{err}");
    }
}

#[test]
fn doctor_asks_the_collector_of_the_variables_also_where_they_name_another_exporter() {
    let mut command = main_trace(&["doctor", "--json", "--timeout", "5"]);
    command.env("OTEL_TRACES_EXPORTER", "none");
    // A port of no listener.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    let output = command.output().expect("it runs");
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let error = outcome["error"].as_str().unwrap_or_default();
    assert!(error.contains("http://127.0.0.1:1/"), "{outcome}");
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
