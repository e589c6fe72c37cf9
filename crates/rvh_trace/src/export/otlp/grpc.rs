//! OTLP/gRPC, by tonic on a runtime of the exporting thread's own.

use super::{Attempt, Transport, read_pem};
use crate::{Error, OtlpSettings};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

pub(super) struct GrpcTransport {
    runtime: Runtime,
    client: TraceServiceClient<Channel>,
    metadata: MetadataMap,
    timeout: Duration,
}

impl GrpcTransport {
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, Error> {
        let bad_endpoint = |error: tonic::transport::Error| {
            Error::setting("endpoint", &settings.endpoint, error.to_string())
        };
        let mut metadata = MetadataMap::new();
        for (name, value) in &settings.headers {
            let key = MetadataKey::<Ascii>::from_bytes(name.to_ascii_lowercase().as_bytes());
            let (Ok(key), Ok(value)) = (key, MetadataValue::try_from(value.as_str())) else {
                return Err(Error::setting(
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    name,
                    "a gRPC header has a plain name and a value of plain text",
                ));
            };
            metadata.insert(key, value);
        }
        let mut endpoint = Endpoint::from_shared(settings.endpoint.clone())
            .map_err(bad_endpoint)?
            .connect_timeout(settings.timeout);
        if settings.endpoint.starts_with("https://") {
            endpoint = endpoint.tls_config(tls(settings)?).map_err(bad_endpoint)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Export(format!("cannot start the gRPC runtime: {error}")))?;
        let channel = {
            let _inside = runtime.enter();
            endpoint.connect_lazy()
        };
        let mut client = TraceServiceClient::new(channel);
        if settings.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client = client.accept_compressed(CompressionEncoding::Gzip);
        Ok(Self {
            runtime,
            client,
            metadata,
            timeout: settings.timeout,
        })
    }
}

fn tls(settings: &OtlpSettings) -> Result<ClientTlsConfig, Error> {
    let mut tls = ClientTlsConfig::new();
    tls = match &settings.certificate {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read_pem(
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            path,
        )?)),
        None => tls.with_webpki_roots(),
    };
    if let (Some(chain), Some(key)) = (&settings.client_certificate, &settings.client_key) {
        tls = tls.identity(Identity::from_pem(
            read_pem("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", chain)?,
            read_pem("OTEL_EXPORTER_OTLP_CLIENT_KEY", key)?,
        ));
    }
    Ok(tls)
}

impl Transport for GrpcTransport {
    fn attempt(&mut self, request: &ExportTraceServiceRequest) -> Attempt {
        let mut request = Request::new(request.clone());
        *request.metadata_mut() = self.metadata.clone();
        let Self {
            runtime,
            client,
            timeout,
            ..
        } = self;
        // `timeout` needs the runtime's clock when it is made, so that happens inside.
        let call = async { tokio::time::timeout(*timeout, client.export(request)).await };
        match runtime.block_on(call) {
            Ok(Ok(response)) => {
                let partial = response.into_inner().partial_success.unwrap_or_default();
                Attempt::Delivered {
                    rejected: partial.rejected_spans,
                    message: partial.error_message,
                }
            }
            Ok(Err(status)) => failed(&status),
            Err(_) => Attempt::Retry {
                after: None,
                cause: format!("no answer within {:?}", self.timeout),
            },
        }
    }
}

fn failed(status: &Status) -> Attempt {
    let cause = format!("it answered gRPC {:?}: {}", status.code(), status.message());
    // How long the collector wants to be left alone, as a status detail.
    let retry_info = status.get_details_retry_info();
    let after = retry_info.as_ref().and_then(|info| info.retry_delay);
    match status.code() {
        // The retryable codes of the specification.
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Attempt::Retry { after, cause },
        Code::ResourceExhausted if retry_info.is_some() => Attempt::Retry { after, cause },
        _ => Attempt::Refused(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn the_collectors_wish_is_kept() {
        let wished = |code, details| failed(&Status::with_error_details(code, "busy", details));
        let soon = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            assert!(matches!(
                wished(code, soon.clone()),
                Attempt::Retry { after: Some(after), .. } if after == Duration::from_millis(1500)
            ));
        }
        let none = ErrorDetails::new();
        assert!(matches!(
            wished(Code::Unavailable, none.clone()),
            Attempt::Retry { after: None, .. }
        ));
        assert!(matches!(
            wished(Code::ResourceExhausted, none),
            Attempt::Refused(_)
        ));
        assert!(matches!(
            wished(Code::InvalidArgument, soon),
            Attempt::Refused(_)
        ));
    }
}
