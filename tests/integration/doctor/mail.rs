//! The mail server, which is tested without sending a mail.

use super::*;
use crate::common::cluster::CLOSED_PORT;
use crate::common::mail_server::{MailServer, MailServerOptions, PASSWORD, USER};
use crate::common::tls::Certificates;

fn run(cellar: &Cellar, port: u16, certificates: &Certificates) -> Run {
    let run = cellar.run(["doctor", "mail"]).env("SMTP_HOST", "localhost").env("SMTP_PORT", port.to_string());
    let run = run.env("SMTP_USER", USER).env("SMTP_PASS", PASSWORD).env("NOTIFICATION_EMAIL", "ops@example.org");
    run.env("SMTP_CA_FILE", certificates.certificate("authority"))
}

#[test]
fn every_step_except_the_message() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let mail_server = MailServer::start(MailServerOptions::encrypted("starttls", &certificates, "server"));
    let right = || run(&cellar, mail_server.port(), &certificates);
    let report = Report::of(right(), 0);
    report
        .says("mail", "TLS", "OK", &["TLSv1.3"])
        .says("mail", "login", "OK", &[USER, "with the password of SMTP_PASS"])
        .says("mail", "sender", "OK", &[USER])
        .says("mail", "recipient", "OK", &["ops@example.org"])
        .says("mail", "message", "OK", &["pgcellar monitor test-mail"])
        .only_has(&["OK"]);
    let wrong = Report::of(right().env("SMTP_PASS", "s3cr3t-wrong"), exit::NOPERM);
    wrong.says("mail", "TLS", "OK", &[]).says("mail", "login", "FAILED", &["535 5.7.8", "app password"]);
    for secret in ["s3cr3t-wrong", PASSWORD] {
        assert!(!wrong.outcome.stdout.contains(secret) && !wrong.outcome.stderr.contains(secret));
    }
    Report::of(right().env("SMTP_HOST", "127.0.0.1"), exit::UNAVAILABLE).says(
        "mail",
        "TLS",
        "FAILED",
        &["not for '127.0.0.1'", "SMTP_HOST"],
    );
    assert!(mail_server.mails().is_empty());
}

#[test]
fn refusals_of_the_mail_server() {
    let (cellar, certificates) = (Cellar::unconnected(), Certificates::make());
    let mail_server = MailServer::start(MailServerOptions::plain().with("refuse", ["ops@example.org"]));
    let plain = |port| {
        let run = run(&cellar, port, &certificates).without("SMTP_USER").without("SMTP_PASS").env("SMTP_TLS", "none");
        run.env("NOTIFICATION_EMAIL", "a@example.org, ops@example.org")
    };
    Report::of(plain(mail_server.port()), exit::NOPERM)
        .says("mail", "login", "OK", &["none"])
        .says("mail", "recipient", "OK", &["a@example.org"])
        .says("mail", "recipient", "FAILED", &["ops@example.org", "550 5.1.1", "NOTIFICATION_EMAIL"]);
    Report::of(run(&cellar, mail_server.port(), &certificates), exit::UNAVAILABLE).says(
        "mail",
        "TLS",
        "FAILED",
        &["offers no STARTTLS"],
    );
    let picky = MailServer::start(MailServerOptions::plain().with("refuse_sender", true));
    Report::of(plain(picky.port()), exit::NOPERM).says("mail", "sender", "FAILED", &["553 5.7.1", "SMTP_FROM"]);
    assert!(mail_server.mails().is_empty() && picky.mails().is_empty());
    Report::of(plain(CLOSED_PORT), exit::UNAVAILABLE).says("mail", "name", "OK", &[]).says(
        "mail",
        "connection",
        "FAILED",
        &["connection refused", "SMTP_PORT"],
    );
    let nothing = cellar.run(["doctor", "mail"]);
    Report::of(nothing, exit::CONFIG).says("mail", "settings", "FAILED", &["no mail is configured", "SMTP_HOST"]);
    let half = cellar.run(["doctor", "mail"]).env("SMTP_HOST", "localhost");
    Report::of(half, exit::CONFIG).says("mail", "settings", "FAILED", &["NOTIFICATION_EMAIL is not"]);
}
