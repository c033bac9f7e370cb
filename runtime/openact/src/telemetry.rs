//! Export of spans to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! ```text
//! a span ends ─► layer (ours only) ─► bounded queue ─► a thread ─► the engine's HTTP client ─► collector
//! ```
//!
//! On by the variables that OpenTelemetry names for every program: `OTEL_EXPORTER_OTLP_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`; its SDK reads the others (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`,
//! `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`). Invariants: no event is exported, and no span but
//! OpenAct's own, so that what HTTP libraries log of headers goes nowhere; a full queue or a collector that is away costs
//! spans and no call.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use openact_core::{
    Error, Result,
    credential::{Exchange, Transport},
    limits::SPANS_FLUSH_MAX,
    policy::{EgressGrants, Origin},
};
use openact_engine::{Engine, GrantSettings};
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};
use url::Url;

/// Exports spans. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    provider: SdkTracerProvider,
    endpoint: Url,
    sender: Sender,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// As the process's environment asks for it; none if it does not.
    pub fn from_env() -> Result<Option<Self>> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        endpoint(set)?.map(Self::new).transpose()
    }

    fn new(endpoint: Url) -> Result<Self> {
        let sender = Sender::default();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(sender.clone())
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .build()
            .map_err(|error| Error::invalid_config("spans cannot be exported").because(error))?;
        let mut resource = Resource::builder();
        let named = Resource::builder().build().get(&"service.name".into());
        if named.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
            resource = resource.with_service_name("openact");
        }
        let resource = resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.build())
            .build();
        Ok(Self { provider, endpoint, sender })
    }

    /// What takes OpenAct's spans out of a subscriber of the crate `tracing`. Spans are exported once an
    /// [`OpenAct`](crate::OpenAct) is built with this ([`Builder::telemetry`](crate::Builder::telemetry)).
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + 'static
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("openact"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        layer.with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == "openact::trace"))
    }

    /// Sends by the engine's client: the endpoint and nothing else, wherever it is.
    pub(crate) fn connect(&self, engine: &Engine) -> Result<()> {
        let bad = || Error::invalid_config("the endpoint of OpenTelemetry is not an http or https URL");
        let origin = Origin::of(&self.endpoint).ok_or_else(bad)?;
        let egress = EgressGrants::new(vec![origin]);
        let transport = engine.transport(GrantSettings { egress, ..GrantSettings::default() })?;
        // The first one that is built lends its client.
        let _ = self.sender.0.set((transport, Handle::current()));
        Ok(())
    }

    /// Waits until what has ended is exported, for a while.
    pub(crate) async fn flush(&self) {
        let provider = self.provider.clone();
        match timeout(SPANS_FLUSH_MAX, spawn_blocking(move || provider.force_flush())).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!("the last spans could not be exported: {error}"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans could not be exported in time"),
        }
    }
}

/// Where spans go, if they go anywhere. `set` reads the environment.
fn endpoint(set: impl Fn(&str) -> Option<String>) -> Result<Option<Url>> {
    let is = |name: &str, value: &str| set(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| Some((name.to_owned(), set(name)?)));
    let of_traces = set(TRACES_ENDPOINT);
    let Some(text) = of_traces.clone().or_else(|| set(ENDPOINT)) else { return Ok(None) };
    if is("OTEL_SDK_DISABLED", "true")
        || set("OTEL_TRACES_EXPORTER").is_some_and(|exporter| exporter != "otlp")
    {
        return Ok(None);
    }
    let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    if let Some((name, protocol)) = first(protocols).filter(|(_, protocol)| protocol != "http/protobuf") {
        let message = format!("{name} is '{}', which there is not", protocol.escape_debug());
        return Err(Error::invalid_config(message).hint("spans are exported by http/protobuf (port 4318)"));
    }
    let name = if of_traces.is_some() { TRACES_ENDPOINT } else { ENDPOINT };
    // It may hold a password, so it is not quoted.
    let bad = || {
        Error::invalid_config(format!("{name} is not an http or https URL"))
            .hint("expected such as http://localhost:4318")
    };
    let mut url = Url::parse(&text).map_err(|_| bad())?;
    if Origin::of(&url).is_none() {
        return Err(bad());
    }
    if of_traces.is_none() {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(Some(url))
}

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// The engine's client in the SDK's words. The SDK's thread has no runtime; the engine's does the work.
#[derive(Clone, Default)]
struct Sender(Arc<OnceLock<(Arc<dyn Transport>, Handle)>>);

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Sender {
    fn send_bytes<'own, 'sent>(&'own self, request: http::Request<Bytes>) -> Sent<'sent>
    where
        'own: 'sent,
        Self: 'sent,
    {
        Box::pin(async move {
            let (transport, runtime) = self.0.get().cloned().ok_or("no OpenAct is built to send spans")?;
            let (head, body) = request.into_parts();
            let url = Url::parse(&head.uri.to_string())?;
            let exchange = Exchange { method: head.method, url, headers: head.headers, body };
            let sent = runtime.spawn(async move { transport.exchange(exchange).await }).await;
            let answer = match sent? {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!("spans could not be exported: {error}");
                    return Err(error.to_string().into());
                }
            };
            if !answer.status.is_success() {
                tracing::warn!(status = answer.status.as_u16(), "the collector refused spans");
            }
            let mut response = http::Response::new(answer.body);
            *response.status_mut() = answer.status;
            *response.headers_mut() = answer.headers;
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<String>> {
        let set = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        endpoint(set).map(|url| url.map(String::from))
    }

    #[test]
    fn spans_go_where_the_environment_says_and_else_nowhere() {
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[("OTEL_SERVICE_NAME", "x")]).unwrap(), None);
        for (base, url) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("https://c.example/otlp/", "https://c.example/otlp/v1/traces"),
        ] {
            assert_eq!(of(&[(ENDPOINT, base)]).unwrap().as_deref(), Some(url));
        }
        let both = [(ENDPOINT, "http://a:1"), (TRACES_ENDPOINT, "http://b:2/here")];
        assert_eq!(of(&both).unwrap().as_deref(), Some("http://b:2/here"), "as it is");
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(of(&[(ENDPOINT, "http://a:1"), off]).unwrap(), None, "{off:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_said_without_the_url() {
        let grpc = [(ENDPOINT, "http://a:1"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        assert!(of(&grpc).unwrap_err().message.contains("grpc"));
        for url in ["localhost:4318", "ftp://u:hunter2@a", "not a url hunter2"] {
            let error = of(&[(ENDPOINT, url)]).unwrap_err();
            assert!(
                error.message.contains(ENDPOINT) && !format!("{error:?}").contains("hunter2"),
                "{error:?}"
            );
        }
    }
}
