//! The stream of a session that differs from the client's own: see [`own_encoding`](super::own_encoding) and
//! [`copy_output`](super::copy_output).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_keepalive, set_tcp_keepidle};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use crate::config::{Connection, Host};
use crate::postgres::copy_output::{CopyFilter, CopyOutput};
use crate::postgres::own_encoding::StartupRewrite;

/// After how long a silent connection is checked.
pub const KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

/// A server sends 8 KiB at once. To wake up for each of them costs both sides as much as the rest of the way, so a session that
/// delivers rows pauses after it has read all that had arrived.
const PAUSE: Duration = Duration::from_micros(200);

/// How a session differs.
#[derive(Clone, Debug, Default)]
pub struct SessionChanges {
    /// It is in the encoding of its database.
    pub own_encoding: bool,
    /// Where its COPY statements deliver.
    pub copy: Option<CopyOutput>,
}

impl SessionChanges {
    /// Whether there are any.
    pub fn are_any(&self) -> bool {
        self.own_encoding || self.copy.is_some()
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct ServerSocket {
    socket: Socket,
    /// While rows are copied there, it pauses, which blocks the thread.
    copy: Option<CopyOutput>,
    is_empty: bool,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Connects to the server's socket.
pub async fn dial(connection: Connection, changes: &SessionChanges) -> io::Result<SessionStream<ServerSocket>> {
    let socket = match connection.host {
        Host::Socket(folder) => {
            Socket::Unix(UnixStream::connect(folder.join(format!(".s.PGSQL.{}", connection.port))).await?)
        }
        Host::Name(name) => {
            let socket = TcpStream::connect((name, connection.port)).await?;
            socket.set_nodelay(true)?;
            set_socket_keepalive(&socket, true)?;
            set_tcp_keepidle(&socket, KEEPALIVES_IDLE)?;
            Socket::Tcp(socket)
        }
    };
    let copy = changes.copy.clone();
    Ok(SessionStream::over(ServerSocket { socket, copy, is_empty: false }, changes))
}

impl AsyncRead for ServerSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let ServerSocket { socket, copy, is_empty } = self.get_mut();
        if std::mem::take(is_empty) && copy.as_ref().is_some_and(CopyOutput::is_copying) {
            std::thread::sleep(PAUSE);
        }
        ready!(match socket {
            Socket::Unix(socket) => Pin::new(socket).poll_read(cx, into),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
        })?;
        *is_empty = into.remaining() > 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// A stream with the changes of its session. With TLS there is one below, in which nothing matches, and one above.
#[derive(Debug)]
pub struct SessionStream<S> {
    stream: S,
    startup: Option<StartupRewrite>,
    copy: Option<CopyFilter>,
}

impl<S> SessionStream<S> {
    fn over(stream: S, changes: &SessionChanges) -> Self {
        let startup = changes.own_encoding.then(StartupRewrite::default);
        SessionStream { stream, startup, copy: changes.copy.clone().map(CopyFilter::new) }
    }
}

impl<S: AsyncWrite + Unpin> SessionStream<S> {
    fn poll_startup(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.startup {
            Some(startup) => startup.poll_written(&mut self.stream, cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SessionStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_startup(cx))?;
        match self.startup.as_mut().is_some_and(|startup| startup.takes(bytes)) {
            true => Poll::Ready(Ok(bytes.len())),
            false => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_startup(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_startup(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SessionStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let SessionStream { stream, copy, .. } = self.get_mut();
        match copy {
            Some(copy) => copy.poll_read(Pin::new(stream), cx, into),
            None => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for SessionStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// TLS with such a stream.
#[derive(Debug)]
pub struct SessionTls<T> {
    /// The TLS of the client.
    pub tls: T,
    /// The changes.
    pub changes: SessionChanges,
}

impl<S, T> TlsConnect<S> for SessionTls<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
    T::Stream: Unpin,
{
    type Stream = SessionStream<T::Stream>;
    type Error = T::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, T::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let SessionTls { tls, changes } = self;
        let connecting = tls.connect(stream);
        Box::pin(async move { connecting.await.map(|stream| SessionStream::over(stream, &changes)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::own_encoding::{PARAMETER, REPLACEMENT};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn only_the_first_message_is_rewritten() {
        let (near, mut far) = tokio::io::duplex(7);
        let mut stream = SessionStream::over(near, &SessionChanges { own_encoding: true, copy: None });
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
