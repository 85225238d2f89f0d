//! A cron line in systemd's terms (`systemd.time(7)`, "Calendar Events").

use crate::calendar::cron::{Cron, values};

/// A range of systemd's weekdays cannot begin before Monday.
const WEEKDAYS: &[&str] = &["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Cron {
    /// The expressions for `OnCalendar=`. There are two if a day has to match the day of the month or the weekday: in systemd,
    /// days must always match both.
    pub fn on_calendar(&self) -> Vec<String> {
        let time = format!("{}:{}:00", part(self.hours, 0, 23), part(self.minutes, 0, 59));
        let month = part(self.months, 1, 12);
        let expression = |weekdays: String, days: String| format!("{weekdays}*-{month}-{days} {time}");
        let days = part(self.days, 1, 31);
        match self.both {
            true => vec![expression(weekdays(self.weekdays), days)],
            false => vec![expression(String::new(), days), expression(weekdays(self.weekdays), "*".to_owned())],
        }
    }
}

/// `Mon..Fri `, or nothing for all weekdays.
fn weekdays(bits: u64) -> String {
    let name = |day: i8| usize::try_from(day).ok().and_then(|day| WEEKDAYS.get(day)).copied().unwrap_or_default();
    match bits {
        0x7f => String::new(),
        // Bit 0 is Sunday.
        _ => list(bits >> 1 | (bits & 1) << 6, name) + " ",
    }
}

/// A field as `*`, as a start and a step, or as a list.
fn part(bits: u64, first: i8, last: i8) -> String {
    let all: Vec<i8> = values(bits).collect();
    match all[..] {
        [begin, second, ..] if all.len() > 2 || (begin == first && second == last) => {
            let step = second - begin;
            let even = all.windows(2).all(|pair| pair[1] - pair[0] == step);
            let to_the_end = all.last().is_some_and(|end| i16::from(*end) + i16::from(step) > i16::from(last));
            match even && to_the_end {
                true if step == 1 && begin == first => "*".to_owned(),
                true if step > 1 => format!("{begin:02}/{step}"),
                _ => list(bits, |value| format!("{value:02}")),
            }
        }
        _ => list(bits, |value| format!("{value:02}")),
    }
}

/// Values separated by commas; three and more consecutive ones as a range.
fn list<T: std::fmt::Display>(bits: u64, name: impl Fn(i8) -> T) -> String {
    let mut runs: Vec<(i8, i8)> = Vec::new();
    for value in values(bits) {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == value => *end = value,
            _ => runs.push((value, value)),
        }
    }
    let text = |(begin, end): (i8, i8)| match end - begin {
        0 => name(begin).to_string(),
        1 => format!("{},{}", name(begin), name(end)),
        _ => format!("{}..{}", name(begin), name(end)),
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_their_expressions() {
        let cases: &[(&str, &[&str])] = &[
            ("0 2 * * *", &["*-*-* 02:00:00"]),
            ("0 */6 * * *", &["*-*-* 00/6:00:00"]),
            ("0 3 * * 0", &["Sun *-*-* 03:00:00"]),
            ("0 3 * * 7", &["Sun *-*-* 03:00:00"]),
            ("0 1 1 * *", &["*-*-01 01:00:00"]),
            ("*/15 8-18 * * mon-fri", &["Mon..Fri *-*-* 08..18:00/15:00"]),
            (
                "5,6,30 0,12 1-7 jan,jun 0,3",
                &["*-01,06-01..07 00,12:05,06,30:00", "Wed,Sun *-01,06-* 00,12:05,06,30:00"],
            ),
            ("0 0 */2 * mon", &["Mon *-*-01/2 00:00:00"]),
            ("0 0 1 * */2", &["Tue,Thu,Sat,Sun *-*-01 00:00:00"]),
            ("* * * * *", &["*-*-* *:*:00"]),
            ("@hourly", &["*-*-* *:00:00"]),
            ("10-59/20 0 * * *", &["*-*-* 00:10/20:00"]),
            ("0 2 * * 1,2,4", &["Mon,Tue,Thu *-*-* 02:00:00"]),
        ];
        for (line, expressions) in cases {
            assert_eq!(Cron::parse(line).unwrap().on_calendar(), *expressions, "{line}");
        }
    }
}
