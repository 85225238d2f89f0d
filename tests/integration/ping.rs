//! Pings to a monitoring service: they are sent when they should, and their failures do not fail a backup.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::cluster::CLOSED_PORT;
use crate::common::process::{new_folder, plain};
use crate::common::tls::Certificates;
use crate::common::{Cellar, Cluster, Database, Version, exit};

const SECRET: &str = "/ping/s3cr3t-of-the-switch";

/// Received requests: method and path, and the body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A small web server that answers every request with this line.
fn server(answer: &'static str) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{SECRET}", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            handle(stream, answer, &seen);
        }
    });
    (url, requests)
}

fn handle(mut stream: TcpStream, answer: &str, seen: &Requests) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = first.trim().trim_end_matches(" HTTP/1.1").replace(SECRET, "");
    seen.lock().unwrap().push((request, String::from_utf8(body).unwrap()));
    let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn paths(requests: &Requests) -> Vec<String> {
    requests.lock().unwrap().iter().map(|(request, _)| request.trim_end().to_owned()).collect()
}

fn cellar(url: &str) -> (Cellar, Database<'static>) {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("pinged");
    (Cellar::new(cluster).with("MONITOR_PING_URL", url).with("DB_NAME", database.name()), database)
}

#[test]
fn a_backup_pings_at_its_start_and_success() {
    let (url, requests) = server("200 OK");
    let (cellar, _database) = cellar(&url);
    let outcome = cellar.run(["backup", "-v"]).succeeds();
    assert_eq!(paths(&requests), ["GET /start", "GET"]);
    assert!(!outcome.stderr.contains("s3cr3t"), "{outcome}");
    // From a file too, with a query string.
    let file = cellar.scratch().join("url");
    fs::write(&file, format!("{url}?create=1\n")).unwrap();
    cellar.run(["backup"]).without("MONITOR_PING_URL").env("MONITOR_PING_URL_FILE", &file).succeeds();
    assert_eq!(paths(&requests)[2..], ["GET /start?create=1", "GET ?create=1"]);
}

#[test]
fn a_backup_that_fails_pings_with_the_reason() {
    let (url, requests) = server("200 OK");
    let (cellar, _database) = cellar(&url);
    cellar.run(["backup"]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
    cellar.run(["backup"]).env("BACKUP_DIR", "/nonexistent/backups").fails(exit::CANTCREAT);
    assert_eq!(paths(&requests), ["GET /start", "POST /fail", "POST /fail"]);
    let requests = requests.lock().unwrap();
    assert!(requests[1].1.contains("127.0.0.1:1"), "{requests:?}");
    assert!(requests[2].1.contains("error: the backup directory /nonexistent/backups does not exist"), "{requests:?}");
    assert!(!requests[1].1.contains(crate::common::cluster::PASSWORD));
}

#[test]
fn logs_of_encrypted_backups_are_not_sent() {
    let (url, requests) = server("200 OK");
    let (cellar, _database) = cellar(&url);
    let key = crate::common::keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient);
    cellar.run(["backup"]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
    let log = cellar.scratch().join("log");
    fs::write(&log, "reading table wine\n").unwrap();
    let run = cellar.run(["alert", "--task", "backup", "--log"]).arguments([&log]);
    run.env("MONITOR_SERVICE_RESULT", "oom-kill").succeeds();
    assert_eq!(paths(&requests), ["GET /start", "POST /fail", "POST /fail"]);
    for (_, body) in &requests.lock().unwrap()[1..] {
        assert!(body.contains("encrypted") && !body.contains("127.0.0.1") && !body.contains("wine"), "{body}");
    }
}

#[test]
fn a_run_blocked_by_another_sends_no_pings() {
    let (url, requests) = server("200 OK");
    let (cellar, _database) = cellar(&url);
    let lock = fs::File::create(cellar.backup_dir().join(".pgcellar.lock")).unwrap();
    lock.lock().unwrap();
    cellar.run(["backup"]).fails(exit::TEMPFAIL);
    assert_eq!(paths(&requests), [""; 0]);
}

#[test]
fn failing_pings_do_not_fail_the_backup() {
    let (url, requests) = server("500 Internal Server Error");
    let (cellar, _database) = cellar(&url);
    let outcome = cellar.run(["backup"]).succeeds().says("did not go through: the answer is 500");
    assert!(!outcome.stderr.contains("s3cr3t"), "{outcome}");
    assert_eq!(paths(&requests), ["GET /start", "GET", "GET", "GET"]);
    let closed = format!("127.0.0.1:{CLOSED_PORT}");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}{SECRET}", silent.local_addr().unwrap());
    let cases = [
        (format!("http://{closed}{SECRET}"), "connection refused"),
        (format!("https://{closed}{SECRET}"), "connection refused"),
        (silent_url, "no answer within 5 s"),
        (format!("ftp://{closed}{SECRET}"), "no ping is sent"),
    ];
    for (url, expected) in cases {
        let run = cellar.run(["backup", "-v"]).env("MONITOR_PING_URL", &url).within(Duration::from_secs(60));
        let outcome = run.succeeds().says(expected);
        assert!(!outcome.stderr.contains("s3cr3t") && !outcome.stdout.contains("s3cr3t"), "{outcome}");
    }
    assert_eq!(cellar.list().len(), 5);
}

#[test]
fn a_run_that_was_killed_is_pinged_by_its_alert() {
    let (url, requests) = server("200 OK");
    let cellar = Cellar::unconnected().with("MONITOR_PING_URL", url);
    let log = cellar.scratch().join("log");
    fs::write(&log, "reading table wine\n").unwrap();
    let run = || cellar.run(["alert", "--log"]).arguments([&log]).env("MONITOR_UNIT", "pgcellar-backup@main.service");
    run().env("MONITOR_SERVICE_RESULT", "oom-kill").succeeds();
    assert_eq!(paths(&requests), ["POST /fail"]);
    assert!(requests.lock().unwrap()[0].1.contains("reading table wine"));
    // A run that could ping did so itself.
    run().env("MONITOR_SERVICE_RESULT", "exit-code").env("MONITOR_EXIT_STATUS", "69").succeeds();
    assert_eq!(paths(&requests).len(), 1);
    // A run that was not started could not; the reported details are those of the previous run.
    run().env("MONITOR_SERVICE_RESULT", "success").env("MONITOR_EXIT_STATUS", "0").succeeds();
    run().env("MONITOR_SERVICE_RESULT", "exit-code").env("MONITOR_EXIT_STATUS", "243").succeeds();
    assert_eq!(paths(&requests).len(), 3);
    assert!(requests.lock().unwrap()[1].1.contains("systemd did not start it"));
    assert!(requests.lock().unwrap()[2].1.contains("could not load its credentials"));
}

/// A web server with TLS.
struct Web {
    child: Child,
    port: u16,
}

impl Web {
    fn start(certificates: &Certificates, folder: &std::path::Path) -> Web {
        let script = "import http.server, os, ssl, sys\n\
            folder, certificate, key = sys.argv[1:]\n\
            class Handler(http.server.BaseHTTPRequestHandler):\n\
            \x20   def do_GET(self):\n\
            \x20       open(os.path.join(folder, 'requests'), 'a').write(self.path + '\\n')\n\
            \x20       self.send_response(200)\n\
            \x20       self.end_headers()\n\
            server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n\
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)\n\
            context.load_cert_chain(certificate, key)\n\
            server.socket = context.wrap_socket(server.socket, server_side=True)\n\
            open(os.path.join(folder, 'port.new'), 'w').write(str(server.server_port))\n\
            os.rename(os.path.join(folder, 'port.new'), os.path.join(folder, 'port'))\n\
            server.serve_forever()\n";
        let mut python = plain("python3");
        python.arg("-c").arg(script).arg(folder);
        python.arg(certificates.certificate("server")).arg(certificates.key("server"));
        let child = python.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut web = Web { child, port: 0 };
        while web.port == 0 {
            assert!(Instant::now() < deadline, "the web server does not start");
            thread::sleep(Duration::from_millis(5));
            web.port = fs::read_to_string(folder.join("port")).map_or(0, |port| port.parse().unwrap());
        }
        web
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn pings_need_a_valid_certificate() {
    let certificates = Certificates::make();
    let folder = new_folder();
    let web = Web::start(&certificates, folder.path());
    let (cellar, _database) = cellar(&format!("https://localhost:{}{SECRET}", web.port));
    let requests = || fs::read_to_string(folder.path().join("requests")).unwrap_or_default();
    let run = || cellar.run(["backup"]).within(Duration::from_secs(60));
    run().env("SSL_CERT_FILE", certificates.certificate("stranger")).succeeds().says("did not go through");
    assert_eq!(requests(), "");
    run().env("SSL_CERT_FILE", certificates.certificate("authority")).succeeds();
    assert_eq!(requests(), format!("{SECRET}/start\n{SECRET}\n"));
}
