//! OTLP/HTTP with protobuf bodies.

use super::{Attempt, Transport, read_pem};
use crate::{Error, OtlpSettings};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use prost::bytes::Bytes;
use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// A collector's answer is a few bytes; what is longer is not one.
const LONGEST_ANSWER: u64 = 64 << 10;

pub(super) struct HttpTransport {
    agent: ureq::Agent,
    settings: OtlpSettings,
}

impl HttpTransport {
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, Error> {
        for (name, value) in &settings.headers {
            let valid = ureq::http::HeaderName::try_from(name.as_str()).is_ok()
                && ureq::http::HeaderValue::try_from(value.as_str()).is_ok();
            if !valid {
                return Err(Error::setting(
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    name,
                    "an HTTP header has a plain name and a value of one line",
                ));
            }
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(settings.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(format!("rvh_trace/{}", crate::VERSION))
            .tls_config(tls(settings)?)
            .build()
            .new_agent();
        Ok(Self {
            agent,
            settings: settings.clone(),
        })
    }
}

fn tls(settings: &OtlpSettings) -> Result<TlsConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if let Some(path) = &settings.certificate {
        let name = "OTEL_EXPORTER_OTLP_CERTIFICATE";
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates(name, path)?));
    }
    if let (Some(chain), Some(key_path)) = (&settings.client_certificate, &settings.client_key) {
        let name = "OTEL_EXPORTER_OTLP_CLIENT_KEY";
        let key = PrivateKey::from_pem(&read_pem(name, key_path)?)
            .map_err(|error| Error::setting(name, key_path.to_string_lossy(), error.to_string()))?;
        let chain = certificates("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", chain)?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&chain, key)));
    }
    Ok(tls.build())
}

fn certificates(name: &str, path: &std::path::Path) -> Result<Vec<Certificate<'static>>, Error> {
    let pem = read_pem(name, path)?;
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        let mend = "give a PEM file that has a certificate";
        return Err(Error::setting(name, path.to_string_lossy(), mend));
    }
    Ok(certificates)
}

impl Transport for HttpTransport {
    fn attempt(&mut self, request: &Bytes) -> Attempt {
        let (body, gzip) = match self.settings.gzip.then(|| compressed(request)) {
            Some(Ok(body)) => (Cow::Owned(body), true),
            _ => (Cow::Borrowed(&request[..]), false),
        };
        let mut post = self
            .agent
            .post(&self.settings.endpoint)
            .header("content-type", "application/x-protobuf");
        if gzip {
            post = post.header("content-encoding", "gzip");
        }
        for (name, value) in &self.settings.headers {
            post = post.header(name, value);
        }
        let mut response = match post.send(&body[..]) {
            Ok(response) => response,
            Err(error) => {
                return Attempt::Retry {
                    after: None,
                    cause: error.to_string(),
                };
            }
        };
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| pause_until(text.trim(), SystemTime::now()));
        let body = response.body_mut().with_config().limit(LONGEST_ANSWER);
        let answer = body.read_to_vec().unwrap_or_default();
        match status {
            200..=299 => {
                let partial = ExportTraceServiceResponse::decode(answer.as_slice())
                    .ok()
                    .and_then(|response| response.partial_success)
                    .unwrap_or_default();
                Attempt::Delivered {
                    rejected: partial.rejected_spans,
                    message: partial.error_message,
                }
            }
            // The retryable codes of the specification.
            429 | 502 | 503 | 504 => Attempt::Retry {
                after,
                cause: format!("it answered HTTP {status}"),
            },
            _ => Attempt::Refused(format!("it answered HTTP {status}")),
        }
    }
}

/// The pause that a Retry-After header asks for: seconds, or a date (RFC 9110, section 10.2.3).
fn pause_until(retry_after: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = retry_after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(retry_after).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn compressed(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (header, seconds) in [
            ("3", Some(3)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(pause_until(header, now), expected, "{header}");
        }
    }
}
