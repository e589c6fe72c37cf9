//! `main_trace`: send a test span, check the way to the collector.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use rvh_trace::{Error, ExporterChoice, Level, SpanContext, Value};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Send a test span, or check the way to the collector.
///
/// What no option says comes from the OTEL_* variables.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Record one span and send it.
    ///
    /// It continues the trace of TRACEPARENT in the environment, if there is one.
    Emit {
        #[command(flatten)]
        emitted: Emitted,
        #[command(flatten)]
        common: Common,
    },
    /// Can the collector be reached?
    Doctor {
        #[command(flatten)]
        common: Common,
    },
}

/// The span, and where it goes.
#[derive(Args)]
struct Emitted {
    /// The span's name.
    #[arg(long, default_value = "main_trace emit")]
    name: String,
    /// The span's level.
    #[arg(long, default_value = "info", value_parser = level())]
    level: Level,
    /// An attribute of the span; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    attribute: Vec<(String, String)>,
    /// What the backend shows the span under.
    #[arg(long, value_name = "NAME")]
    service_name: Option<String>,
    /// An attribute of who records; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    resource: Vec<(String, String)>,
    /// Where it goes.
    #[arg(long, value_parser = ["otlp", "console", "file", "none"])]
    exporter: Option<String>,
    /// The file of the exporter file, which it implies.
    #[arg(long)]
    file: Option<PathBuf>,
}

#[derive(Args)]
struct Common {
    /// The collector's URL.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// How to talk to it.
    #[arg(long, value_parser = ["http/protobuf", "grpc"])]
    protocol: Option<String>,
    /// Sent with the request; may be repeated. Others see it in the list of processes: a secret
    /// belongs into OTEL_EXPORTER_OTLP_HEADERS.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,
    /// How long the request may take.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Levels that a span may have, which `off` is none of.
fn level() -> impl clap::builder::TypedValueParser<Value = Level> {
    PossibleValuesParser::new(["trace", "debug", "info", "warn", "error"])
        .try_map(|name| name.parse::<Level>())
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Emit { emitted, common } => send(emitted, common),
        Command::Doctor { common } => {
            let emitted = Emitted {
                name: "main_trace doctor".to_owned(),
                level: Level::Info,
                attribute: Vec::new(),
                service_name: None,
                resource: Vec::new(),
                exporter: Some("otlp".to_owned()),
                file: None,
            };
            send(emitted, common)
        }
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("main_trace: {error}");
        ExitCode::from(2)
    })
}

fn send(emitted: Emitted, common: Common) -> Result<ExitCode, Error> {
    let choice = ExporterChoice {
        exporter: (emitted.exporter).or_else(|| emitted.file.as_ref().map(|_| "file".to_owned())),
        endpoint: common.endpoint,
        protocol: common.protocol,
        headers: (!common.header.is_empty()).then_some(common.header),
        timeout: common.timeout,
        file: emitted.file,
    };
    let from_env = choice.over_env()?;
    for warning in &from_env.warnings {
        eprintln!("main_trace: ignored: {warning}");
    }
    let mut settings = from_env.settings;
    for (key, value) in emitted.resource {
        settings.resource.set(key, Value::Str(value));
    }
    if let Some(name) = emitted.service_name {
        settings.resource.set("service.name", Value::Str(name));
    }
    // What is asked for is recorded; a program's own level is no matter here.
    settings.level = Level::Trace;
    if from_env.disabled {
        settings.level = Level::Off;
    }
    let mut guard = rvh_trace::init(settings)?;
    let parent = std::env::var("TRACEPARENT").ok();
    let parent = parent.and_then(|header| SpanContext::from_traceparent(&header));
    let state = std::env::var("TRACESTATE").unwrap_or_default();
    let parent = parent.map(|parent| parent.with_tracestate(&state));
    let mut span = rvh_trace::child_of(&emitted.name, emitted.level, parent.as_ref());
    for (key, value) in &emitted.attribute {
        span.record(key, value);
    }
    let trace_id = span.context().map(|context| context.trace_id.to_string());
    span.end();
    // The first answer counts, good or bad: a person waits, so no retries.
    let patience = common.timeout.map_or(5.0, |timeout| timeout + 1.0);
    let started = Instant::now();
    let mut flushed = false;
    while !flushed
        && started.elapsed().as_secs_f64() < patience
        && rvh_trace::stats().last_error.is_none()
    {
        flushed = rvh_trace::flush(Duration::from_millis(100));
    }
    let stats = rvh_trace::stats();
    guard.timeout = Duration::ZERO;
    let delivered = flushed && stats.exported == 1;
    let cause = match (stats.last_error, flushed) {
        _ if delivered => None,
        _ if from_env.disabled => Some("OTEL_SDK_DISABLED turns tracing off".to_owned()),
        (Some(error), _) => Some(error),
        (None, true) => Some("the span was not sampled".to_owned()),
        (None, false) => Some(format!("no answer within {patience} seconds")),
    };
    if common.json {
        let outcome = serde_json::json!({
            "delivered": delivered, "trace_id": trace_id, "error": cause,
        });
        println!("{outcome}");
    } else if let Some(cause) = cause {
        eprintln!("main_trace: not delivered: {cause}");
    } else {
        println!("delivered: trace {}", trace_id.unwrap_or_default());
    }
    Ok(ExitCode::from(u8::from(!delivered)))
}
