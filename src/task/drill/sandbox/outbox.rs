//! The messages of a sandbox to its drill, one after the other.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use crate::blocking;
use crate::error::{Error, Result};
use crate::task::drill::protocol;
use crate::task::drill::protocol::{Frame, Message};

/// The stream to the drill.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Mutex<UnixStream>>);

impl Outbox {
    /// Sends by this stream.
    pub fn new(stream: UnixStream) -> Self {
        Outbox(Arc::new(Mutex::new(stream)))
    }

    /// Sends a message.
    pub async fn send(&self, message: Message) -> Result<()> {
        let stream = Arc::clone(&self.0);
        let work = move || {
            // A thread that panicked in the middle of a message leaves a stream that the drill refuses.
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            protocol::write_json(&mut *stream, Frame::Message, &message)
                .map_err(|error| Error::write("the stream to the drill", &error))
        };
        blocking::to_end(work).await
    }
}
