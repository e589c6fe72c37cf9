//! Everything that can be set, and the standard `OTEL_*` variables that set it.

use crate::export::Exporter;
use crate::{Error, Level, Limits, Redaction, Resource, Sampler, Tail, Value};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// All settings of the tracer.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The least level that is recorded.
    pub level: Level,
    /// Where finished spans go.
    pub exporter: ExporterSettings,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Who records.
    pub resource: Resource,
    /// How much one span may hold.
    pub limits: Limits,
    /// How spans are queued and sent.
    pub batch: Batch,
    /// Which of the recorded traces are kept when it is known how they went; `None` for all.
    pub tail: Option<Tail>,
    /// Which attributes are cleaned before they leave the process.
    pub redaction: Redaction,
}

impl Default for Settings {
    fn default() -> Self {
        let mut resource = Resource::default();
        resource.set("service.name", Value::Str(default_service_name()));
        resource.set("telemetry.sdk.name", Value::Str("rvh_trace".to_owned()));
        resource.set("telemetry.sdk.language", Value::Str("rust".to_owned()));
        resource.set(
            "telemetry.sdk.version",
            Value::Str(crate::VERSION.to_owned()),
        );
        Self {
            level: Level::default(),
            exporter: ExporterSettings::default(),
            sampler: Sampler::default(),
            resource,
            limits: Limits::default(),
            batch: Batch::default(),
            tail: None,
            redaction: Redaction::default(),
        }
    }
}

/// `unknown_service:` and the program's name, as the resource conventions ask.
fn default_service_name() -> String {
    let program = std::env::args_os().next().map(PathBuf::from);
    match program.as_ref().and_then(|path| path.file_stem()) {
        Some(stem) => format!("unknown_service:{}", stem.to_string_lossy()),
        None => "unknown_service".to_owned(),
    }
}

/// Where finished spans go.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ExporterSettings {
    /// To a collector, by the OpenTelemetry protocol.
    Otlp(OtlpSettings),
    /// To standard output, a line a span.
    Console,
    /// To a file of OTLP JSON lines.
    File(FileSettings),
    /// Kept in memory, for [`crate::finished_spans`].
    Memory,
    /// Recorded and discarded.
    None,
    /// To an exporter of one's own.
    Custom(CustomExporter),
}

/// How to make an exporter of one's own: at the start, and again in the child of a fork.
#[derive(Clone)]
pub struct CustomExporter {
    id: usize,
    make: Arc<dyn Fn() -> Box<dyn Exporter> + Send + Sync>,
}

impl CustomExporter {
    /// `id` tells whether two of them are the same one.
    pub fn new(id: usize, make: impl Fn() -> Box<dyn Exporter> + Send + Sync + 'static) -> Self {
        let make = Arc::new(make);
        Self { id, make }
    }

    pub(crate) fn make(&self) -> Box<dyn Exporter> {
        (self.make)()
    }
}

impl PartialEq for CustomExporter {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl fmt::Debug for CustomExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomExporter({:#x})", self.id)
    }
}

impl Default for ExporterSettings {
    fn default() -> Self {
        Self::Otlp(OtlpSettings::default())
    }
}

/// A file of spans and when it is exchanged for a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Where it is.
    pub path: PathBuf,
    /// Before it grows beyond this, it is moved to `PATH.1`.
    pub max_bytes: u64,
    /// How many of the moved ones are kept.
    pub keep: usize,
}

impl FileSettings {
    /// This path, exchanged at 64 MiB, with three old ones kept.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: 64 << 20,
            keep: 3,
        }
    }
}

/// The OTLP transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `http/protobuf`.
    HttpProtobuf,
    /// `grpc`.
    Grpc,
}

impl Protocol {
    /// The protocol of a name of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        match name.trim() {
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "grpc" => Ok(Self::Grpc),
            other => Err(Error::setting(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                other,
                "use grpc or http/protobuf",
            )),
        }
    }
}

/// A collector and how to talk to it.
#[derive(Clone, PartialEq)]
pub struct OtlpSettings {
    /// The transport.
    pub protocol: Protocol,
    /// The whole URL.
    pub endpoint: String,
    /// Sent with every request. May hold credentials, so `Debug` shows their names only.
    pub headers: Vec<(String, String)>,
    /// For one request.
    pub timeout: Duration,
    /// Whether requests are compressed with gzip.
    pub gzip: bool,
    /// A PEM file of the authorities to trust, in place of the built-in ones.
    pub certificate: Option<PathBuf>,
    /// A PEM file of this client's certificate, for mutual TLS.
    pub client_certificate: Option<PathBuf>,
    /// A PEM file of this client's private key.
    pub client_key: Option<PathBuf>,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self {
            protocol: Protocol::HttpProtobuf,
            endpoint: "http://localhost:4318/v1/traces".to_owned(),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            certificate: None,
            client_certificate: None,
            client_key: None,
        }
    }
}

impl fmt::Debug for OtlpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("OtlpSettings")
            .field("protocol", &self.protocol)
            .field("endpoint", &self.endpoint)
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("gzip", &self.gzip)
            .field("certificate", &self.certificate)
            .field("client_certificate", &self.client_certificate)
            .finish()
    }
}

impl OtlpSettings {
    /// Where a protocol is expected when nobody says.
    pub fn default_endpoint(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::HttpProtobuf => "http://localhost:4318/v1/traces",
            Protocol::Grpc => "http://localhost:4317",
        }
    }

    /// The URL for an endpoint as people write it. For HTTP a bare `http://host:4318` gets the
    /// standard path, and anything with a path is taken as it is; for gRPC there is no path.
    pub fn url(endpoint: &str, protocol: Protocol) -> Result<String, Error> {
        let endpoint = endpoint.trim();
        let example = match protocol {
            Protocol::HttpProtobuf => "http://localhost:4318",
            Protocol::Grpc => "http://localhost:4317",
        };
        let refused = || {
            Error::setting(
                "endpoint",
                endpoint,
                format!("give a URL such as {example}"),
            )
        };
        let rest = endpoint
            .strip_prefix("http://")
            .or_else(|| endpoint.strip_prefix("https://"))
            .ok_or_else(refused)?;
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
        if authority.is_empty() || rest.contains(char::is_whitespace) {
            return Err(refused());
        }
        Ok(match protocol {
            Protocol::HttpProtobuf if path.is_empty() => {
                format!("{}/v1/traces", endpoint.trim_end_matches('/'))
            }
            _ => endpoint.to_owned(),
        })
    }
}

/// How spans are queued and sent (`OTEL_BSP_*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Spans that may wait; the specification's 2048 would be 20 ms at 100,000 spans a second.
    pub queue: usize,
    /// Spans of one request.
    pub size: usize,
    /// The longest that a span waits for a batch to fill.
    pub delay: Duration,
    /// The longest that one export may take, with its retries.
    pub export_timeout: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            queue: 16_384,
            size: 512,
            delay: Duration::from_secs(5),
            export_timeout: Duration::from_secs(30),
        }
    }
}

/// Settings read from variables, and what was wrong with those that were left out.
#[derive(Debug)]
pub struct FromEnv {
    /// The settings.
    pub settings: Settings,
    /// `OTEL_SDK_DISABLED=true`.
    pub disabled: bool,
    /// One sentence for each variable that was ignored.
    pub warnings: Vec<Error>,
}

impl Settings {
    /// The settings of the process environment.
    pub fn from_env() -> FromEnv {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The settings of these variables. An empty one is as good as unset, and one that cannot be
    /// used is ignored with a warning, as the OpenTelemetry specification asks.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> FromEnv {
        let mut reader = Variables {
            get: &get,
            warnings: Vec::new(),
        };
        let mut settings = Self::default();
        for (key, value) in reader.pairs("OTEL_RESOURCE_ATTRIBUTES") {
            settings.resource.set(key, Value::Str(value));
        }
        if let Some(name) = reader.text("OTEL_SERVICE_NAME") {
            settings.resource.set("service.name", Value::Str(name));
        }
        if let Some(level) = reader.parsed("RVH_TRACE_LEVEL", str::parse) {
            settings.level = level;
        }
        let argument = reader.text("OTEL_TRACES_SAMPLER_ARG");
        if let Some(sampler) = reader.parsed("OTEL_TRACES_SAMPLER", |name| {
            Sampler::from_name(name, argument.as_deref())
        }) {
            settings.sampler = sampler;
        } else if let Some(name) = reader.text("OTEL_TRACES_SAMPLER") {
            // An argument that cannot be used is as good as none.
            settings.sampler = Sampler::from_name(&name, None).unwrap_or(settings.sampler);
        }
        let otlp = reader.otlp();
        settings.exporter = match reader.text("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => ExporterSettings::Otlp(otlp),
            Some("console") => ExporterSettings::Console,
            Some("memory") => ExporterSettings::Memory,
            Some("file") => ExporterSettings::File(FileSettings::new(
                reader
                    .text("RVH_TRACE_FILE")
                    .unwrap_or_else(|| "rvh_trace.jsonl".to_owned()),
            )),
            Some("none") => ExporterSettings::None,
            Some(other) => {
                reader.warnings.push(Error::setting(
                    "OTEL_TRACES_EXPORTER",
                    other,
                    "use otlp, console, file, memory or none",
                ));
                ExporterSettings::Otlp(otlp)
            }
        };
        settings.batch = reader.batch();
        settings.limits = reader.limits();
        let disabled = reader.flag("OTEL_SDK_DISABLED");
        FromEnv {
            settings,
            disabled,
            warnings: reader.warnings,
        }
    }
}

struct Variables<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<Error>,
}

impl Variables<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn parsed<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, Error>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|error| self.warnings.push(error)).ok()
    }

    fn number(&mut self, name: &str) -> Option<usize> {
        self.parsed(name, |text| {
            text.parse()
                .map_err(|_| Error::setting(name, text, "give a whole number, 0 or more"))
        })
    }

    fn milliseconds(&mut self, name: &str) -> Option<Duration> {
        self.number(name).map(|ms| Duration::from_millis(ms as u64))
    }

    fn flag(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// `key=value,key=value`, percent-encoded; what is not a pair is left out with a warning that
    /// does not repeat the value, which may be a credential.
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some(text) = self.text(name) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    pairs.push((percent_decoded(key.trim()), percent_decoded(value.trim())));
                }
                _ => self.warnings.push(Error::setting(
                    name,
                    "a part without key=",
                    "write key=value,key=value with %XX for special characters",
                )),
            }
        }
        pairs
    }

    /// The variable of traces, else the one of all signals.
    fn otlp_text(&self, suffix: &str) -> Option<String> {
        self.text(&format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"))
            .or_else(|| self.text(&format!("OTEL_EXPORTER_OTLP_{suffix}")))
    }

    fn otlp(&mut self) -> OtlpSettings {
        let mut otlp = OtlpSettings::default();
        if let Some(name) = self.otlp_text("PROTOCOL") {
            match Protocol::from_name(&name) {
                Ok(protocol) => otlp.protocol = protocol,
                Err(error) => self.warnings.push(error),
            }
        }
        OtlpSettings::default_endpoint(otlp.protocol).clone_into(&mut otlp.endpoint);
        let of_traces = self.text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        let of_all = self.text("OTEL_EXPORTER_OTLP_ENDPOINT");
        if let Some(endpoint) = of_traces.as_ref().or(of_all.as_ref()) {
            match OtlpSettings::url(endpoint, otlp.protocol) {
                Ok(_) if of_traces.is_none() && otlp.protocol == Protocol::HttpProtobuf => {
                    // A base: the path of the signal is appended, whatever it has already.
                    otlp.endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
                }
                Ok(_) => endpoint.clone_into(&mut otlp.endpoint),
                Err(error) => self.warnings.push(error),
            }
        }
        otlp.certificate = self.otlp_text("CERTIFICATE").map(PathBuf::from);
        otlp.client_certificate = self.otlp_text("CLIENT_CERTIFICATE").map(PathBuf::from);
        otlp.client_key = self.otlp_text("CLIENT_KEY").map(PathBuf::from);
        for name in [
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        ] {
            for (key, value) in self.pairs(name) {
                otlp.headers.retain(|(k, _)| !k.eq_ignore_ascii_case(&key));
                otlp.headers.push((key, value));
            }
        }
        for name in [
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        ] {
            if let Some(timeout) = self.milliseconds(name) {
                otlp.timeout = timeout;
            }
        }
        match self.otlp_text("COMPRESSION").as_deref() {
            None | Some("none") => {}
            Some("gzip") => otlp.gzip = true,
            Some(other) => self.warnings.push(Error::setting(
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                other,
                "use gzip or none",
            )),
        }
        otlp
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        if let Some(queue) = self.number("OTEL_BSP_MAX_QUEUE_SIZE") {
            batch.queue = queue.clamp(1, 1 << 22);
        }
        if let Some(size) = self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE") {
            batch.size = size.max(1);
        }
        batch.size = batch.size.min(batch.queue);
        if let Some(delay) = self.milliseconds("OTEL_BSP_SCHEDULE_DELAY") {
            batch.delay = delay;
        }
        if let Some(timeout) = self.milliseconds("OTEL_BSP_EXPORT_TIMEOUT") {
            batch.export_timeout = timeout;
        }
        batch
    }

    fn limits(&mut self) -> Limits {
        let mut limits = Limits::default();
        let of_all = self.number("OTEL_ATTRIBUTE_COUNT_LIMIT");
        limits.attributes = self
            .number("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT")
            .or(of_all)
            .unwrap_or(limits.attributes);
        limits.value_length = self
            .number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT")
            .or_else(|| self.number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"));
        for (name, limit) in [
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", &mut limits.events),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", &mut limits.links),
        ] {
            if let Some(number) = self.number(name) {
                *limit = number;
            }
        }
        for (name, limit) in [
            (
                "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
                &mut limits.event_attributes,
            ),
            (
                "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
                &mut limits.link_attributes,
            ),
        ] {
            if let Some(number) = self.number(name).or(of_all) {
                *limit = number;
            }
        }
        limits
    }
}

/// `%41` is `A`; what is not a valid escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> FromEnv {
        let owned: Vec<(String, String)> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Settings::from_variables(move |name| {
            owned
                .iter()
                .find(|(k, _)| k == name)
                .map(|(_, v)| v.clone())
        })
    }

    #[test]
    fn the_standard_variables_are_read() {
        let from_env = read(&[
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,team=a%2Cb"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "B=3"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7"),
            ("OTEL_SDK_DISABLED", "TRUE"),
        ]);
        assert!(from_env.warnings.is_empty(), "{:?}", from_env.warnings);
        assert!(from_env.disabled);
        let settings = from_env.settings;
        assert_eq!(
            settings.resource.get("service.name"),
            Some(&Value::Str("shop".into()))
        );
        assert_eq!(
            settings.resource.get("team"),
            Some(&Value::Str("a,b".into()))
        );
        assert_eq!(
            settings.sampler,
            Sampler::ParentBased(Box::new(Sampler::Ratio(0.5)))
        );
        assert_eq!((settings.batch.queue, settings.batch.size), (10, 10));
        assert_eq!(settings.limits.value_length, Some(7));
        let ExporterSettings::Otlp(otlp) = settings.exporter else {
            unreachable!()
        };
        assert_eq!(otlp.endpoint, "http://collector:4318/base/v1/traces");
        assert_eq!(
            otlp.headers,
            [("a".into(), "1".into()), ("B".into(), "3".into())]
        );
        assert_eq!(
            (otlp.timeout, otlp.gzip),
            (Duration::from_millis(250), true)
        );
    }

    #[test]
    fn what_cannot_be_used_is_ignored_with_a_warning() {
        let from_env = read(&[
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_SERVICE_NAME", " "),
        ]);
        assert_eq!(from_env.warnings.len(), 4, "{:?}", from_env.warnings);
        assert!(
            from_env
                .warnings
                .iter()
                .all(|w| !w.to_string().contains("secret"))
        );
        assert_eq!(from_env.settings, Settings::default());
    }

    #[test]
    fn a_bad_argument_is_ignored_and_its_sampler_is_not() {
        let from_env = read(&[
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ]);
        assert_eq!(from_env.settings.sampler, Sampler::Ratio(1.0));
        assert_eq!(from_env.warnings.len(), 1);
        assert!(from_env.warnings[0].to_string().contains("SAMPLER_ARG"));
    }

    #[test]
    fn headers_are_not_shown() {
        let otlp = OtlpSettings {
            headers: vec![("authorization".into(), "Bearer hunter2".into())],
            ..OtlpSettings::default()
        };
        assert!(!format!("{otlp:?}").contains("hunter2"));
    }
}
