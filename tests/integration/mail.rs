//! Mail is sent, or the failing step is reported: with a real mail server, and with servers that are none.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::common::cluster::CLOSED_PORT;
use crate::common::mail_server::{MailServer, MailServerOptions, PASSWORD, USER};
use crate::common::pgcellar::{Outcome, Run};
use crate::common::tls::Certificates;
use crate::common::{Cellar, exit};

/// A run of `monitor test-mail` that trusts the authority and mails to `ops@example.org`.
fn test_mail(cellar: &Cellar, port: u16, certificates: &Certificates) -> Run {
    let run = cellar.run(["monitor", "test-mail"]).env("SMTP_HOST", "localhost").env("SMTP_PORT", port.to_string());
    run.env("NOTIFICATION_EMAIL", "ops@example.org").env("SMTP_CA_FILE", certificates.certificate("authority"))
}

fn logged_in(run: Run) -> Run {
    run.env("SMTP_USER", USER).env("SMTP_PASS", PASSWORD)
}

#[track_caller]
fn held_up(run: Run, code: i32, step: &str) -> Outcome {
    let outcome = run.fails(code).says(step);
    assert!(!outcome.stderr.contains(PASSWORD) && !outcome.stdout.contains(PASSWORD), "{outcome}");
    outcome
}

/// A port whose connections are handled by this function.
fn strange_server(talk: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().for_each(talk));
    port
}

#[test]
fn each_step_of_a_mail_is_reported() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    for (tls, mode) in [("starttls", "starttls"), ("implicit", "tls")] {
        let mail_server = MailServer::start(MailServerOptions::encrypted(tls, &certificates, "server"));
        let run = logged_in(test_mail(&cellar, mail_server.port(), &certificates)).env("SMTP_TLS", mode);
        let outcome = run.env("NOTIFICATION_EMAIL", "Jörg Größe <joerg@example.org>, ops@example.org").succeeds();
        let steps: Vec<&str> = outcome.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(steps, ["name", "connection", "TLS", "login", "sender", "recipient", "recipient", "message"]);
        assert!(outcome.stdout.contains("TLSv1.3") && outcome.stdout.contains("as keeper@example.org"), "{outcome}");
        let mail = mail_server.only_mail();
        assert_eq!(mail.to(), ["joerg@example.org", "ops@example.org"]);
        assert_eq!(mail.header("To"), "Jörg Größe <joerg@example.org>, ops@example.org");
        // Servers with a login usually require its address as the sender.
        assert_eq!(mail.0["from"], USER);
        assert_eq!(mail.header("From"), format!("pgcellar <{USER}>"));
        assert!(mail.0["encrypted"] == true && mail.0["authenticated"] == true, "{:#}", mail.0);
        assert!(mail.subject().starts_with("[pgcellar] test from ") && mail.subject().ends_with(" (main)"));
        assert!(mail.text().contains("Mail works") && mail.part("text/html").contains("Mail works"));
    }
    let mail_server = MailServer::start(MailServerOptions::plain());
    let run = test_mail(&cellar, mail_server.port(), &certificates)
        .env("SMTP_TLS", "none")
        .env("SMTP_FROM", "Db <db@x.example>");
    run.succeeds();
    assert_eq!(mail_server.only_mail().header("From"), "Db <db@x.example>");
}

#[test]
fn the_password_comes_from_a_file_or_a_credential() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let mail_server = MailServer::start(MailServerOptions::encrypted("starttls", &certificates, "server"));
    let file = cellar.scratch().join("smtp-password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let run = || test_mail(&cellar, mail_server.port(), &certificates).env("SMTP_USER", USER);
    run().env("SMTP_PASS_FILE", &file).succeeds();
    run().env("CREDENTIALS_DIRECTORY", cellar.scratch()).env("SMTP_PASS", "wrong").succeeds();
    assert_eq!(mail_server.mails().len(), 2);
}

#[test]
fn an_unused_credential_is_named() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let folder = cellar.scratch().join("pgcellar-monitor-1@shop.service");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("smtp-password.misplaced"), PASSWORD).unwrap();
    let run = || test_mail(&cellar, 1, &certificates).env("SMTP_USER", USER).env("CREDENTIALS_DIRECTORY", &folder);
    let outcome = run().fails(exit::CONFIG).says("/etc/credstore.encrypted/pgcellar.shop.smtp-password is ignored");
    assert!(!outcome.stderr.contains(PASSWORD), "{outcome}");
    // The other source is used.
    run().env("SMTP_PASS", PASSWORD).fails(exit::UNAVAILABLE);
}

#[test]
fn a_failing_login() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let mail_server = MailServer::start(MailServerOptions::encrypted("starttls", &certificates, "server"));
    let run = || test_mail(&cellar, mail_server.port(), &certificates);
    let outcome = held_up(logged_in(run()).env("SMTP_PASS", "s3cr3t-wrong"), exit::NOPERM, "login: 535 5.7.8");
    assert!(outcome.stderr.contains("app password") && !outcome.stderr.contains("s3cr3t-wrong"), "{outcome}");
    assert!(outcome.stdout.contains("TLSv1.3") && !outcome.stdout.contains("login"), "{outcome}");
    held_up(run(), exit::NOPERM, "sender: 530 5.7.0");
    assert!(mail_server.mails().is_empty());
    let mail_server = MailServer::start(MailServerOptions::plain().with("hide_login", true));
    let run = logged_in(test_mail(&cellar, mail_server.port(), &certificates)).env("SMTP_TLS", "none");
    held_up(run, exit::UNAVAILABLE, "login: the server offers no login");
}

#[test]
fn bad_certificates() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    certificates.add_expired();
    certificates.add_self_signed();
    for (tls, mode) in [("starttls", "starttls"), ("implicit", "tls")] {
        let server = |name| MailServer::start(MailServerOptions::encrypted(tls, &certificates, name));
        let run = |mail_server: &MailServer| {
            logged_in(test_mail(&cellar, mail_server.port(), &certificates)).env("SMTP_TLS", mode)
        };
        let expired = server("expired");
        held_up(run(&expired), exit::UNAVAILABLE, "TLS: the server's certificate has expired on 2020-02-01");
        let lonely = server("lonely");
        held_up(run(&lonely), exit::UNAVAILABLE, "TLS: the server's certificate is signed by itself, or")
            .says("SMTP_CA_FILE");
        run(&lonely).env("SMTP_CA_FILE", certificates.certificate("lonely")).succeeds();
        let good = server("server");
        let stranger = run(&good).env("SMTP_CA_FILE", certificates.certificate("stranger"));
        held_up(stranger, exit::UNAVAILABLE, "or by an authority that is not trusted here");
        held_up(run(&good).without("SMTP_CA_FILE"), exit::UNAVAILABLE, "not trusted here");
        held_up(run(&good).env("SMTP_HOST", "127.0.0.1"), exit::UNAVAILABLE, "not for '127.0.0.1'").says("SMTP_HOST");
        assert!(expired.mails().is_empty() && good.mails().is_empty());
        assert_eq!(lonely.mails().len(), 1);
    }
}

#[test]
fn tls_failures() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let mail_server = MailServer::start(MailServerOptions::plain());
    let run = || test_mail(&cellar, mail_server.port(), &certificates);
    held_up(run(), exit::UNAVAILABLE, "TLS: the server offers no STARTTLS").says("SMTP_TLS=tls");
    held_up(run().env("SMTP_TLS", "tls"), exit::UNAVAILABLE, "TLS: the server does not start with TLS");
    assert!(mail_server.mails().is_empty());
    // An attacker injects plaintext answers before the TLS handshake.
    let port = strange_server(|mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let _ = stream.write_all(b"220 mail.test\r\n");
        let _ = lines.next();
        let _ = stream.write_all(b"250-mail.test\r\n250 STARTTLS\r\n");
        let _ = lines.next();
        let _ = stream.write_all(b"220 go\r\n250-mail.test\r\n250 AUTH PLAIN\r\n235 OK\r\n250 OK\r\n250 OK\r\n");
        let _ = stream.write_all(b"354 go\r\n250 taken\r\n");
        drop(lines.next());
    });
    held_up(logged_in(test_mail(&cellar, port, &certificates)), exit::UNAVAILABLE, "TLS: ");
}

#[test]
fn refusals_of_the_server() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let run = |mail_server: &MailServer| test_mail(&cellar, mail_server.port(), &certificates).env("SMTP_TLS", "none");
    let mail_server = MailServer::start(MailServerOptions::plain().with("refuse_sender", true));
    held_up(run(&mail_server), exit::NOPERM, "sender: 553 5.7.1").says("SMTP_FROM");
    let mail_server = MailServer::start(MailServerOptions::plain().with("refuse", ["ops@example.org"]));
    held_up(run(&mail_server), exit::NOPERM, "ops@example.org: mail server localhost").says("recipient: 550 5.1.1");
    // The other recipients get it, and the refused one is reported.
    let some = run(&mail_server).env("NOTIFICATION_EMAIL", "a@example.org, ops@example.org, b@example.org");
    held_up(some, exit::NOPERM, "ops@example.org: mail server");
    assert_eq!(mail_server.only_mail().to(), ["a@example.org", "b@example.org"]);
    let mail_server = MailServer::start(MailServerOptions::plain().with("greylist", 1));
    held_up(run(&mail_server), exit::TEMPFAIL, "recipient: 451 4.7.1 Greylisted");
    run(&mail_server).succeeds();
    let mail_server = MailServer::start(MailServerOptions::plain().with("refuse_message", "554 5.7.1 looks like spam"));
    held_up(run(&mail_server), exit::DATAERR, "message: 554 5.7.1 looks like spam");
    let mail_server = MailServer::start(MailServerOptions::plain().with("refuse_message", "452 4.3.1 disk full"));
    held_up(run(&mail_server), exit::TEMPFAIL, "message: 452 4.3.1 disk full");
}

#[test]
fn missing_servers_and_other_servers() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let run = |port| test_mail(&cellar, port, &certificates);
    held_up(run(CLOSED_PORT), exit::UNAVAILABLE, "connection: 127.0.0.1:").says("connection refused");
    let nowhere = run(25).env("SMTP_HOST", "mail.nowhere.invalid");
    held_up(nowhere, exit::UNAVAILABLE, "name: 'mail.nowhere.invalid' cannot be found");
    let closes = strange_server(drop);
    held_up(run(closes), exit::UNAVAILABLE, "connection: the server closed the connection");
    held_up(run(closes).env("SMTP_TLS", "tls"), exit::UNAVAILABLE, "TLS: the server closed the connection");
    held_up(run(closes).env("SMTP_TLS", "none"), exit::UNAVAILABLE, "connection: the server closed the connection");
    let web = strange_server(|mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    held_up(run(web), exit::UNAVAILABLE, "connection: HTTP/1.1 400");
    held_up(run(web).env("SMTP_TLS", "none"), exit::UNAVAILABLE, "connection: the server's reply is not SMTP");
}

#[test]
fn hanging_servers_time_out_soon() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let silent = strange_server(|stream| {
        thread::spawn(move || BufReader::new(stream).lines().for_each(drop));
    });
    let halfway = strange_server(|mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        thread::spawn(move || {
            let _ = stream.write_all(b"220 mail.test\r\n");
            let _ = lines.next();
            let _ = stream.write_all(b"250 mail.test\r\n");
            lines.for_each(drop);
        });
    });
    let run =
        |port, mode| test_mail(&cellar, port, &certificates).env("SMTP_TLS", mode).within(Duration::from_secs(40));
    let runs = [
        (run(silent, "starttls").start(), "connection: no answer within 15 s"),
        (run(silent, "tls").start(), "TLS: no answer within 15 s"),
        (run(silent, "none").start(), "connection: no answer within 15 s"),
        (run(halfway, "none").start(), "sender: no answer within 15 s"),
    ];
    for (run, expected) in runs {
        let outcome = run.wait();
        assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
        outcome.says(expected);
    }
}

#[test]
fn invalid_settings() {
    let cellar = Cellar::unconnected();
    let cases: [(&[(&str, &str)], &str); 8] = [
        (&[], "no mail is configured"),
        (&[("SMTP_HOST", "localhost")], "NOTIFICATION_EMAIL is not"),
        (&[("NOTIFICATION_EMAIL", "a@example.org")], "SMTP_HOST is not"),
        (
            &[("SMTP_HOST", "mail"), ("NOTIFICATION_EMAIL", "root")],
            "NOTIFICATION_EMAIL (--notification-email) is 'root'",
        ),
        (&[("SMTP_HOST", "mail"), ("NOTIFICATION_EMAIL", "a@b.c"), ("SMTP_PORT", "0")], "SMTP_PORT"),
        (&[("SMTP_HOST", "mail"), ("NOTIFICATION_EMAIL", "a@b.c"), ("SMTP_USER", "u")], "there is no password"),
        (&[("SMTP_HOST", "mail"), ("NOTIFICATION_EMAIL", "a@b.c"), ("SMTP_PASS", PASSWORD)], "SMTP_USER is not set"),
        (
            &[
                ("SMTP_HOST", "mail"),
                ("NOTIFICATION_EMAIL", "a@b.c"),
                ("SMTP_USER", "u"),
                ("SMTP_PASS", PASSWORD),
                ("SMTP_TLS", "none"),
            ],
            "SMTP_TLS=insecure to send it unencrypted",
        ),
    ];
    for (settings, expected) in cases {
        let run = cellar.run(["monitor", "test-mail"]).env("SMTP_HOST", "");
        let run = settings.iter().fold(run, |run, (name, value)| run.env(*name, *value));
        held_up(run, exit::CONFIG, expected);
    }
}
