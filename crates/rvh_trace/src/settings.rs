//! Everything that can be set, and the standard `OTEL_*` variables that set it.

use crate::detectors;
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
    /// The protocol of a name of `OTEL_EXPORTER_OTLP_PROTOCOL`, or of another setting.
    fn from_name(setting: &str, name: &str) -> Result<Self, Error> {
        match name.trim() {
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "grpc" => Ok(Self::Grpc),
            other => Err(Error::setting(setting, other, "use grpc or http/protobuf")),
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
    fn default_endpoint(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::HttpProtobuf => "http://localhost:4318/v1/traces",
            Protocol::Grpc => "http://localhost:4317",
        }
    }

    /// The URL for an endpoint as people write it. For HTTP a bare `http://host:4318` gets the
    /// standard path, and anything with a path is taken as it is; for gRPC there is no path.
    fn url(name: &str, endpoint: &str, protocol: Protocol) -> Result<String, Error> {
        let endpoint = endpoint.trim();
        let example = match protocol {
            Protocol::HttpProtobuf => "http://localhost:4318",
            Protocol::Grpc => "http://localhost:4317",
        };
        let refused = || Error::setting(name, endpoint, format!("give a URL such as {example}"));
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
    /// The longest that a span waits for a batch to fill; less than a millisecond is taken for one.
    pub delay: Duration,
    /// The longest that one export may take, with its retries.
    pub export_timeout: Duration,
}

impl Batch {
    /// With none the export thread would never rest.
    pub(crate) const LEAST_DELAY: Duration = Duration::from_millis(1);
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

/// What a call, or a command line, says of where finished spans go. What it leaves open is as the
/// environment says.
#[derive(Clone, Default)]
pub struct ExporterChoice {
    /// otlp, console, file, memory or none.
    pub exporter: Option<String>,
    /// The collector's URL.
    pub endpoint: Option<String>,
    /// `http/protobuf` or `grpc`.
    pub protocol: Option<String>,
    /// Sent with every request, in place of those of the environment.
    pub headers: Option<Vec<(String, String)>>,
    /// Seconds that one request may take.
    pub timeout: Option<f64>,
    /// The file of the exporter "file", which it implies where nobody names another.
    pub file: Option<PathBuf>,
}

impl ExporterChoice {
    /// The settings of the process environment, with this in place of what that says.
    ///
    /// ```
    /// use rvh_trace::{ExporterChoice, ExporterSettings};
    /// let choice = ExporterChoice { exporter: Some("console".into()), ..Default::default() };
    /// let from_env = choice.over_env()?;
    /// assert_eq!(from_env.settings.exporter, ExporterSettings::Console);
    /// # Ok::<(), rvh_trace::Error>(())
    /// ```
    ///
    /// # Errors
    /// When something in it cannot be used.
    pub fn over_env(&self) -> Result<FromEnv, Error> {
        let mut from_env = self.over_variables(|name| std::env::var(name).ok())?;
        detectors::add_to(&mut from_env.settings.resource);
        Ok(from_env)
    }

    fn over_variables(&self, get: impl Fn(&str) -> Option<String>) -> Result<FromEnv, Error> {
        let protocol = match &self.protocol {
            Some(name) => Some(Protocol::from_name("protocol", name)?),
            None => None,
        };
        let mut reader = Variables {
            get: &get,
            warnings: Vec::new(),
        };
        // The variables of the endpoint mean another one for each protocol.
        let mut otlp = reader.otlp(protocol);
        if let Some(endpoint) = &self.endpoint {
            otlp.endpoint = OtlpSettings::url("endpoint", endpoint, otlp.protocol)?;
        }
        if let Some(headers) = &self.headers {
            otlp.headers.clone_from(headers);
        }
        if let Some(timeout) = self.timeout {
            otlp.timeout = above_zero("timeout", timeout)?;
        }
        let file = self.file.clone();
        let file = file.or_else(|| reader.text("RVH_TRACE_FILE").map(PathBuf::from));
        let file = FileSettings::new(file.unwrap_or_else(|| "rvh_trace.jsonl".into()));
        let variable = reader.text("OTEL_TRACES_EXPORTER");
        let exporter = match (&self.exporter, variable, &self.file) {
            (Some(name), _, _) => ExporterSettings::named("exporter", name, otlp, file)?,
            (None, Some(name), _) => {
                ExporterSettings::named("OTEL_TRACES_EXPORTER", &name, otlp.clone(), file)
                    .unwrap_or_else(|error| {
                        reader.warnings.push(error);
                        ExporterSettings::Otlp(otlp)
                    })
            }
            (None, None, Some(_)) => ExporterSettings::File(file),
            (None, None, None) => ExporterSettings::Otlp(otlp),
        };
        if let (Some(named), Some(path)) = (&self.exporter, &self.file)
            && !matches!(exporter, ExporterSettings::File(_))
        {
            let mend = format!("the exporter {named} writes none; use the exporter file");
            return Err(Error::setting("file", path.to_string_lossy(), mend));
        }
        Ok(reader.settings(exporter))
    }
}

fn above_zero(name: &str, seconds: f64) -> Result<Duration, Error> {
    // Beyond it the end has no `Instant`.
    const LONGEST: f64 = 1e9;
    Duration::try_from_secs_f64(seconds.min(LONGEST))
        .ok()
        .filter(|time| !time.is_zero() && !seconds.is_nan())
        .ok_or_else(|| Error::setting(name, seconds.to_string(), "give seconds, more than 0"))
}

impl ExporterSettings {
    /// The exporter of a name; the collector and the file are for those that need one.
    fn named(
        setting: &str,
        name: &str,
        otlp: OtlpSettings,
        file: FileSettings,
    ) -> Result<Self, Error> {
        Ok(match name.trim() {
            "otlp" => Self::Otlp(otlp),
            "console" => Self::Console,
            "file" => Self::File(file),
            "memory" => Self::Memory,
            "none" => Self::None,
            other => {
                let mend = "use otlp, console, file, memory or none";
                return Err(Error::setting(setting, other, mend));
            }
        })
    }

    /// What it is called in metrics: `otel.component.type` of OpenTelemetry's conventions.
    pub fn component_type(&self) -> &'static str {
        match self {
            Self::Otlp(otlp) if otlp.protocol == Protocol::Grpc => "otlp_grpc_span_exporter",
            Self::Otlp(_) => "otlp_http_span_exporter",
            Self::Console => "rvh_trace.console",
            Self::File(_) => "rvh_trace.file",
            Self::Memory => "rvh_trace.memory",
            Self::None => "rvh_trace.none",
            Self::Custom(_) => "rvh_trace.custom",
        }
    }
}

impl Settings {
    /// The settings of the process environment, and what is found out about the process.
    pub fn from_env() -> FromEnv {
        let mut from_env = Self::from_variables(|name| std::env::var(name).ok());
        detectors::add_to(&mut from_env.settings.resource);
        from_env
    }

    /// The settings of these variables. An empty one is as good as unset, and one that cannot be
    /// used is ignored with a warning, as the OpenTelemetry specification asks.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> FromEnv {
        match ExporterChoice::default().over_variables(get) {
            Ok(from_env) => from_env,
            Err(_) => unreachable!("nothing was chosen that could be wrong"),
        }
    }
}

struct Variables<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<Error>,
}

impl Variables<'_> {
    /// All settings but the exporter's.
    fn settings(mut self, exporter: ExporterSettings) -> FromEnv {
        let mut settings = Settings {
            exporter,
            ..Settings::default()
        };
        for (key, value) in self.pairs("OTEL_RESOURCE_ATTRIBUTES") {
            settings.resource.set(key, Value::Str(value));
        }
        if let Some(name) = self.text("OTEL_SERVICE_NAME") {
            settings.resource.set("service.name", Value::Str(name));
        }
        if let Some(level) = self.parsed("RVH_TRACE_LEVEL", str::parse) {
            settings.level = level;
        }
        let argument = self.text("OTEL_TRACES_SAMPLER_ARG");
        if let Some(sampler) = self.parsed("OTEL_TRACES_SAMPLER", |name| {
            Sampler::from_name(name, argument.as_deref())
        }) {
            settings.sampler = sampler;
        } else if let Some(name) = self.text("OTEL_TRACES_SAMPLER") {
            // An argument that cannot be used is as good as none.
            settings.sampler = Sampler::from_name(&name, None).unwrap_or(settings.sampler);
        }
        settings.batch = self.batch();
        settings.limits = self.limits();
        let disabled = self.flag("OTEL_SDK_DISABLED");
        FromEnv {
            settings,
            disabled,
            warnings: self.warnings,
        }
    }

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

    /// The collector, for a protocol that counts more than the variable's.
    fn otlp(&mut self, protocol: Option<Protocol>) -> OtlpSettings {
        let mut otlp = OtlpSettings::default();
        if let Some(name) = self.otlp_text("PROTOCOL") {
            match Protocol::from_name("OTEL_EXPORTER_OTLP_PROTOCOL", &name) {
                Ok(protocol) => otlp.protocol = protocol,
                Err(error) => self.warnings.push(error),
            }
        }
        otlp.protocol = protocol.unwrap_or(otlp.protocol);
        OtlpSettings::default_endpoint(otlp.protocol).clone_into(&mut otlp.endpoint);
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ];
        let [of_traces, of_all] = names.map(|name| self.text(name));
        if let Some(endpoint) = of_traces.as_ref().or(of_all.as_ref()) {
            let mut endpoint = endpoint.clone();
            if otlp.protocol == Protocol::Grpc && !endpoint.contains("://") {
                // As gRPC writes it; a variable of its own then says whether it is TLS.
                let insecure = self.otlp_text("INSECURE");
                let plain = insecure.is_some_and(|text| text.eq_ignore_ascii_case("true"));
                endpoint.insert_str(0, if plain { "http://" } else { "https://" });
            }
            let name = names[usize::from(of_traces.is_none())];
            match OtlpSettings::url(name, &endpoint, otlp.protocol) {
                Ok(_) if of_traces.is_none() && otlp.protocol == Protocol::HttpProtobuf => {
                    // A base: the path of the signal is appended, whatever it has already.
                    otlp.endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
                }
                Ok(_) => otlp.endpoint = endpoint,
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
            let timeout = self.parsed(name, |text| match text.parse() {
                Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
                _ => {
                    let mend = "give a whole number of milliseconds, more than 0";
                    Err(Error::setting(name, text, mend))
                }
            });
            if let Some(timeout) = timeout {
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
            if delay < Batch::LEAST_DELAY {
                let mend = "give a whole number of milliseconds, more than 0; it is taken for 1";
                let name = "OTEL_BSP_SCHEDULE_DELAY";
                self.warnings.push(Error::setting(name, "0", mend));
            }
            batch.delay = delay.max(Batch::LEAST_DELAY);
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
        // Digits are asked for, because a number may begin with a sign.
        let escape = text
            .get(at + 1..at + 3)
            .filter(|hex| bytes[at] == b'%' && hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
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

    fn chosen(choice: &ExporterChoice, variables: &[(&str, &str)]) -> Result<FromEnv, Error> {
        choice.over_variables(|name| {
            let found = variables.iter().find(|(k, _)| *k == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn collector(from_env: FromEnv) -> OtlpSettings {
        match from_env.settings.exporter {
            ExporterSettings::Otlp(otlp) => otlp,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn an_endpoint_as_grpc_writes_it() {
        let endpoint = |protocol, insecure| {
            let from_env = read(&[
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
                ("OTEL_EXPORTER_OTLP_INSECURE", insecure),
            ]);
            let warnings: Vec<_> = from_env.warnings.iter().map(ToString::to_string).collect();
            (collector(from_env).endpoint, warnings.concat())
        };
        let taken = |endpoint: &str| (endpoint.to_owned(), String::new());
        assert_eq!(endpoint("grpc", "True"), taken("http://collector:4317"));
        assert_eq!(endpoint("grpc", ""), taken("https://collector:4317"));
        let (default, warning) = endpoint("http/protobuf", "true");
        assert_eq!(default, "http://localhost:4318/v1/traces");
        let said = "OTEL_EXPORTER_OTLP_ENDPOINT = \"collector:4317\" cannot be used: give a URL";
        assert!(warning.starts_with(said), "{warning}");
    }

    #[test]
    fn what_is_chosen_counts_more_than_the_variables_and_the_rest_stays() {
        let variables = [
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:1234"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("RVH_TRACE_FILE", "of the variable"),
        ];
        let none = ExporterChoice::default();
        let exporter = chosen(&none, &variables).map(|from_env| from_env.settings.exporter);
        assert_eq!(exporter, Ok(ExporterSettings::None));

        let choice = ExporterChoice {
            exporter: Some("otlp".into()),
            protocol: Some("grpc".into()),
            timeout: Some(0.5),
            ..none.clone()
        };
        let otlp = collector(chosen(&choice, &variables).expect("it can be used"));
        assert_eq!(otlp.protocol, Protocol::Grpc);
        assert_eq!(otlp.endpoint, "http://collector:1234");
        assert_eq!(otlp.headers, [("a".into(), "1".into())]);
        assert_eq!(otlp.timeout, Duration::from_millis(500));

        let file = |choice: &ExporterChoice, variables: &[(&str, &str)]| {
            chosen(choice, variables).map(|from_env| match from_env.settings.exporter {
                ExporterSettings::File(file) => Some(file.path),
                _ => None,
            })
        };
        let named = ExporterChoice {
            exporter: Some("file".into()),
            ..none.clone()
        };
        assert_eq!(file(&named, &variables), Ok(Some("of the variable".into())));
        let path = ExporterChoice {
            file: Some("chosen".into()),
            ..none
        };
        // It implies the exporter, unless the variable names another one.
        assert_eq!(file(&path, &variables), Ok(None));
        assert_eq!(file(&path, &variables[1..]), Ok(Some("chosen".into())));
    }

    #[test]
    fn a_choice_that_cannot_be_used_is_refused() {
        let none = ExporterChoice::default;
        let text = |text: &str| Some(text.to_owned());
        for (choice, name) in [
            (
                ExporterChoice {
                    exporter: text("post"),
                    ..none()
                },
                "exporter",
            ),
            (
                ExporterChoice {
                    protocol: text("smoke"),
                    ..none()
                },
                "protocol",
            ),
            (
                ExporterChoice {
                    endpoint: text("collector"),
                    ..none()
                },
                "endpoint",
            ),
            (
                ExporterChoice {
                    timeout: Some(-1.0),
                    ..none()
                },
                "timeout",
            ),
            (
                ExporterChoice {
                    timeout: Some(f64::NAN),
                    ..none()
                },
                "timeout",
            ),
            (
                ExporterChoice {
                    exporter: text("console"),
                    file: Some("spans".into()),
                    ..none()
                },
                "file",
            ),
        ] {
            let refused = chosen(&choice, &[]).expect_err(name).to_string();
            assert!(refused.starts_with(&format!("{name} = ")), "{refused}");
        }
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
    fn times_of_zero_are_not_taken() {
        let from_env = read(&[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ]);
        let warnings: Vec<_> = from_env.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for name in [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_BSP_SCHEDULE_DELAY",
        ] {
            let said = |warning: &String| warning.starts_with(&format!("{name} = \"0\""));
            assert!(warnings.iter().any(said), "{warnings:?}");
        }
        // One who asks for no delay wants a short one.
        assert_eq!(from_env.settings.batch.delay, Duration::from_millis(1));
        assert_eq!(collector(from_env).timeout, Duration::from_millis(250));
    }

    #[test]
    fn an_escape_has_two_hexadecimal_digits() {
        let from_env = read(&[(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "a=%41%e2%82%AC,b=100%+1,c=%-1%4%g0%,d=%\u{20ac}",
        )]);
        let expected = [
            ("a", "A\u{20ac}"),
            ("b", "100%+1"),
            ("c", "%-1%4%g0%"),
            ("d", "%\u{20ac}"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(collector(from_env).headers, expected);
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
