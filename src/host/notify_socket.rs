//! The receiving end of `sd_notify(3)`: what a service manager reads from a child.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::host::runtime_folder;

/// The variable with the path of the socket.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// The longest message that is read, in bytes.
const LONGEST: usize = 4096;

/// A socket that one child writes to. Dropping it removes its file.
#[derive(Debug)]
pub struct NotifySocket {
    path: PathBuf,
    socket: UnixDatagram,
}

impl NotifySocket {
    /// Makes a socket in the runtime folder.
    pub fn bind() -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = runtime_folder::find().map_err(io::Error::other)?;
        let path = folder.join(format!("pgcellar-notify-{}-{number}", std::process::id()));
        // An existing one was left by a killed process with this ID.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&path)?;
        Ok(NotifySocket { path, socket })
    }

    /// Value of [`VARIABLE`] for the child.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the child asks for more time, and returns how much from now on: `EXTEND_TIMEOUT_USEC=`.
    pub async fn extension(&self) -> io::Result<Duration> {
        let mut message = [0; LONGEST];
        loop {
            let length = self.socket.recv(&mut message).await?;
            if let Some(extension) = extension(&message[..length]) {
                return Ok(extension);
            }
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        // A file that stays is removed by the next process with this ID.
        drop(std::fs::remove_file(&self.path));
    }
}

fn extension(message: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(message).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="))?;
    value.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_ask_for_time() {
        assert_eq!(extension(b"STATUS=shop: 1 MiB\nEXTEND_TIMEOUT_USEC=2000000\n"), Some(Duration::from_secs(2)));
        assert_eq!(extension(b"STATUS=EXTEND_TIMEOUT_USEC=1\n"), None);
        assert_eq!(extension(b"EXTEND_TIMEOUT_USEC=-1\n"), None);
        assert_eq!(extension(b"\xff"), None);
    }

    #[tokio::test]
    async fn messages_of_a_child_are_read() {
        let socket = NotifySocket::bind().unwrap();
        let path = socket.path().to_owned();
        let child = std::os::unix::net::UnixDatagram::unbound().unwrap();
        child.send_to(b"READY=1\n", &path).unwrap();
        child.send_to(b"EXTEND_TIMEOUT_USEC=7000000", &path).unwrap();
        assert_eq!(socket.extension().await.unwrap(), Duration::from_secs(7));
        drop(socket);
        assert!(!path.exists());
    }
}
