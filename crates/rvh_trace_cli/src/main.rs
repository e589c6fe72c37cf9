//! `main_trace`: send a test span, check the way to the collector.

use clap::{Args, Parser, Subcommand, ValueEnum};
use rvh_trace::{Error, ExporterSettings, Level, OtlpSettings, Settings};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Send a test span, or check the way to the collector.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Record one span and send it.
    Emit {
        /// The span's name.
        #[arg(long, default_value = "main_trace emit")]
        name: String,
        /// The span's level: trace, debug, info, warn or error.
        #[arg(long, default_value = "info")]
        level: Level,
        /// Where it goes; by the OTEL_* variables unless given.
        #[arg(long)]
        exporter: Option<Exporter>,
        /// An attribute of the span; may be repeated.
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        attribute: Vec<(String, String)>,
        #[command(flatten)]
        common: Common,
    },
    /// Can the collector be reached?
    Doctor {
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Common {
    /// The collector's URL; by the OTEL_* variables unless given.
    #[arg(long)]
    endpoint: Option<String>,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Exporter {
    Otlp,
    Console,
    None,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Emit {
            name,
            level,
            exporter,
            attribute,
            common,
        } => send(&name, level, exporter, &attribute, &common),
        Command::Doctor { common } => send(
            "main_trace doctor",
            Level::Info,
            Some(Exporter::Otlp),
            &[],
            &common,
        ),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("main_trace: {error}");
        ExitCode::from(2)
    })
}

fn send(
    name: &str,
    level: Level,
    exporter: Option<Exporter>,
    attributes: &[(String, String)],
    common: &Common,
) -> Result<ExitCode, Error> {
    let from_env = Settings::from_env();
    for warning in &from_env.warnings {
        eprintln!("main_trace: ignored: {warning}");
    }
    let mut settings = from_env.settings;
    settings.level = Level::Trace;
    let mut otlp = match &settings.exporter {
        ExporterSettings::Otlp(otlp) => otlp.clone(),
        _ => OtlpSettings::default(),
    };
    if let Some(endpoint) = &common.endpoint {
        otlp.endpoint = OtlpSettings::url(endpoint, otlp.protocol)?;
    }
    match exporter {
        Some(Exporter::Otlp) => settings.exporter = ExporterSettings::Otlp(otlp),
        Some(Exporter::Console) => settings.exporter = ExporterSettings::Console,
        Some(Exporter::None) => settings.exporter = ExporterSettings::None,
        None if matches!(settings.exporter, ExporterSettings::Otlp(_)) => {
            settings.exporter = ExporterSettings::Otlp(otlp);
        }
        None => {}
    }
    let mut guard = rvh_trace::init(settings)?;
    let mut span = rvh_trace::new_span_at(name, level);
    for (key, value) in attributes {
        span.record(key, value);
    }
    let trace_id = span.context().map(|context| context.trace_id.to_string());
    span.end();
    // The first answer counts, good or bad: a person waits, so no retries.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut flushed = false;
    while !flushed && Instant::now() < deadline && rvh_trace::stats().last_error.is_none() {
        flushed = rvh_trace::flush(Duration::from_millis(100));
    }
    let stats = rvh_trace::stats();
    guard.timeout = Duration::ZERO;
    let delivered = flushed && stats.exported == 1;
    let cause = match (stats.last_error, flushed) {
        _ if delivered => None,
        (Some(error), _) => Some(error),
        (None, true) => Some("the span was not sampled".to_owned()),
        (None, false) => Some("no answer within 5 seconds".to_owned()),
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
