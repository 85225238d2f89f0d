//! `pgcellar monitor test-mail`: sends a mail, and shows the step that fails.

use crate::cli::TestMailArgs;
use crate::config::{MailSettings, Place};
use crate::error::{Error, Kind, Result};
use crate::host::mail::{Letter, MailStep, Page, Tone, send};
use crate::stdout;
use crate::stop::Stop;

/// Sends a mail and prints each successful step. A refused recipient is an error, though the others receive the mail.
pub async fn run(args: &TestMailArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let settings = MailSettings::new(&args.mail, &place.host)?.ok_or_else(|| {
        Error::new(Kind::Config, "no mail is configured").hint("set SMTP_HOST and NOTIFICATION_EMAIL")
    })?;
    let page = Page::new()
        .item(Tone::Good, "Mail works", "this is what pgcellar's mails will look like", "")
        .facts(vec![("Host".to_owned(), place.host.clone()), ("Instance".to_owned(), place.instance.clone())]);
    let letter = Letter::new(format!("[pgcellar] test from {} ({})", place.host, place.instance), &page);
    let mut printed = Ok(());
    let mut on_step = |step: MailStep, what: &str| {
        // A closed standard output does not stop the mail.
        let line = stdout::print(format!("{:<11} {what}\n", step.name()));
        printed = std::mem::replace(&mut printed, Ok(())).and(line);
    };
    let refused = stop.or(send(&settings, &letter, &mut on_step)).await?;
    let mut refused = refused.into_iter();
    let Some(first) = refused.next() else { return printed };
    refused.for_each(|error| log::error!("{error}"));
    Err(first)
}
