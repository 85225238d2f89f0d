//! A proxy before an S3 server that injects faults: it passes a request on, spoils it or its answer, or answers itself.
//!
//! ```ignore
//! let proxy = FaultProxy::start(server.port(), |request| match request.method == "PUT" && request.number == 3 {
//!     true => Fault::CutRequest(1000),
//!     false => Fault::None,
//! });
//! let settings = settings(&proxy.endpoint(), &bucket, OWNER);
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The server gets it only after this time.
    Delay(Duration),
    /// The proxy answers with this status and error code; the server never gets it.
    Answer(u16, &'static str),
    /// The connections to both sides end after so many bytes of its body.
    CutRequest(usize),
    /// One byte of its body is changed on the way to the server.
    WrongRequest(usize),
    /// The server gets it, and the answer is dropped.
    LoseAnswer,
    /// No answer comes, and the connection stays open.
    Stall,
    /// The connection ends after so many bytes of the answer's body.
    CutAnswer(usize),
    /// Nothing more comes after so many bytes of the answer's body, and the connection stays open.
    StallAnswer(usize),
    /// The answer's body comes in pieces of so many bytes, each after such a pause.
    Trickle(usize, Duration),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `PUT`, …
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Its headers, as `name: value`.
    pub headers: Vec<String>,
    /// Its number among the requests with this method, from 1.
    pub number: usize,
}

impl Seen {
    /// Whether it uploads a part.
    pub fn is_part(&self) -> bool {
        self.method == "PUT" && self.target.contains("partNumber=")
    }

    /// Whether it completes an upload.
    pub fn is_complete(&self) -> bool {
        self.method == "POST" && self.target.contains("uploadId=")
    }
}

type Decide = dyn Fn(&Seen) -> Fault + Send + Sync;

/// A running proxy; it ends with its handle.
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: u16,
    decide: Box<Decide>,
    seen: Mutex<Vec<(Seen, Fault)>>,
    is_over: AtomicBool,
}

impl FaultProxy {
    /// Starts a proxy before the server on this port; `decide` chooses the fault of each request.
    pub fn start(upstream: u16, decide: impl Fn(&Seen) -> Fault + Send + Sync + 'static) -> FaultProxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            upstream,
            decide: Box::new(decide),
            seen: Mutex::new(Vec::new()),
            is_over: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let shared = Arc::clone(&for_thread);
                if shared.is_over.load(Ordering::Relaxed) {
                    return;
                }
                // Broken connections are expected.
                std::thread::spawn(move || drop(client.and_then(|client| shared.serve(client))));
            }
        });
        FaultProxy { port, shared }
    }

    /// `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far, and their faults.
    pub fn seen(&self) -> Vec<(Seen, Fault)> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests had a fault.
    pub fn faults(&self) -> usize {
        self.seen().iter().filter(|(_, fault)| *fault != Fault::None).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// The head of a message: its lines, the first one first.
struct Head(Vec<String>);

impl Head {
    /// Reads up to the empty line, byte by byte: what follows belongs to the body.
    fn read(from: &mut TcpStream) -> io::Result<Head> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            from.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Head(text.trim_end().split("\r\n").map(str::to_owned).collect()))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn length(&self) -> usize {
        self.value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
    }

    /// The head for the other side; each connection is for one request.
    fn write(&self, to: &mut TcpStream) -> io::Result<()> {
        let mut text = String::new();
        for line in &self.0 {
            let name = line.split(':').next().unwrap_or_default();
            if !["connection", "expect"].iter().any(|own| name.eq_ignore_ascii_case(own)) {
                text += line;
                text += "\r\n";
            }
        }
        to.write_all((text + "Connection: close\r\n\r\n").as_bytes())
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let head = Head::read(&mut client)?;
        let (seen, fault) = self.see(&head);
        if head.value("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        match fault {
            Fault::Answer(status, code) => return answer(&mut client, &head, &seen, status, code),
            Fault::Stall => return self.stand_still(&client),
            Fault::Delay(time) => std::thread::sleep(time),
            _ => {}
        }
        let mut server = TcpStream::connect(("127.0.0.1", self.upstream))?;
        server.set_nodelay(true)?;
        head.write(&mut server)?;
        match fault {
            Fault::CutRequest(at) => return copy(&mut client, &mut server, head.length().min(at), None),
            Fault::WrongRequest(at) => copy(&mut client, &mut server, head.length(), Some(at))?,
            _ => copy(&mut client, &mut server, head.length(), None)?,
        }
        let answer = Head::read(&mut server)?;
        if fault == Fault::LoseAnswer {
            return io::copy(&mut server, &mut io::sink()).map(drop);
        }
        answer.write(&mut client)?;
        match fault {
            Fault::CutAnswer(at) => copy(&mut server, &mut client, at, None),
            Fault::StallAnswer(at) => {
                copy(&mut server, &mut client, at, None)?;
                self.stand_still(&client)
            }
            Fault::Trickle(piece, pause) => trickle(&mut server, &mut client, piece, pause),
            _ => copy(&mut server, &mut client, usize::MAX, None),
        }?;
        client.shutdown(Shutdown::Both)
    }

    fn see(&self, head: &Head) -> (Seen, Fault) {
        let mut words = head.0[0].split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut all = self.seen.lock().unwrap();
        let number = all.iter().filter(|(seen, _)| seen.method == method).count() + 1;
        let headers = head.0[1..].to_vec();
        let seen = Seen { method: method.to_owned(), target: target.to_owned(), headers, number };
        let fault = (self.decide)(&seen);
        all.push((seen.clone(), fault));
        (seen, fault)
    }

    /// Holds a connection until the other side gives up or the proxy ends.
    fn stand_still(&self, client: &TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut bytes = [0; 65_536];
        let mut client = client;
        while !self.is_over.load(Ordering::Relaxed) {
            match client.read(&mut bytes) {
                Ok(0) => break,
                Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
                _ => {}
            }
        }
        Ok(())
    }
}

fn answer(client: &mut TcpStream, head: &Head, seen: &Seen, status: u16, code: &str) -> io::Result<()> {
    // A client that still sends when the connection ends may not see the answer.
    io::copy(&mut client.take(head.length() as u64), &mut io::sink())?;
    let message = match code {
        "AuthorizationHeaderMalformed" => "the region 'us-east-1' is wrong; expecting 'eu-central-1'",
        _ => "as the test wants it",
    };
    let body = match seen.method.as_str() {
        "HEAD" => String::new(),
        _ => format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"),
    };
    let length = body.len();
    write!(client, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    client.shutdown(Shutdown::Both)
}

/// Passes everything on in small pieces.
fn trickle(from: &mut TcpStream, to: &mut TcpStream, piece: usize, pause: Duration) -> io::Result<()> {
    let mut bytes = vec![0; piece];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            read => to.write_all(&bytes[..read])?,
        }
        std::thread::sleep(pause);
    }
}

/// Passes so many bytes on, or all that come; one of them may be made wrong.
fn copy(from: &mut TcpStream, to: &mut TcpStream, length: usize, wrong: Option<usize>) -> io::Result<()> {
    let mut bytes = vec![0; 65_536];
    let mut at = 0;
    while at < length {
        let most = bytes.len().min(length - at);
        let read = match from.read(&mut bytes[..most])? {
            0 => return Ok(()),
            read => read,
        };
        if let Some(wrong) = wrong.filter(|wrong| (at..at + read).contains(wrong)) {
            bytes[wrong - at] ^= 0x20;
        }
        to.write_all(&bytes[..read])?;
        at += read;
    }
    Ok(())
}
