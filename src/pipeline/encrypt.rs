//! Encryption with age (<https://age-encryption.org/v1>), to age and SSH keys.
//!
//! The host that makes backups needs only recipients, the public keys. The files are interchangeable with those of the
//! `age` and `rage` commands.

use std::fmt;
use std::io::{self, BufWriter, IntoInnerError, Write};

use age::EncryptError;
use age::stream::StreamWriter;

pub use super::decrypt::{Decryptor, Identities, NoMatchingKey, is_age, is_no_matching_key};
use super::decrypt::{HEADER_LIMIT, invalid};

/// The most recipients of a file: their header stays below the limit, whatever their kind.
const MOST_RECIPIENTS: usize = 100;

type AnyRecipient = Box<dyn age::Recipient + Send + Sync>;

/// The public keys to which a backup is encrypted: the owner of any of them can read it.
pub struct Recipients(Vec<(String, AnyRecipient)>);

impl Recipients {
    /// Reads recipients that are separated by commas or line ends: `age1…`, `ssh-ed25519 …` and `ssh-rsa …` as in a
    /// `.pub` file. Blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// `InvalidInput` with the recipient, shortened, or if there is none. The message never contains a private key.
    pub fn parse(text: &str) -> io::Result<Self> {
        if is_private_key(text) {
            return Err(invalid(
                "an age recipient is a private key: give its public part (age-keygen -y, or the .pub file) and keep the private one off this host",
            ));
        }
        let mut recipients = Vec::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for item in line.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                recipients.push(recipient(item)?);
            }
        }
        if recipients.is_empty() {
            return Err(invalid("no age recipient is given"));
        }
        if recipients.len() > MOST_RECIPIENTS {
            let count = recipients.len();
            return Err(invalid(format!(
                "{count} age recipients are given, more than the {MOST_RECIPIENTS} that a file may have"
            )));
        }
        Ok(Self(recipients))
    }

    /// The recipients as they were given, for the manifest: it shows which key a restore needs.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Writes an age file to `output`: its header, and what is written to the encryptor.
    ///
    /// # Errors
    /// If age cannot encrypt to these recipients. Nothing was written to the output then.
    pub fn encrypt<W: Write>(&self, output: W) -> io::Result<Encryptor<W>> {
        let recipients = self.0.iter().map(|(_, recipient)| recipient.as_ref() as &dyn age::Recipient);
        age::Encryptor::with_recipients(recipients)
            .map_err(|error| match error {
                EncryptError::Io(error) => error,
                error => io::Error::other(format!("cannot encrypt to these age recipients: {error}")),
            })?
            // age hides the cause if it cannot write its header, so the header goes into a buffer.
            .wrap_output(BufWriter::with_capacity(HEADER_LIMIT, output))
            .map(Encryptor)
    }
}

/// A new key pair that only this process knows, for files that no other process reads.
pub fn ephemeral() -> (Recipients, Identities) {
    let identity = age::x25519::Identity::generate();
    (Recipients(vec![(String::new(), Box::new(identity.to_public()))]), Identities::of(identity))
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipients").field(&self.names()).finish()
    }
}

fn recipient(item: &str) -> io::Result<(String, AnyRecipient)> {
    let named: AnyRecipient = if item.starts_with("age1") {
        Box::new(item.parse::<age::x25519::Recipient>().map_err(|why| {
            invalid(format!(
                "{} is not an age recipient: {why} (age1… keys of plugins are not supported)",
                shorten(item)
            ))
        })?)
    } else if item.starts_with("ssh-") {
        Box::new(ssh_recipient(item)?)
    } else {
        return Err(invalid(format!(
            "{} is not an age recipient: it must begin with age1, ssh-ed25519 or ssh-rsa",
            shorten(item)
        )));
    };
    Ok((item.to_owned(), named))
}

fn ssh_recipient(item: &str) -> io::Result<age::ssh::Recipient> {
    use age::ssh::ParseRecipientKeyError as Problem;
    let mut words = item.split_ascii_whitespace();
    let (kind, key) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let bare = format!("{kind} {key}");
    let why = match bare.parse::<age::ssh::Recipient>() {
        // The parser ignores what follows a key that is long enough.
        Ok(recipient) if recipient.to_string().trim_end_matches('=') == bare.trim_end_matches('=') => {
            return Ok(recipient);
        }
        Err(Problem::RsaModulusTooLarge) => {
            "its RSA key has more than 4096 bits, which age does not support".to_owned()
        }
        Err(Problem::RsaModulusTooSmall) => "its RSA key has fewer than 2048 bits, which is too weak".to_owned(),
        Err(Problem::Unsupported(kind)) => format!("age does not support keys of type {kind}"),
        Ok(_) | Err(_) => "its key is incomplete or mistyped".to_owned(),
    };
    Err(invalid(format!("{} is not an age recipient: {why}", shorten(item))))
}

/// Whether a text may contain a private key: of age, of its plugins, or PEM.
fn is_private_key(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    ["SECRET-KEY", "AGE-PLUGIN-", "PRIVATE KEY"].iter().any(|mark| text.contains(mark))
}

/// Enough of a recipient to identify it, and too little to be misused.
fn shorten(item: &str) -> String {
    let count = item.chars().count();
    if count <= 20 {
        return format!("{item:?}");
    }
    let beginning: String = item.chars().take(16).collect();
    format!("{:?}", format!("{beginning}…"))
}

/// Encrypts what is written to it. Without [`Encryptor::finish`] the file lacks its last chunk and cannot be decrypted to
/// its end.
pub struct Encryptor<W: Write>(StreamWriter<BufWriter<W>>);

impl<W: Write> Encryptor<W> {
    /// Writes the last chunk, flushes the output and returns it.
    pub fn finish(self) -> io::Result<W> {
        let buffer = self.0.finish()?;
        let mut output = buffer.into_inner().map_err(IntoInnerError::into_error)?;
        output.flush()?;
        Ok(output)
    }
}

impl<W: Write> Write for Encryptor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests;
