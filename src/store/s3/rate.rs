//! Bodies are sent in small pieces, so that uploads can be limited in speed, and their progress can be observed.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The smallest and the largest piece, in bytes.
const PIECES: (u64, u64) = (1 << 10, 64 << 10);

/// How long a body may make no progress. The kernel's buffers are sent unobserved, and the SDK pauses before a new attempt.
const STALL: Duration = Duration::from_secs(60);

/// The speed limit of all uploads of a store together.
#[derive(Debug)]
pub struct Rate {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Rate {
    /// A limit in bytes per second.
    pub fn new(bytes_per_second: u64) -> Self {
        Rate { bytes_per_second, free_at: Mutex::new(Instant::now()) }
    }

    fn piece(&self) -> usize {
        (self.bytes_per_second / 16).clamp(PIECES.0, PIECES.1) as usize
    }

    /// When this many bytes may be sent. They count as sent from then on.
    fn turn(&self, bytes: usize) -> Instant {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*free_at).max(Instant::now());
        *free_at = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        turn
    }
}

/// The progress of sending one body, over all attempts.
#[derive(Clone, Debug)]
pub struct Pace {
    rate: Option<Arc<Rate>>,
    last_progress: Arc<Mutex<Instant>>,
}

impl Pace {
    /// With a speed limit, or without.
    pub fn new(rate: Option<Arc<Rate>>) -> Self {
        Pace { rate, last_progress: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits for the request that sends the body; none if it makes no progress for too long. The SDK's own detection of stalls
    /// ends once the body has been handed over.
    pub async fn watch<T>(&self, request: impl Future<Output = T>) -> Option<T> {
        let mut request = std::pin::pin!(request);
        loop {
            let limit = self.last_progress() + STALL;
            match tokio::time::timeout_at(limit, request.as_mut()).await {
                Ok(answer) => return Some(answer),
                Err(_) if !self.has_progressed(limit) => return None,
                Err(_) => {}
            }
        }
    }

    fn has_progressed(&self, limit: Instant) -> bool {
        self.last_progress() + STALL > limit
    }

    /// When the last piece was sent.
    pub fn last_progress(&self) -> Instant {
        *self.last_progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece is being sent.
    pub fn note_progress(&self) {
        *self.last_progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn piece(&self) -> usize {
        self.rate.as_ref().map_or(PIECES.1 as usize, |rate| rate.piece())
    }

    fn turn(&self, bytes: usize) -> Instant {
        self.rate.as_ref().map_or_else(Instant::now, |rate| rate.turn(bytes))
    }
}

/// Cuts the body into pieces after the request was signed.
#[dyn_dispatch_hint]
impl Intercept for Pace {
    fn name(&self) -> &'static str {
        "Pace"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.request_mut().body_mut();
        if body.content_length() != Some(0) {
            let inner = std::mem::replace(body, SdkBody::taken());
            *body = SdkBody::from_body_1_x(Paced { inner, pace: self.clone(), rest: Bytes::new(), turn: None });
        }
        Ok(())
    }
}

struct Paced {
    inner: SdkBody,
    pace: Pace,
    rest: Bytes,
    turn: Option<Pin<Box<Sleep>>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = aws_smithy_types::body::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let length = this.rest.len().min(this.pace.piece());
        if this.pace.rate.is_some() {
            let turn = this.turn.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(this.pace.turn(length))));
            ready!(turn.as_mut().poll(context));
            this.turn = None;
        }
        this.pace.note_progress();
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = Body::size_hint(&self.inner);
        inner.exact().map_or_else(SizeHint::default, |bytes| SizeHint::with_exact(bytes + self.rest.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spaced_by_the_rate() {
        let rate = Rate::new(1000);
        let first = rate.turn(500);
        assert_eq!(rate.turn(2000) - first, Duration::from_millis(500));
        assert_eq!(rate.turn(1) - first, Duration::from_millis(2500));
    }
}
