//! A way to a server that lets so many bytes through and then no more, so that an upload stands still where the test wants it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// The way. Its threads end with their connections.
#[derive(Debug)]
pub struct Stalled {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    allowed: u64,
    sent: AtomicU64,
    stalls: AtomicBool,
    cut: AtomicBool,
    open: Mutex<bool>,
    opened: Condvar,
}

impl Stalled {
    /// Leads to this port of the machine, and lets this many bytes through to it.
    pub fn before(port: u16, allowed: u64) -> Stalled {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let way = Stalled {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(State {
                allowed,
                sent: AtomicU64::new(0),
                stalls: AtomicBool::new(false),
                cut: AtomicBool::new(false),
                open: Mutex::new(false),
                opened: Condvar::new(),
            }),
        };
        let state = Arc::clone(&way.state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.cut.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (from, to, state) = (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&state));
                thread::spawn(move || pass(from, to, Some(&state)));
                thread::spawn(move || pass(server, client, None));
            }
        });
        way
    }

    /// `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Whether it lets nothing through any more.
    pub fn stalls(&self) -> bool {
        self.state.stalls.load(Ordering::Relaxed)
    }

    /// Ends what stands still, and every connection from now on.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::Relaxed);
        *self.state.open.lock().unwrap() = true;
        self.state.opened.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: Option<&State>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = from.read(&mut piece) {
        if let Some(state) = state {
            state.wait_for_room(bytes as u64);
            if state.cut.load(Ordering::Relaxed) {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
        if to.write_all(&piece[..bytes]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

impl State {
    fn wait_for_room(&self, bytes: u64) {
        if self.sent.fetch_add(bytes, Ordering::Relaxed) + bytes > self.allowed {
            let open = self.open.lock().unwrap();
            self.stalls.store(!*open, Ordering::Relaxed);
            drop(self.opened.wait_while(open, |open| !*open).unwrap());
            self.stalls.store(false, Ordering::Relaxed);
        }
    }
}
