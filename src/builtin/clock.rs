//! Wall-clock time in the forms that the protocol writes. Calendar times are UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_millis() as u64)
}

/// A moment split into calendar fields, UTC.
pub struct Calendar {
    pub year: i64,
    pub month: u64,
    pub day: u64,
    pub hour: u64,
    pub minute: u64,
    pub second: u64,
    /// 0 is Sunday.
    pub weekday: u64,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const SECONDS_PER_DAY: u64 = 86_400;

impl Calendar {
    /// The calendar fields of a Unix time in seconds (Gregorian calendar, era arithmetic by Howard Hinnant).
    pub fn from_unix(seconds: u64) -> Self {
        let days = seconds / SECONDS_PER_DAY;
        let rest = seconds % SECONDS_PER_DAY;
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: (year_of_era + era * 400) as i64 + i64::from(month <= 2),
            month,
            day,
            hour: rest / 3_600,
            minute: rest % 3_600 / 60,
            second: rest % 60,
            weekday: (days + 4) % 7,
        }
    }

    /// The moment now.
    pub fn now() -> Self {
        Self::from_unix(now_ms() / 1_000)
    }

    /// `Sat, 21 Nov 2026 04:59:41 GMT`, as HTTP headers write it.
    pub fn http_date(&self) -> String {
        format!(
            "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
            WEEKDAYS.get(self.weekday as usize).unwrap_or(&"Sun"),
            self.day,
            MONTHS.get(self.month as usize - 1).unwrap_or(&"Jan"),
            self.year,
            self.hour,
            self.minute,
            self.second
        )
    }
}

/// `2026-11-21T05:04:39.476000`, as ComfyUI's log lines write it.
pub fn log_stamp() -> String {
    let milliseconds = now_ms();
    let at = Calendar::from_unix(milliseconds / 1_000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}000",
        at.year,
        at.month,
        at.day,
        at.hour,
        at.minute,
        at.second,
        milliseconds % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::Calendar;

    #[test]
    fn calendar_matches_known_moments() {
        assert_eq!(
            Calendar::from_unix(0).http_date(),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
        assert_eq!(
            Calendar::from_unix(951_827_696).http_date(),
            "Tue, 29 Feb 2000 12:34:56 GMT"
        );
        assert_eq!(
            Calendar::from_unix(1_795_237_181).http_date(),
            "Sat, 21 Nov 2026 04:59:41 GMT"
        );
    }
}
