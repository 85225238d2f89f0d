//! Removes passwords from texts: a setting may be a URL or a connection string where a plain value is expected.

use std::borrow::Cow;
use std::path::Path;

/// Replacement for what is hidden.
const HIDDEN: &str = "…";

/// Whether a value may contain a password: a URL with a user, `user:password@host`, or libpq's `password=`
/// (PostgreSQL documentation, "Connection Strings").
pub fn has_password(value: &str) -> bool {
    let before_host = value.rsplit_once('@').map_or("", |(before, _)| before);
    before_host.contains(':') || assignment(value).is_some()
}

/// The value for a message: `'VALUE'`, or the statement that it is not shown.
pub fn shown(value: &str) -> String {
    match has_password(value) {
        true => "not shown here, because it may contain a password".to_owned(),
        false => format!("'{value}'"),
    }
}

/// The path of a file with a secret, for messages. A value that is not an absolute path may be the secret itself.
pub fn shown_path(path: &Path) -> String {
    match path.is_absolute() {
        true => path.display().to_string(),
        false => "a relative path, which is not shown here, because it may be a secret".to_owned(),
    }
}

/// A text in which no URL has a user and no connection string a password.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains("://") && assignment(text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut redacted = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let url = rest.find("://").map(|at| at + "://".len());
        let next = [url, assignment(rest)].into_iter().flatten().min();
        let Some(at) = next else { break };
        redacted.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | '`')).unwrap_or(rest.len());
        let hidden = match url == Some(at) {
            true => rest[..end].rfind('@').unwrap_or_default(),
            // A quoted value ends with the same quote.
            false if end == 0 => {
                let (quote, value) = rest.split_at(1);
                value.find(quote).map_or(rest.len(), |end| end + 2)
            }
            false => end,
        };
        if hidden > 0 {
            redacted.push_str(HIDDEN);
        }
        rest = &rest[hidden..];
    }
    redacted.push_str(rest);
    Cow::Owned(redacted)
}

/// Where the value of the first `password=` begins.
fn assignment(text: &str) -> Option<usize> {
    const WORD: &str = "password";
    let small = text.to_ascii_lowercase();
    small.match_indices(WORD).find_map(|(at, _)| {
        let after = &small[at + WORD.len()..];
        let value = after.trim_start().strip_prefix('=')?.trim_start();
        (!value.is_empty()).then_some(text.len() - value.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_may_contain_a_password() {
        let with = [
            "postgres://u:p@h/d",
            "postgresql://u:p%40x@h",
            "u:p@h",
            "s3://KEY:SECRET@bucket/x",
            "host=h password=p",
            "host=h PASSWORD = 'p w'",
            "p@ss:w@h",
        ];
        for value in with {
            assert!(has_password(value), "{value}");
            assert!(!shown(value).contains(value), "{value}");
        }
        for value in
            ["h", "::1", "me@example.org", "Me <me@example.org>", "postgres://elsewhere.invalid/postgres", "s3://b/k"]
        {
            assert!(!has_password(value), "{value}");
            assert_eq!(shown(value), format!("'{value}'"));
        }
    }

    #[test]
    fn passwords_are_removed_from_texts() {
        let cases = [
            ("cannot reach http://k:s3cret@h:9/b: refused", "cannot reach http://…@h:9/b: refused"),
            ("'s3://k:s3cret/x+y@b' and 'postgres://u:p@h'", "'s3://…@b' and 'postgres://…@h'"),
            ("no user in https://h/p, mail me@h", "no user in https://h/p, mail me@h"),
            ("host=h password=s3cret dbname=d", "host=h password=… dbname=d"),
            ("host=h password = 's3 cret' dbname=d", "host=h password = … dbname=d"),
            ("password='s3cret", "password=…"),
            ("password=", "password="),
            ("", ""),
            ("nothing", "nothing"),
        ];
        for (text, expected) in cases {
            assert_eq!(redacted(text), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_password_is_left_in_any_text(
            before in "[^s]{0,40}",
            user in "[a-z:]{0,9}",
            password in "s3cret[!#-&(-_a-~]{0,9}",
            after in "[^s]{0,40}",
        ) {
            for text in [
                format!("{before} x://{user}:{password}@h{after}"),
                format!("{before} password={password} {after}"),
                format!("{before} password = '{password} {password}'{after}"),
            ] {
                proptest::prop_assert!(!redacted(&text).contains("s3cret"), "{text}");
            }
        }
    }
}
