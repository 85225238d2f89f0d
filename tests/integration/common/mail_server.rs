//! A real mail server (aiosmtpd), and the mails that it received.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::{must, new_folder, plain};
use super::tls::Certificates;

/// User name of a server that requires a login.
pub const USER: &str = "keeper@example.org";
/// Its password.
pub const PASSWORD: &str = "s3cr3t-of-the-mail";

const SERVER: &str = include_str!("mail_server/server.py");

/// A mail server that lives as long as the test.
#[derive(Debug)]
pub struct MailServer {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

/// Options of a server.
#[derive(Debug)]
pub struct MailServerOptions(Value);

/// Where Python finds aiosmtpd.
fn modules() -> &'static Path {
    static MODULES: OnceLock<PathBuf> = OnceLock::new();
    MODULES.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tool");
        PathBuf::from(must(Command::new(script).arg("aiosmtpd")).trim())
    })
}

impl MailServerOptions {
    /// A server without encryption and without login.
    pub fn plain() -> MailServerOptions {
        MailServerOptions(json!({ "tls": "none" }))
    }

    /// A server that requires STARTTLS (`starttls`) or TLS from the first byte on (`implicit`), and then a login.
    pub fn encrypted(tls: &str, certificates: &Certificates, name: &str) -> MailServerOptions {
        let manner = MailServerOptions(json!({ "tls": tls, "user": USER, "password": PASSWORD }));
        manner.with("certificate", certificates.certificate(name)).with("key", certificates.key(name))
    }

    /// Sets an option: `refuse` (addresses), `refuse_sender`, `refuse_message` (the answer), `greylist` (how many
    /// recipients are deferred), `hide_login` (without TLS), `port`.
    pub fn with(mut self, name: &str, value: impl serde::Serialize) -> MailServerOptions {
        self.0[name] = serde_json::to_value(value).unwrap();
        self
    }
}

impl MailServer {
    /// Starts a server, and waits until it listens.
    pub fn start(manner: MailServerOptions) -> MailServer {
        let folder = new_folder();
        fs::write(folder.path().join("server.py"), SERVER).unwrap();
        let settings = manner.with("folder", folder.path()).0;
        let mut python = plain("python3");
        python.arg(folder.path().join("server.py")).arg(settings.to_string()).env("PYTHONPATH", modules());
        let complaints = fs::File::create(folder.path().join("complaints")).unwrap();
        let child = python.stdin(Stdio::null()).stderr(complaints).spawn().unwrap();
        let mut mail_server = MailServer { folder, child, port: 0 };
        let deadline = Instant::now() + Duration::from_secs(60);
        mail_server.port = loop {
            if let Ok(text) = fs::read_to_string(mail_server.folder.path().join("port")) {
                break text.trim().parse().unwrap();
            }
            let ended = mail_server.child.try_wait().unwrap().is_some();
            let complaints = || fs::read_to_string(mail_server.folder.path().join("complaints")).unwrap();
            assert!(!ended && Instant::now() < deadline, "the mail server does not start:\n{}", complaints());
            thread::sleep(Duration::from_millis(5));
        };
        mail_server
    }

    /// Its port, on localhost.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All mails so far, the oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        let entries = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
        files.sort();
        files.iter().map(|file| Mail(serde_json::from_slice(&fs::read(file).unwrap()).unwrap())).collect()
    }

    /// The only mail so far, which must be well-formed.
    #[track_caller]
    pub fn only_mail(&self) -> Mail {
        let mut mails = self.mails();
        assert_eq!(mails.len(), 1, "{mails:#?}");
        let mail = mails.remove(0);
        mail.is_well_formed();
        mail
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mail, as Python's MIME parser reads it.
#[derive(Debug)]
pub struct Mail(pub Value);

impl Mail {
    /// A header, decoded.
    pub fn header(&self, name: &str) -> &str {
        self.0["headers"][name].as_str().unwrap_or_else(|| panic!("no {name}: {:#}", self.0))
    }

    /// The recipients of the envelope.
    pub fn to(&self) -> Vec<&str> {
        self.0["to"].as_array().unwrap().iter().map(|to| to.as_str().unwrap()).collect()
    }

    /// The part of this type.
    pub fn part(&self, kind: &str) -> &str {
        let parts = self.0["parts"].as_array().unwrap();
        let part = parts.iter().find(|part| part["type"] == kind).unwrap_or_else(|| panic!("no {kind}: {:#}", self.0));
        part["text"].as_str().unwrap()
    }

    /// Its text.
    pub fn text(&self) -> &str {
        self.part("text/plain")
    }

    /// Its subject.
    pub fn subject(&self) -> &str {
        self.header("Subject")
    }

    /// Fails the test unless the mail has the form that all mails of pgcellar have.
    #[track_caller]
    pub fn is_well_formed(&self) {
        assert_eq!(self.0["defects"], json!([]), "{:#}", self.0);
        assert_eq!(self.0["type"], "multipart/alternative");
        assert_eq!(self.0["parts"].as_array().unwrap().len(), 2);
        assert_eq!(self.header("Auto-Submitted"), "auto-generated");
        assert_eq!(self.header("MIME-Version"), "1.0");
        assert!(self.header("Message-ID").starts_with('<') && self.header("Message-ID").contains('@'));
        assert!(self.header("Date").ends_with("+0000"), "{}", self.header("Date"));
        // RFC 5321, 4.5.3.1.6; and nothing that needs 8BITMIME or SMTPUTF8.
        assert!(self.0["longest_line"].as_u64().unwrap() <= 998 && self.0["ascii"] == true, "{:#}", self.0);
        let html = self.part("text/html");
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains("</html>"), "{html}");
        assert!(!html.contains("src=") && !html.contains("<script") && !html.contains("@import"), "{html}");
    }
}
