//! Sessions in the encoding of their database, for one that the server cannot convert to UTF-8 (`MULE_INTERNAL`).
//!
//! The client requests UTF-8 in its startup message and has no setting for that, so the message is rewritten: the parameter is
//! replaced by one of the same length that has no effect. The options then set `client_encoding` to `SQL_ASCII`, which means
//! that nothing is converted (PostgreSQL documentation, "Character Set Support" and
//! "Message Formats"). Texts that such a session reads are bytes of the database's encoding; ASCII is the same in all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// The option that replaces the parameter.
pub const OPTION: &str = " -c client_encoding=SQL_ASCII";

/// The parameter of the client.
pub(super) const PARAMETER: &[u8] = b"client_encoding\0UTF8\0";

/// The parameter that the server receives instead.
pub(super) const REPLACEMENT: &[u8; PARAMETER.len()] = b"pgcellar.unused\0UTF8\0";

/// Rewrites the startup message while it is written.
#[derive(Debug, Default)]
pub struct StartupRewrite {
    /// The rewritten message; none before it was passed.
    message: Option<Vec<u8>>,
    written: usize,
}

impl StartupRewrite {
    /// Writes what is left of the rewritten message.
    pub fn poll_written<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.message.as_ref().and_then(|message| message.get(self.written..)) {
            if rest.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes these bytes, if they are the startup message.
    pub fn takes(&mut self, bytes: &[u8]) -> bool {
        let parameter = bytes.windows(PARAMETER.len()).position(|window| window == PARAMETER);
        let Some(at) = parameter.filter(|_| self.message.is_none()) else { return false };
        let mut message = bytes.to_vec();
        message[at..at + PARAMETER.len()].copy_from_slice(REPLACEMENT);
        self.message = Some(message);
        true
    }
}
