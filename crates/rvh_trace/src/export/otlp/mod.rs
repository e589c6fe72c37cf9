//! OTLP to a collector: what the transports have in common.

#[cfg(feature = "grpc")]
mod grpc;
mod http;
pub(super) mod messages;

use super::{Exporter, Run};
use crate::{Error, OtlpSettings, Protocol, SpanRecord};
use prost::bytes::Bytes;
use std::path::Path;
use std::time::{Duration, Instant};

/// The first pause before a retry; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How one request ended.
enum Attempt {
    /// The collector took the spans, but for some.
    Delivered { rejected: i64, message: String },
    /// It may work later.
    Retry {
        after: Option<Duration>,
        cause: String,
    },
    /// It will not work.
    Refused(String),
}

/// A way to a collector.
trait Transport: Send {
    /// Sends an encoded `ExportTraceServiceRequest`.
    fn attempt(&mut self, request: &Bytes) -> Attempt;
}

/// Sends batches to a collector, with retries as the protocol's specification says.
pub struct OtlpExporter {
    transport: Box<dyn Transport>,
    endpoint: String,
}

impl OtlpExporter {
    /// Makes the client; nothing is sent yet.
    pub fn new(settings: &OtlpSettings) -> Result<Self, Error> {
        let pair = (&settings.client_certificate, &settings.client_key);
        if let (Some(path), None) | (None, Some(path)) = pair {
            return Err(Error::setting(
                "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE or _KEY",
                path.to_string_lossy(),
                "give both, the certificate and its key",
            ));
        }
        let transport: Box<dyn Transport> = match settings.protocol {
            Protocol::HttpProtobuf => Box::new(http::HttpTransport::new(settings)?),
            #[cfg(feature = "grpc")]
            Protocol::Grpc => Box::new(grpc::GrpcTransport::new(settings)?),
            #[cfg(not(feature = "grpc"))]
            Protocol::Grpc => {
                return Err(Error::Export(
                    "this build has no gRPC: use http/protobuf, or enable the cargo feature `grpc`"
                        .to_owned(),
                ));
            }
        };
        Ok(Self {
            transport,
            endpoint: without_credentials(&settings.endpoint),
        })
    }

    fn failure(&self, cause: &str) -> Error {
        Error::Export(format!(
            "cannot deliver spans to {}: {cause}; is the collector running there?",
            self.endpoint
        ))
    }
}

impl OtlpExporter {
    fn rejection(&self, rejected: usize, sent: usize, message: &str) -> Error {
        let said = match message.trim() {
            "" => "it did not say why",
            message => message,
        };
        Error::Export(format!(
            "the collector at {} rejected {rejected} of {sent} spans: {said}; ask who runs it, for \
             they are not sent again",
            self.endpoint
        ))
    }
}

impl Exporter for OtlpExporter {
    fn export(&mut self, batch: &[SpanRecord], run: &Run<'_>) -> Result<usize, Error> {
        let request = Bytes::from(messages::request(batch, run.resource));
        let mut pause = FIRST_PAUSE;
        loop {
            match self.transport.attempt(&request) {
                Attempt::Delivered { rejected, message } => {
                    let rejected = usize::try_from(rejected).unwrap_or(0);
                    if rejected > 0 {
                        let error = self.rejection(rejected, batch.len(), &message);
                        log::warn!("{error}");
                        run.note(&error);
                    }
                    return Ok(batch.len().saturating_sub(rejected));
                }
                Attempt::Refused(cause) => return Err(self.failure(&cause)),
                Attempt::Retry { after, cause } => {
                    run.note(&self.failure(&cause));
                    // Half to all of the pause, so that many clients do not come back at once.
                    let jitter = 0.5 + rand::random::<f64>() / 2.0;
                    if !run.wait(after.unwrap_or_else(|| pause.mul_f64(jitter)))
                        || Instant::now() >= run.deadline
                    {
                        return Err(self.failure(&cause));
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// `user:password@` and a query do not belong into a message.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let path = path.split('?').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

/// Reads a certificate or key file; the error names the setting.
fn read_pem(name: &str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| {
        Error::setting(
            name,
            path.to_string_lossy(),
            format!("give a PEM file that can be read ({error})"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(
            without_credentials("http://me:pw@host:1/a?key=2"),
            "http://host:1/a"
        );
    }
}
