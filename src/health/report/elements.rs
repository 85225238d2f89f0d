//! The parts that HTML pages are made of: escaped text, names, times and tables.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::format::time;
use crate::printable::printable;

/// Characters of a name that stay on one line.
const SHORT: usize = 24;

/// Text of unknown origin, fit for a page and for an attribute.
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            c => safe.push(c),
        }
    }
    safe
}

/// A name of unknown origin: a short one stays on one line, and a long one breaks at an underscore, or else anywhere.
pub fn name(text: &str) -> String {
    match printable(text).chars().count() > SHORT {
        true => format!("<span class=\"long\">{}</span>", escaped(text).replace('_', "_<wbr>")),
        false => format!("<span class=\"short\">{}</span>", escaped(text)),
    }
}

/// The text of an empty cell.
pub fn dash() -> String {
    "\u{2013}".to_owned()
}

/// A table of headings and rows of HTML cells. The columns `names` have names, which may be longer than a line; the columns from
/// `numbers` on have numbers.
pub fn table(headings: &[&str], names: &[usize], numbers: usize, rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |column: usize| match (names.contains(&column), column >= numbers) {
        (true, _) => " class=\"name\"",
        (false, true) => " class=\"number\"",
        (false, false) => "",
    };
    let mut text = "<div class=\"scroll\"><table class=\"cards\">\n<thead><tr>".to_owned();
    for (column, heading) in headings.iter().enumerate() {
        text += &format!("<th{}>{heading}</th>", class(column));
    }
    text += "</tr></thead>\n<tbody>\n";
    for row in rows {
        text += "<tr>";
        for (column, (cell, heading)) in row.iter().zip(headings).enumerate() {
            text += &format!("<td{} data-label=\"{heading}\"><span>{cell}</span></td>", class(column));
        }
        text += "</tr>\n";
    }
    text + "</tbody>\n</table></div>\n"
}

/// A time that stays on one line.
pub fn moment(at: Timestamp, zone: &TimeZone) -> String {
    format!("<span class=\"time\">{}</span>", time(at, zone))
}
