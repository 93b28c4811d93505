//! Dates in UTC from the system clock, without a calendar library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment as `YYYY-MM-DD` and `HH:MM:SS`, both in UTC.
pub struct Utc {
    /// Days since 1970-01-01.
    days: u64,
    /// Seconds since midnight, 0..86,400.
    second: u64,
}

impl Utc {
    /// The current time; a clock before 1970 counts as 1970.
    pub fn now() -> Self {
        Self::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }

    /// A moment from the time since 1970-01-01T00:00:00Z.
    fn from_epoch(since: Duration) -> Self {
        Self { days: since.as_secs() / 86_400, second: since.as_secs() % 86_400 }
    }

    /// `YYYY-MM-DD`.
    pub fn date(&self) -> String {
        let mut day = self.days;
        let mut year = 1970;
        while day >= length_of_year(year) {
            day -= length_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while day >= length_of_month(year, month) {
            day -= length_of_month(year, month);
            month += 1;
        }
        format!("{year:04}-{month:02}-{:02}", day + 1)
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`.
    pub fn timestamp(&self) -> String {
        let (hour, minute, second) = (self.second / 3600, self.second / 60 % 60, self.second % 60);
        format!("{}T{hour:02}:{minute:02}:{second:02}Z", self.date())
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn length_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn length_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> String {
        Utc::from_epoch(Duration::from_secs(seconds)).timestamp()
    }

    #[test]
    fn known_moments() {
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00Z");
        assert_eq!(at(1_234_567_890), "2009-02-13T23:31:30Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(at(1_735_689_600), "2025-01-01T00:00:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z"); // 2100 is not a leap year
    }
}
