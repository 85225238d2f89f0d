//! Sessions in the encoding of their database, for one that the server cannot convert to UTF-8 (`MULE_INTERNAL`).
//!
//! The client requests UTF-8 in its startup message and has no setting for that, so the message is rewritten: the parameter is
//! replaced by one of the same length that has no effect. The options then set `client_encoding` to `SQL_ASCII`, which means
//! that nothing is converted (PostgreSQL documentation, "Character Set Support" and
//! "Message Formats"). Texts that such a session reads are bytes of the database's encoding; ASCII is the same in all.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::config::{Connection, Host};

/// The option that replaces the parameter.
pub const OPTION: &str = " -c client_encoding=SQL_ASCII";

/// The parameter of the client.
const PARAMETER: &[u8] = b"client_encoding\0UTF8\0";

/// The parameter that the server receives instead.
const REPLACEMENT: &[u8; PARAMETER.len()] = b"pgcellar.unused\0UTF8\0";

/// A socket of either kind.
#[derive(Debug)]
pub enum ServerSocket {
    /// A Unix socket.
    Unix(UnixStream),
    /// A TCP connection.
    Tcp(TcpStream),
}

/// Connects to the server's socket.
pub async fn dial(connection: Connection) -> io::Result<InOwnEncoding<ServerSocket>> {
    let socket = match connection.host {
        Host::Socket(folder) => {
            ServerSocket::Unix(UnixStream::connect(folder.join(format!(".s.PGSQL.{}", connection.port))).await?)
        }
        Host::Name(name) => ServerSocket::Tcp(TcpStream::connect((name, connection.port)).await?),
    };
    Ok(InOwnEncoding::over(socket))
}

impl AsyncRead for ServerSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ServerSocket::Unix(socket) => Pin::new(socket).poll_read(cx, into),
            ServerSocket::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for ServerSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ServerSocket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            ServerSocket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ServerSocket::Unix(socket) => Pin::new(socket).poll_flush(cx),
            ServerSocket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ServerSocket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            ServerSocket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// A stream whose startup message requests no encoding.
#[derive(Debug)]
pub struct InOwnEncoding<S> {
    stream: S,
    /// The rewritten message; none before it was passed.
    message: Option<Vec<u8>>,
    written: usize,
}

impl<S> InOwnEncoding<S> {
    fn over(stream: S) -> Self {
        InOwnEncoding { stream, message: None, written: 0 }
    }
}

impl<S: AsyncWrite + Unpin> InOwnEncoding<S> {
    fn write_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.message.as_ref().and_then(|message| message.get(self.written..)) {
            if rest.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes => self.written += bytes,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InOwnEncoding<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.write_message(cx))?;
        let parameter = bytes.windows(PARAMETER.len()).position(|window| window == PARAMETER);
        match parameter.filter(|_| self.message.is_none()) {
            Some(at) => {
                let mut message = bytes.to_vec();
                message[at..at + PARAMETER.len()].copy_from_slice(REPLACEMENT);
                self.message = Some(message);
                Poll::Ready(Ok(bytes.len()))
            }
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_message(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_message(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InOwnEncoding<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: TlsStream + Unpin> TlsStream for InOwnEncoding<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// TLS with such a stream.
#[derive(Debug)]
pub struct TlsInOwnEncoding<T>(pub T);

impl<S, T> TlsConnect<S> for TlsInOwnEncoding<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
    T::Stream: Unpin,
{
    type Stream = InOwnEncoding<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let connecting = self.0.connect(stream);
        Box::pin(async move { connecting.await.map(InOwnEncoding::over) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn only_the_first_message_is_rewritten() {
        let (near, mut far) = tokio::io::duplex(7);
        let mut stream = InOwnEncoding::over(near);
        let first = [b"\0\0\0\x20\0\x03\0\0", PARAMETER, b"user\0x\0\0"].concat();
        let sender = tokio::spawn(async move {
            stream.write_all(b"12345678").await.unwrap();
            stream.write_all(&first).await.unwrap();
            stream.flush().await.unwrap();
            stream.write_all(PARAMETER).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        sender.await.unwrap();
        assert_eq!(received, [b"12345678\0\0\0\x20\0\x03\0\0", &REPLACEMENT[..], b"user\0x\0\0", PARAMETER].concat());
    }
}
