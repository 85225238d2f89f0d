//! A way to a server that breaks off in the middle of answers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;

/// The way. Its threads end with their connections.
#[derive(Debug)]
pub struct Cut {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    every: u64,
    most: u32,
    for_good: bool,
    passed: AtomicU64,
    cuts: AtomicU32,
}

impl Cut {
    /// Leads to this port of the machine, and cuts a connection whenever this many bytes have come from there, so many
    /// times at the most.
    pub fn before(port: u16, every: u64, most: u32) -> Cut {
        Cut::new(port, State { every, most, ..State::default() })
    }

    /// Leads to this port of the machine until this many bytes have come from there, and from then on nowhere.
    pub fn for_good(port: u16, bytes: u64) -> Cut {
        Cut::new(port, State { every: bytes, most: u32::MAX, for_good: true, ..State::default() })
    }

    fn new(port: u16, state: State) -> Cut {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let state = Arc::new(state);
        let way = Cut { port: listener.local_addr().unwrap().port(), state: Arc::clone(&state) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (from, to, state) = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&state));
                thread::spawn(move || pass(from, to, |_| false));
                thread::spawn(move || pass(server, client, |bytes| state.cuts(bytes)));
            }
        });
        way
    }

    /// `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How often it has broken off.
    pub fn cuts(&self) -> u32 {
        self.state.cuts.load(Ordering::Relaxed)
    }
}

impl State {
    fn cuts(&self, bytes: u64) -> bool {
        let before = self.passed.fetch_add(bytes, Ordering::Relaxed);
        let over = before + bytes > self.every;
        let due = if self.for_good { over } else { before / self.every != (before + bytes) / self.every };
        due && self
            .cuts
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cuts| (cuts < self.most).then_some(cuts + 1))
            .is_ok()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, cut: impl Fn(u64) -> bool) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        let is_cut = cut(bytes as u64);
        let passed = if is_cut { 0 } else { bytes };
        if to.write_all(&piece[..passed]).is_err() || is_cut {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
