//! Schedules: when runs are due, and how far apart they can be.

pub mod cron;
pub mod systemd;

/// Whether a schedule is written as a cron line; else it is a calendar expression of systemd (`systemd.time(7)`), which
/// has four words at the most.
pub fn is_cron(text: &str) -> bool {
    let text = cron::without_comment(text);
    text.starts_with('@') || text.split_ascii_whitespace().count() > 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_schedules() {
        for cron in ["0 2 * * *", " 0 3 * * 0  # weekly", "@daily", "*/5 * * * * *"] {
            assert!(is_cron(cron), "{cron}");
        }
        for other in ["daily", "*-*-* 02:00:00", "Mon..Fri *-*-* 22:30 Europe/Berlin", "Sat 03:00 # weekly", ""] {
            assert!(!is_cron(other), "{other}");
        }
    }
}
