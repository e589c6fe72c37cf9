//! The command as a person calls it.

use assert_cmd::Command;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
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
fn a_span_that_the_collector_rejects_is_told_in_its_words() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has one");
    let collector = std::thread::spawn(move || -> std::io::Result<()> {
        let (stream, _) = listener.accept()?;
        let mut request = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            request.read_line(&mut line)?;
            let line = line.trim().to_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        request.read_exact(&mut vec![0; length])?;
        // ExportTraceServiceResponse: of its partial_success rejected_spans and error_message.
        let mut stream = request.into_inner();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n")?;
        stream.write_all(b"\x0a\x10\x08\x01\x12\x0cout of quota")
    });
    let endpoint = format!("http://{address}");
    let (code, _, err) = output(&["doctor", "--endpoint", &endpoint, "--timeout", "30"]);
    assert_eq!(code, 1);
    let said = err.lines().last().unwrap_or_default();
    assert!(said.starts_with("main_trace: not delivered: "), "{err}");
    assert!(
        said.contains("rejected") && said.contains("out of quota"),
        "{err}"
    );
    assert!(collector.join().expect("it ends").is_ok());
}

/// A limit on a file's size, in the place of a full disk.
#[test]
#[cfg(unix)]
fn a_disk_that_is_full_for_a_while_leaves_no_half_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("spans.jsonl");
    let emit = |name: &str| {
        let file = file.to_string_lossy();
        output(&["emit", "--name", name, "--file", &file])
    };
    assert_eq!(emit("before").0, 0);
    let program = main_trace(&[]).get_program().to_owned();
    let limited = r#"trap '' XFSZ; ulimit -f 8; exec "$0" emit --file "$1" --attribute "a=$2""#;
    let failed = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(program)
        .arg(&file)
        .arg("x".repeat(20_000))
        .env("OTEL_TRACES_SAMPLER", "always_on")
        .env_remove("OTEL_SDK_DISABLED")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(said.contains("is there room"), "{said}");
    assert_eq!(emit("after").0, 0);
    let text = std::fs::read_to_string(&file).expect("it is there");
    let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines: Result<Vec<_>, _> = lines.collect();
    let lines = lines.expect("each line is JSON");
    let names = lines
        .iter()
        .map(|line| line["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"].clone());
    assert_eq!(names.collect::<Vec<_>>(), ["before", "after"]);
}

#[test]
fn a_bad_endpoint_is_one_clear_sentence() {
    let (code, _, err) = output(&["doctor", "--endpoint", "collector"]);
    assert_eq!(code, 2);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("http://localhost:4318"), "{err}");
}
