//! Major versions that an upgrade can lead to.

use crate::config::refusal::wrong;
use crate::error::Result;

const MAJORS: std::ops::RangeInclusive<u32> = 14..=99;

/// A major version of PostgreSQL; none if the text is empty.
///
/// # Errors
/// `Config` for any other text.
pub fn server_major(setting: &str, text: Option<&str>) -> Result<Option<u32>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse() {
        Ok(major) if MAJORS.contains(&major) => Ok(Some(major)),
        _ => Err(wrong(setting, text, "a major version of PostgreSQL, such as 19")),
    }
}
