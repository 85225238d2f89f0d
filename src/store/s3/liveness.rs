//! Whether the server still answers: when it sent its last byte, and how long it may be silent before requests fail.
//!
//! With a server that has stopped answering, or an address that nothing listens at, each request would take the time-outs of all
//! its attempts. The limit here is not on the duration of an answer, but on the time without a single byte: a listing of hundreds
//! of pages, or a large document on a slow line, is not aborted while it progresses.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
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

use crate::store::s3::errors::{self, Explanation, Silence};
use crate::store::s3::rate::Pace;

/// How long a server may be silent during a read.
pub const READING: Duration = Duration::from_secs(10);

/// How long it may be silent during a write, and during a read for a write.
pub const WRITING: Duration = Duration::from_secs(30);

/// How long no request is sent to a silent server: work that consists of many requests fails at once.
const NOT_ASKED: Duration = Duration::from_secs(10);

/// When the server sent something last, to any request of a store.
#[derive(Clone, Debug)]
pub struct Liveness {
    state: Arc<Mutex<State>>,
    reading: Duration,
    writing: Duration,
}

#[derive(Debug)]
struct State {
    /// When the last byte arrived.
    last_byte: Instant,
    /// Why the last attempt failed that got no answer.
    failure: Option<Explanation>,
    /// When the server was declared silent, if it has sent nothing since.
    silent_since: Option<Instant>,
}

impl Liveness {
    /// `reading` and `writing` limit how long the server may be silent during reads and writes.
    pub fn new(reading: Duration, writing: Duration) -> Self {
        let state = State { last_byte: Instant::now(), failure: None, silent_since: None };
        Liveness { state: Arc::new(Mutex::new(state)), reading, writing }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_byte(&self) {
        *self.state() = State { last_byte: Instant::now(), failure: None, silent_since: None };
    }

    fn last_progress(&self, pace: Option<&Pace>) -> Instant {
        let last_byte = self.state().last_byte;
        pace.map_or(last_byte, |pace| last_byte.max(pace.last_progress()))
    }

    /// Whether the server was declared silent less than 10 seconds ago.
    pub fn is_silent(&self) -> bool {
        self.state().silent_since.is_some_and(|at| at.elapsed() < NOT_ASKED)
    }

    fn check_not_silent(&self, limit: Duration) -> std::result::Result<(), Silence> {
        match self.is_silent() {
            true => Err(Silence { lasted: limit, failure: self.state().failure.clone() }),
            false => Ok(()),
        }
    }

    /// Declares the server silent if a request has ended without a byte from it for the whole limit.
    fn notice_silence(&self, begun: Instant) {
        let mut state = self.state();
        if state.last_byte < begun && state.last_byte.elapsed() >= self.reading {
            state.silent_since = Some(Instant::now());
        }
    }

    fn declare_silent(&self, limit: Duration) -> Silence {
        let mut state = self.state();
        state.silent_since = Some(Instant::now());
        Silence { lasted: limit, failure: state.failure.clone() }
    }

    /// Waits for an answer, unless the server is silent for too long. A request that was lost on its way looks the same as a dead
    /// server, so after half of the limit the request is sent once more beside the first.
    pub async fn ask<F: Future>(&self, request: impl Fn() -> F) -> std::result::Result<F::Output, Silence> {
        self.check_not_silent(self.reading)?;
        let begun = Instant::now();
        let mut requests = FuturesUnordered::from_iter([request()]);
        loop {
            let last = begun.max(self.last_progress(None));
            let limit = if requests.len() == 1 { self.reading / 2 } else { self.reading };
            match timeout_at(last + limit, requests.next()).await {
                Ok(Some(answer)) => {
                    self.notice_silence(begun);
                    return Ok(answer);
                }
                Err(_) if begun.max(self.last_progress(None)) > last => {}
                Err(_) if requests.len() > 1 => return Err(self.declare_silent(self.reading)),
                Ok(None) | Err(_) => requests.push(request()),
            }
        }
    }

    /// Waits for an answer that may take long, such as that to a large body, as long as the server is alive: bytes move in either
    /// direction, or it answers the request `probe` that is sent beside.
    pub async fn wait_while_alive<T, P>(
        &self,
        pace: Option<&Pace>,
        probe: impl Fn() -> P,
        request: impl Future<Output = T>,
    ) -> std::result::Result<T, Silence>
    where
        P: Future<Output = ()> + Send + 'static,
    {
        self.check_not_silent(self.writing)?;
        let begun = Instant::now();
        let mut request = pin!(request);
        let mut probe_task = None;
        loop {
            let last = begun.max(self.last_progress(pace));
            let limit = if probe_task.is_none() { self.writing / 2 } else { self.writing };
            match timeout_at(last + limit, request.as_mut()).await {
                Ok(answer) => return Ok(answer),
                Err(_) if begun.max(self.last_progress(pace)) > last => probe_task = None,
                Err(_) if probe_task.is_some() => return Err(self.declare_silent(self.writing)),
                Err(_) => probe_task = Some(AbortOnDropHandle::new(tokio::spawn(probe()))),
            }
        }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Liveness {
    fn name(&self) -> &'static str {
        "Liveness"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        self.note_byte();
        let body = context.response_mut().body_mut();
        let inner = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(ObservedBody { inner, liveness: self.clone() });
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

/// The body of an answer. Each frame that arrives counts as a sign of life.
struct ObservedBody {
    inner: SdkBody,
    liveness: Liveness,
}

impl Body for ObservedBody {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.inner).poll_frame(context));
        if matches!(frame, Some(Ok(_))) {
            this.liveness.note_byte();
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

    fn liveness() -> Liveness {
        Liveness::new(SECOND, SECOND)
    }

    /// A request that is answered after this time.
    async fn answered(after: Duration) -> u32 {
        tokio::time::sleep(after).await;
        7
    }

    #[tokio::test]
    async fn no_request_is_sent_to_a_silent_server() {
        let (liveness, begun) = (liveness(), Instant::now());
        assert_eq!(liveness.ask(|| answered(NEVER)).await.unwrap_err().lasted, SECOND);
        assert!(begun.elapsed() >= SECOND && liveness.is_silent());
        assert!(liveness.ask(|| answered(Duration::ZERO)).await.is_err());
        assert!(liveness.wait_while_alive(None, || async {}, answered(Duration::ZERO)).await.is_err());
        liveness.note_byte();
        assert_eq!(liveness.ask(|| answered(Duration::ZERO)).await.unwrap(), 7);
        assert!(liveness.wait_while_alive(None, || async {}, answered(NEVER)).await.is_err());
    }

    #[tokio::test]
    async fn a_lost_request_is_sent_once_more() {
        let liveness = liveness();
        let number = std::sync::atomic::AtomicU32::new(0);
        let request = || {
            let is_first = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
            answered(if is_first { NEVER } else { Duration::ZERO })
        };
        assert_eq!(liveness.ask(request).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn requests_that_progress_are_waited_for() {
        let (liveness, pace, begun) = (liveness(), Pace::new(None), Instant::now());
        let bytes_arrive = || async {
            while begun.elapsed() < SECOND * 2 {
                tokio::time::sleep(MOMENT).await;
                liveness.note_byte();
            }
        };
        liveness.ask(bytes_arrive).await.unwrap();
        let begun = Instant::now();
        let bytes_are_sent = async {
            while begun.elapsed() < SECOND * 2 {
                tokio::time::sleep(MOMENT).await;
                pace.note_progress();
            }
        };
        liveness.wait_while_alive(Some(&pace), || async {}, bytes_are_sent).await.unwrap();
    }

    #[tokio::test]
    async fn a_late_answer_is_waited_for_while_the_server_answers_others() {
        let liveness = liveness();
        let probe = || {
            let liveness = liveness.clone();
            async move { liveness.note_byte() }
        };
        assert_eq!(liveness.wait_while_alive(None, probe, answered(SECOND * 3)).await.unwrap(), 7);
    }
}
