//! Sizes in settings.

/// `500K`, `1.5G`, `2T` (1024 each), or bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = |letter: char| units.iter().find(|(name, _)| letter.eq_ignore_ascii_case(name));
    let (digits, shift) = match text.chars().last().and_then(unit) {
        Some((_, shift)) => (&text[..text.len() - 1], *shift),
        None => (text, 0),
    };
    let number: f64 = digits.trim_end().parse().ok().filter(|number| (0.0..1e15).contains(number))?;
    let bytes = number * f64::from(1_u32 << (shift / 2)) * f64::from(1_u32 << (shift / 2));
    // Below 2^63, and no part of a byte.
    (bytes < 9e18 && (shift > 0 || number.fract() == 0.0)).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let cases =
            [("0", 0), ("1024", 1024), ("500M", 500 << 20), ("1.5g", 3 << 29), (" 2 T ", 2 << 40), ("1K", 1024)];
        for (text, bytes) in cases {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1", "10MB", "1.5", "1e400G", "nan", "inf", "99999999999999T"] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}
