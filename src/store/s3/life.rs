//! Signs of life: when the server was heard last, and how long it may be silent before it counts as gone.
//!
//! A server that has stopped answering, or an address behind which nothing is, would hold each request for the time-outs of
//! all its attempts. What counts here is not how long an answer takes, but how long no byte comes at all: a listing of
//! hundreds of pages, or a large document on a slow line, is never cut while it moves.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextMut, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::error::Result;
use crate::store::s3::bucket::Bucket;
use crate::store::s3::client;
use crate::store::s3::errors::{self, Doing, Meaning};
use crate::store::s3::rate::Pace;

/// How long a server may be silent while something is looked up.
pub const READING: Duration = Duration::from_secs(10);

/// How long it may be silent while something is written, or looked up for that.
pub const WRITING: Duration = Duration::from_secs(30);

/// How long a server that was given up is not asked again: work that consists of many requests ends at once.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// What is heard of a server, by all requests of a store together.
#[derive(Clone, Debug)]
pub struct Life {
    state: Arc<Mutex<State>>,
    reading: Duration,
    writing: Duration,
}

#[derive(Debug)]
struct State {
    /// When the last byte came.
    heard: Instant,
    /// Why the last attempt failed to which no byte came as an answer.
    failure: Option<Meaning>,
    /// When the server was given up, if nothing has been heard since.
    given_up: Option<Instant>,
}

/// Nothing was heard for this long.
#[derive(Clone, Debug)]
pub struct Silence {
    /// How long.
    pub lasted: Duration,
    /// Why the last attempt failed, if one did.
    pub failure: Option<Meaning>,
}

impl Life {
    /// Nothing was heard yet. The server may be silent for so long while something is looked up, and while something is written.
    pub fn new(reading: Duration, writing: Duration) -> Self {
        let state = State { heard: Instant::now(), failure: None, given_up: None };
        Life { state: Arc::new(Mutex::new(state)), reading, writing }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hears(&self) {
        *self.state() = State { heard: Instant::now(), failure: None, given_up: None };
    }

    fn last(&self, pace: Option<&Pace>) -> Instant {
        let heard = self.state().heard;
        pace.map_or(heard, |pace| heard.max(pace.moved()))
    }

    /// Whether the server has just been given up.
    pub fn is_given_up(&self) -> bool {
        self.state().given_up.is_some_and(|at| at.elapsed() < GIVEN_UP)
    }

    fn must_not_be_given_up(&self, limit: Duration) -> std::result::Result<(), Silence> {
        match self.is_given_up() {
            true => Err(Silence { lasted: limit, failure: self.state().failure.clone() }),
            false => Ok(()),
        }
    }

    /// A request has ended. One that failed without a byte, and was not the first, gives the server up, too.
    fn notice_silence(&self, begun: Instant) {
        let mut state = self.state();
        if state.heard < begun && state.heard.elapsed() >= self.reading {
            state.given_up = Some(Instant::now());
        }
    }

    fn give_up(&self, limit: Duration) -> Silence {
        let mut state = self.state();
        state.given_up = Some(Instant::now());
        Silence { lasted: limit, failure: state.failure.clone() }
    }

    /// Waits for an answer, as long as the server is not silent for too long. A request that was lost on its way is not
    /// told from a server that is gone: so after half of that time it is made once more beside the first.
    pub async fn ask<F: Future>(&self, request: impl Fn() -> F) -> std::result::Result<F::Output, Silence> {
        self.must_not_be_given_up(self.reading)?;
        let begun = Instant::now();
        let mut asked = FuturesUnordered::from_iter([request()]);
        loop {
            let last = begun.max(self.last(None));
            let limit = if asked.len() == 1 { self.reading / 2 } else { self.reading };
            match timeout_at(last + limit, asked.next()).await {
                Ok(Some(answer)) => {
                    self.notice_silence(begun);
                    return Ok(answer);
                }
                Err(_) if begun.max(self.last(None)) > last => {}
                Err(_) if asked.len() > 1 => return Err(self.give_up(self.reading)),
                Ok(None) | Err(_) => asked.push(request()),
            }
        }
    }

    /// Waits for an answer that may take long, such as that to a large body, as long as the server lives: bytes move in
    /// either direction, or it answers what `probe` asks it beside.
    pub async fn outlast<T, P>(
        &self,
        pace: Option<&Pace>,
        probe: impl Fn() -> P,
        request: impl Future<Output = T>,
    ) -> std::result::Result<T, Silence>
    where
        P: Future<Output = ()> + Send + 'static,
    {
        self.must_not_be_given_up(self.writing)?;
        let begun = Instant::now();
        let mut request = pin!(request);
        let mut probing = None;
        loop {
            let last = begun.max(self.last(pace));
            let limit = if probing.is_none() { self.writing / 2 } else { self.writing };
            match timeout_at(last + limit, request.as_mut()).await {
                Ok(answer) => return Ok(answer),
                Err(_) if begun.max(self.last(pace)) > last => probing = None,
                Err(_) if probing.is_some() => return Err(self.give_up(self.writing)),
                Err(_) => probing = Some(AbortOnDropHandle::new(tokio::spawn(probe()))),
            }
        }
    }
}

impl Bucket {
    /// Looks something up, unless the server says nothing.
    pub async fn ask<F: Future>(&self, doing: Doing, full: &str, request: impl Fn() -> F) -> Result<F::Output> {
        self.life.ask(request).await.map_err(|silence| self.explain_silence(doing, full, &silence))
    }

    /// Waits for what is written or deleted, as long as the server lives.
    pub async fn outlast<T>(
        &self,
        doing: Doing,
        full: &str,
        pace: Option<&Pace>,
        request: impl Future<Output = T>,
    ) -> Result<T> {
        let answered = self.life.outlast(pace, || self.probe_life(full), request).await;
        answered.map_err(|silence| self.explain_silence(doing, full, &silence))
    }

    /// Asks for an object, whose answer does not matter: any is a sign of life.
    fn probe_life(&self, full: &str) -> impl Future<Output = ()> + Send + 'static {
        let once = Builder::new().retry_config(RetryConfig::disabled()).timeout_config(client::timeouts(WRITING));
        let request = self.client.head_object().bucket(&self.settings.bucket).key(full).customize();
        async move { drop(request.config_override(once).send().await) }
    }

    fn explain_silence(&self, doing: Doing, full: &str, silence: &Silence) -> crate::error::Error {
        errors::explain_silence(&self.settings, doing, &self.address(full), silence)
    }
}

#[dyn_dispatch_hint]
impl Intercept for Life {
    fn name(&self) -> &'static str {
        "Life"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        self.hears();
        let body = context.response_mut().body_mut();
        let inner = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Heard { inner, life: self.clone() });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        if let (None, Some(Err(error))) = (context.response(), context.output_or_error()) {
            self.state().failure = Some(errors::broken(error));
        }
        Ok(())
    }
}

/// The body of an answer, whose bytes are heard as they come.
struct Heard {
    inner: SdkBody,
    life: Life,
}

impl Body for Heard {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if matches!(frame, Some(Ok(_))) {
            this.life.hears();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);
    const MOMENT: Duration = Duration::from_millis(50);

    fn life() -> Life {
        Life::new(SECOND, SECOND)
    }

    /// A request that is answered after so long.
    async fn answered(after: Duration) -> u32 {
        tokio::time::sleep(after).await;
        7
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up_and_not_asked_again_at_once() {
        let (life, begun) = (life(), Instant::now());
        assert_eq!(life.ask(|| answered(NEVER)).await.unwrap_err().lasted, SECOND);
        assert!(begun.elapsed() >= SECOND && life.is_given_up());
        assert!(life.ask(|| answered(Duration::ZERO)).await.is_err());
        assert!(life.outlast(None, || async {}, answered(Duration::ZERO)).await.is_err());
        life.hears();
        assert_eq!(life.ask(|| answered(Duration::ZERO)).await.unwrap(), 7);
        assert!(life.outlast(None, || async {}, answered(NEVER)).await.is_err());
    }

    #[tokio::test]
    async fn a_request_that_was_lost_is_made_once_more() {
        let life = life();
        let number = std::sync::atomic::AtomicU32::new(0);
        let request = || {
            let is_first = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            answered(if is_first { NEVER } else { Duration::ZERO })
        };
        assert_eq!(life.ask(request).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_moves_is_waited_for() {
        let (life, pace, begun) = (life(), Pace::new(None), Instant::now());
        let comes = || async {
            while begun.elapsed() < SECOND * 2 {
                tokio::time::sleep(MOMENT).await;
                life.hears();
            }
        };
        life.ask(comes).await.unwrap();
        let begun = Instant::now();
        let goes = async {
            while begun.elapsed() < SECOND * 2 {
                tokio::time::sleep(MOMENT).await;
                pace.moves();
            }
        };
        life.outlast(Some(&pace), || async {}, goes).await.unwrap();
    }

    #[tokio::test]
    async fn a_late_answer_is_waited_for_while_the_server_answers_others() {
        let life = life();
        let probe = || {
            let life = life.clone();
            async move { life.hears() }
        };
        assert_eq!(life.outlast(None, probe, answered(SECOND * 3)).await.unwrap(), 7);
    }
}
