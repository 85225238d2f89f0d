//! Proxies before a server: one breaks connections in the middle of answers, the other one stops in the middle of a request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What a proxy does with the bytes of one direction.
enum Verdict {
    Pass,
    /// Drops them, and breaks the connection.
    Break,
}

/// Listens on a free port of 127.0.0.1, and connects each client to the server on `port`. The threads end with their
/// connections.
fn listen(
    port: u16,
    request: impl Fn(u64) -> Verdict + Clone + Send + 'static,
    answer: impl Fn(u64) -> Verdict + Clone + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (request, answer) = (request.clone(), answer.clone());
            thread::spawn(move || pass(from, to, request));
            thread::spawn(move || pass(server, client, answer));
        }
    });
    own
}

fn pass(mut from: TcpStream, mut to: TcpStream, verdict: impl Fn(u64) -> Verdict) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        if matches!(verdict(bytes as u64), Verdict::Break) {
            let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
            return;
        }
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Breaks connections in the middle of answers.
#[derive(Debug)]
pub struct BreakingProxy {
    port: u16,
    state: Arc<Breaks>,
}

#[derive(Debug, Default)]
struct Breaks {
    every: u64,
    most: u32,
    for_good: bool,
    passed: AtomicU64,
    breaks: AtomicU32,
}

impl BreakingProxy {
    /// Breaks a connection whenever the server on `port` has sent this many bytes, at most so many times.
    pub fn start(port: u16, every: u64, most: u32) -> BreakingProxy {
        BreakingProxy::listen(port, Breaks { every, most, ..Breaks::default() })
    }

    /// Breaks every connection once the server on `port` has sent this many bytes in all.
    pub fn for_good(port: u16, bytes: u64) -> BreakingProxy {
        BreakingProxy::listen(port, Breaks { every: bytes, most: u32::MAX, for_good: true, ..Breaks::default() })
    }

    fn listen(port: u16, state: Breaks) -> BreakingProxy {
        let state = Arc::new(state);
        let answers = Arc::clone(&state);
        BreakingProxy { port: listen(port, |_| Verdict::Pass, move |bytes| answers.verdict(bytes)), state }
    }

    /// `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many connections it has broken.
    pub fn breaks(&self) -> u32 {
        self.state.breaks.load(Ordering::Relaxed)
    }
}

impl Breaks {
    fn verdict(&self, bytes: u64) -> Verdict {
        let before = self.passed.fetch_add(bytes, Ordering::Relaxed);
        let over = before + bytes > self.every;
        let due = if self.for_good { over } else { before / self.every != (before + bytes) / self.every };
        let count = |breaks| (breaks < self.most).then_some(breaks + 1);
        match due && self.breaks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok() {
            true => Verdict::Break,
            false => Verdict::Pass,
        }
    }
}

/// Lets so many bytes of requests through and then no more, so that an upload stands still where the test needs it.
#[derive(Debug)]
pub struct StallingProxy {
    port: u16,
    state: Arc<Stall>,
}

#[derive(Debug)]
struct Stall {
    allowed: u64,
    sent: AtomicU64,
    stalls: AtomicBool,
    is_broken: Mutex<bool>,
    broken: Condvar,
}

impl StallingProxy {
    /// Lets this many bytes through to the server on `port`.
    pub fn start(port: u16, allowed: u64) -> StallingProxy {
        let state = Arc::new(Stall {
            allowed,
            sent: AtomicU64::new(0),
            stalls: AtomicBool::new(false),
            is_broken: Mutex::new(false),
            broken: Condvar::new(),
        });
        let requests = Arc::clone(&state);
        StallingProxy { port: listen(port, move |bytes| requests.verdict(bytes), |_| Verdict::Pass), state }
    }

    /// `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether a request stands still.
    pub fn stalls(&self) -> bool {
        self.state.stalls.load(Ordering::Relaxed)
    }

    /// Breaks what stands still, and every connection from now on.
    pub fn break_all(&self) {
        *self.state.is_broken.lock().unwrap() = true;
        self.state.broken.notify_all();
    }
}

impl Stall {
    fn verdict(&self, bytes: u64) -> Verdict {
        let mut is_broken = self.is_broken.lock().unwrap();
        if self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes > self.allowed {
            self.stalls.store(!*is_broken, Ordering::Relaxed);
            is_broken = self.broken.wait_while(is_broken, |is_broken| !*is_broken).unwrap();
            self.stalls.store(false, Ordering::Relaxed);
        }
        if *is_broken { Verdict::Break } else { Verdict::Pass }
    }
}
