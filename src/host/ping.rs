//! A dead man's switch in the style of healthchecks.io (<https://healthchecks.io/docs/http_api/>): a run pings when it
//! starts, succeeds and fails. The service raises the alarm when no ping arrives.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;

use crate::config::PingUrl;
use crate::error::{Error, Kind, Result};
use crate::host::journal;

/// How long a ping may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long the last ping of an interrupted run may take.
const HASTE: Duration = Duration::from_secs(2);

/// How often a ping that decides over an alarm is tried, and the pause between.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Largest body, in bytes.
const BODY: usize = 10_000;

/// The body where the log must not be sent.
const WITHOUT_LINES: &str = "the run failed; its log is on its host alone, because its backups are encrypted";

/// The pings of a run. A failed ping never makes the run fail.
#[derive(Debug)]
pub struct Ping {
    url: Option<PingUrl>,
    started: AtomicBool,
    /// Whether the log stays on this host.
    without_lines: bool,
}

impl Ping {
    /// Pings to a URL, or none. A wrong setting stops no backup: no ping arrives, and so the service raises the alarm.
    pub fn new(url: Result<Option<PingUrl>>) -> Self {
        let url = url.unwrap_or_else(|error| {
            log::error!("no ping is sent: {error}");
            None
        });
        Ping { url, started: AtomicBool::new(false), without_lines: false }
    }

    /// The same without the log, which may name what encrypted backups hide.
    #[must_use]
    pub fn without_lines(mut self, without: bool) -> Self {
        self.without_lines = without;
        self
    }

    /// Reports the start of the run.
    pub async fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
        self.send("/start", None, (1, LIMIT)).await;
    }

    /// Reports the end of the run; after an error, with the last log lines. An interrupted run (`in_haste`) has little
    /// time. A run that could not start because another one holds the lock sends nothing: the other one pings.
    pub async fn end(&self, done: &Result<()>, in_haste: bool) {
        let manner = if in_haste { (1, HASTE) } else { (TRIES, LIMIT) };
        match done {
            Ok(()) => self.send("", None, manner).await,
            Err(error) if error.kind() == Kind::TryAgain && !self.started.load(Ordering::Relaxed) => {}
            Err(error) => self.fail(&lines(error), manner).await,
        }
    }

    /// Reports the failure of a run that could not report it itself.
    pub async fn report_failure(&self, lines: &[String]) {
        self.fail(lines, (TRIES, LIMIT)).await;
    }

    async fn fail(&self, lines: &[String], manner: (u32, Duration)) {
        let mut body = match self.without_lines {
            true => WITHOUT_LINES.to_owned(),
            false => lines.join("\n"),
        };
        while body.len() > BODY {
            body = body.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        }
        self.send("/fail", Some(body), manner).await;
    }

    async fn send(&self, action: &str, body: Option<String>, (tries, limit): (u32, Duration)) {
        let Some(url) = &self.url else { return };
        for tried in 1..=tries {
            let sent = tokio::time::timeout(limit, once(url, action, body.clone())).await;
            let why = match sent {
                Ok(Ok(())) => return,
                Ok(Err(why)) => why,
                Err(_) => format!("no answer within {} s", limit.as_secs()),
            };
            match tried < tries {
                true => tokio::time::sleep(PAUSE).await,
                false => log::warn!("the ping of {} did not go through: {why}", url.host),
            }
        }
    }
}

fn lines(error: &Error) -> Vec<String> {
    let mut lines = journal::last_lines();
    lines.push(format!("error: {error}"));
    lines
}

/// Sends one request. The error does not contain the URL.
async fn once(url: &PingUrl, action: &str, body: Option<String>) -> std::result::Result<(), String> {
    let mut request = HttpRequest::new(body.clone().map_or_else(SdkBody::empty, SdkBody::from));
    let built = request.set_method(if body.is_some() { "POST" } else { "GET" }).is_ok()
        && request.set_uri(url.with(action).expose()).is_ok();
    if !built {
        return Err("MONITOR_PING_URL is not a URL".to_owned());
    }
    request.headers_mut().insert("user-agent", concat!("pgcellar/", env!("CARGO_PKG_VERSION")));
    let connector = Connector::builder()
        .proxy_config(ProxyConfig::from_env())
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build();
    match connector.call(request).await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("the answer is {}", answer.status().as_u16())),
        Err(error) if error.is_timeout() => Err("no answer in time".to_owned()),
        Err(error) => Err(root(&error).replace(url.with(action).expose(), "the URL")),
    }
}

/// The innermost cause, without the URL and the layers above.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(error) => crate::error::reason(error),
        None => cause.to_string(),
    }
}
