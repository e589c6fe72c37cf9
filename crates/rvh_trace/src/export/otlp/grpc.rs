//! OTLP/gRPC, by tonic on a runtime of the exporting thread's own.
//!
//! Not by the generated client: that takes a message that it may keep, so each request and each
//! retry would be copied, span by span, and encoded again.

use super::{Attempt, Transport, read_pem, without_credentials};
use crate::{Error, OtlpSettings};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes};
use std::error::Error as _;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

pub(super) struct GrpcTransport {
    runtime: Runtime,
    client: Grpc<Channel>,
    metadata: MetadataMap,
    timeout: Duration,
}

impl GrpcTransport {
    pub(super) fn new(settings: &OtlpSettings) -> Result<Self, Error> {
        let bad_endpoint = |error: tonic::transport::Error| {
            let shown = without_credentials(&settings.endpoint);
            Error::setting("endpoint", shown, error.to_string())
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
        let mut client = Grpc::new(channel);
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

/// The method of the protocol that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends a request that is encoded, and decodes what is answered.
#[derive(Default)]
struct ExportCodec;

impl Codec for ExportCodec {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for ExportCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, request: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(request);
        Ok(())
    }
}

impl Decoder for ExportCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let response = ExportTraceServiceResponse::decode(from);
        response
            .map(Some)
            .map_err(|error| Status::internal(format!("its answer is none: {error}")))
    }
}

async fn export(
    client: &mut Grpc<Channel>,
    request: Request<Bytes>,
) -> Result<ExportTraceServiceResponse, Status> {
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(EXPORT);
    let response = client.unary(request, path, ExportCodec).await?;
    Ok(response.into_inner())
}

impl Transport for GrpcTransport {
    fn attempt(&mut self, request: &Bytes) -> Attempt {
        let mut request = Request::new(request.clone());
        *request.metadata_mut() = self.metadata.clone();
        let Self {
            runtime,
            client,
            timeout,
            ..
        } = self;
        // `timeout` needs the runtime's clock when it is made, so that happens inside.
        let call = async { tokio::time::timeout(*timeout, export(client, request)).await };
        match runtime.block_on(call) {
            Ok(Ok(response)) => {
                let partial = response.partial_success.unwrap_or_default();
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
    // What the collector has answered has no source. With one, tonic has made the status of an
    // error of the connection: most of these are Unknown to it, and some Internal.
    if let Some(mut cause) = status.source() {
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = cause.to_string();
        // What h2 says of the first bytes of an answer by HTTP/1.
        if cause.contains("frame with invalid size") {
            return Attempt::Refused(
                "it does not speak gRPC, whose port is usually 4317; name that one, or set the \
                 protocol http/protobuf"
                    .to_owned(),
            );
        }
        return Attempt::Retry {
            after: None,
            cause: format!("the connection was lost: {cause}"),
        };
    }
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
    use crate::pipeline::Pipeline;
    use crate::{ExporterSettings, Fields, Level, Protocol, Settings, SpanRecord, Stats};
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use tonic_types::ErrorDetails;

    /// A frame of HTTP/2 (RFC 9113, section 4.1).
    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("a short one");
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        frame
    }

    /// Takes a connection, and reads a whole request from it.
    fn request_on(listener: &TcpListener) -> std::io::Result<TcpStream> {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(&frame(4, 0, 0, &[]))?;
        stream.read_exact(&mut [0; 24])?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize])?;
            // Data that ends its stream.
            if head[3] == 0 && head[4] & 1 == 1 {
                return Ok(stream);
            }
        }
    }

    /// The head of an answer: status 200 and the content type, as HPACK writes them.
    fn head() -> Vec<u8> {
        frame(1, 4, 1, b"\x88\x5f\x10application/grpc")
    }

    /// An empty message, which says that all was taken, and gRPC's status 0.
    fn rest() -> Vec<u8> {
        let mut rest = frame(0, 0, 1, &[0; 5]);
        rest.extend(frame(1, 5, 1, b"\x00\x0bgrpc-status\x010"));
        rest
    }

    /// Sends one span to an address, and says what came of it.
    fn stats_of_a_span_to(address: SocketAddr) -> Stats {
        let pipeline = Pipeline::start(Settings {
            exporter: ExporterSettings::Otlp(OtlpSettings {
                protocol: Protocol::Grpc,
                endpoint: format!("http://{address}"),
                ..OtlpSettings::default()
            }),
            ..Settings::default()
        });
        let pipeline = pipeline.expect("settings that can be used");
        let span = Fields::new("span", Vec::new());
        pipeline.submit(SpanRecord::unstarted(span, Level::Info));
        assert!(pipeline.shutdown(Duration::from_secs(60)));
        pipeline.stats()
    }

    #[test]
    fn a_connection_that_is_lost_during_a_request_costs_no_span() {
        // GOAWAY for an internal error, as from a collector that breaks down.
        let goes_away = frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 2]);
        for before_it_is_lost in [Vec::new(), head(), goes_away] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("it has one");
            let collector = std::thread::spawn(move || -> std::io::Result<()> {
                let mut lost = request_on(&listener)?;
                lost.write_all(&before_it_is_lost)?;
                drop(lost);
                let mut stream = request_on(&listener)?;
                stream.write_all(&head())?;
                stream.write_all(&rest())?;
                // Until the client leaves.
                stream.read_to_end(&mut Vec::new()).map(drop)
            });
            let stats = stats_of_a_span_to(address);
            assert_eq!((stats.exported, stats.failed), (1, 0), "{stats:?}");
            let said = stats.last_error.unwrap_or_default();
            assert!(said.contains("the connection was lost"), "{said}");
            let served = collector.join().expect("it ends");
            assert!(served.is_ok(), "{served:?}");
        }
    }

    #[test]
    fn what_speaks_no_grpc_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let server = std::thread::spawn(move || -> std::io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut [0; 24])?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
            // Until the client leaves.
            stream.read_to_end(&mut Vec::new()).map(drop)
        });
        let stats = stats_of_a_span_to(address);
        assert_eq!((stats.exported, stats.failed), (0, 1), "{stats:?}");
        let said = stats.last_error.unwrap_or_default();
        assert!(said.contains("does not speak gRPC"), "{said}");
        drop(server);
    }

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
