//! The client of the S3 API: keys, endpoint, TLS, proxy, time-outs and retries.

use std::path::Path;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::imds;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder as HttpBuilder, ConnectorBuilder};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Keys, S3Settings};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeSerializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_types::config_bag::ConfigBag;

use crate::error::{Error, Kind, Result};
use crate::store::s3::liveness::Liveness;

/// How many attempts a request gets before it fails.
pub const ATTEMPTS: u32 = 5;

/// Time limit of one attempt at a request that sends few bytes.
pub const ATTEMPT: Duration = Duration::from_secs(30);

/// Time limit for completing an upload, for which some servers copy the parts, and for a page of a list on a slow line.
pub const SLOW: Duration = Duration::from_secs(600);

/// How long a body may make no progress before the attempt fails.
pub const STALL: Duration = Duration::from_secs(20);

const CONNECT: Duration = Duration::from_secs(10);

/// The instance metadata service answers at once on Amazon's hosts, and is missing on all others.
const INSTANCE: Duration = Duration::from_secs(1);

/// Makes the client, which reports the server's bytes to `liveness`. No request is sent to the bucket; without keys in the
/// settings, the SDK's files are read.
pub async fn connect(settings: &S3Settings, liveness: Liveness) -> Result<Client> {
    let http = http_client(settings.ca_bundle.as_deref())?;
    let region = Region::new(settings.region.clone());
    let credentials = match &settings.keys {
        Some(keys) => SharedCredentialsProvider::new(static_credentials(keys)),
        None => SharedCredentialsProvider::new(default_chain(&http, &region).await),
    };
    let shared = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(region)
        .credentials_provider(credentials)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(timeouts(ATTEMPT))
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL).build())
        .load()
        .await;
    let mut config = Builder::from(&shared).interceptor(liveness);
    if settings.misspelt_endpoint.is_some() {
        config = config.interceptor(NoRequest);
    }
    if let Some(endpoint) = &settings.endpoint {
        // Other servers may support neither bucket names as hosts nor the newer checksums.
        config = config
            .endpoint_url(endpoint)
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    }
    Ok(Client::from_conf(config.build()))
}

/// Refuses every request, because it would go to Amazon instead of the intended server; see [`S3Settings::misspelt_endpoint`].
#[derive(Debug)]
struct NoRequest;

#[dyn_dispatch_hint]
impl Intercept for NoRequest {
    fn name(&self) -> &'static str {
        "NoRequest"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        Err("the server's URL is misspelt".into())
    }
}

/// Time-outs for requests whose attempts may each take this long. There is no read time-out: it would count from the beginning
/// of a request, and bodies that make no progress are detected separately.
pub fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).operation_attempt_timeout(attempt).build()
}

fn static_credentials(keys: &Keys) -> Credentials {
    let token = keys.token.as_ref().map(|token| token.expose().to_owned());
    Credentials::new(keys.id.expose(), keys.secret.expose(), token, None, "settings")
}

/// The SDK's chain: variables, profile, web identity, container, instance.
async fn default_chain(http: &SharedHttpClient, region: &Region) -> DefaultCredentialsChain {
    let provider = ProviderConfig::default().with_http_client(http.clone()).with_region(Some(region.clone()));
    let instance = imds::Client::builder()
        .configure(&provider)
        .connect_timeout(INSTANCE)
        .read_timeout(INSTANCE)
        .max_attempts(2)
        .build();
    DefaultCredentialsChain::builder().configure(provider).imds_client(instance).build().await
}

/// HTTP over rustls with ring, through the proxy that `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` name.
fn http_client(ca_bundle: Option<&Path>) -> Result<SharedHttpClient> {
    let trust = match ca_bundle {
        Some(path) => TrustStore::empty().with_pem_certificate(certificates(path)?),
        None => TrustStore::default(),
    };
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| Error::new(Kind::Internal, format!("TLS cannot be used: {error}")))?;
    Ok(HttpBuilder::new().build_with_connector_fn(move |settings, _| {
        let mut connector = ConnectorBuilder::default().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.tls_provider(Provider::rustls(CryptoMode::Ring)).tls_context(context.clone()).build()
    }))
}

/// Reads a file of certificates, and checks that each can be used, which the HTTP client requires.
fn certificates(path: &Path) -> Result<Vec<u8>> {
    let refuse =
        |why: String| Error::new(Kind::Config, format!("AWS_CA_BUNDLE {} cannot be used: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| refuse(crate::error::reason(&error)))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
        roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(refuse("it contains no certificate".to_owned())),
        false => Ok(pem),
    }
}
