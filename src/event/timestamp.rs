//! Renders the times of an event.

/// A time as RFC 3339 in UTC with microseconds. Many clicks share a second, so the last one stays rendered.
pub struct Timestamp {
    text: [u8; 27],
    second: Option<u64>,
}

impl Timestamp {
    /// No time yet.
    pub const ZERO: Self = Self { text: *b"0000-00-00T00:00:00.000000Z", second: None };

    /// The text of a time in microseconds since the Unix epoch.
    pub fn render(&mut self, micros: u64) -> &str {
        let second = micros / 1_000_000;
        if self.second != Some(second) {
            self.second = Some(second);
            self.render_second(second);
        }
        self.digits(20..26, (micros % 1_000_000) as u32);
        str::from_utf8(&self.text).unwrap_or_default()
    }

    fn render_second(&mut self, second: u64) {
        let time = jiff::Timestamp::from_second(second as i64).unwrap_or_default();
        let time = jiff::tz::Offset::UTC.to_datetime(time);
        self.digits(0..4, time.year() as u32);
        for (at, part) in
            [(5, time.month()), (8, time.day()), (11, time.hour()), (14, time.minute()), (17, time.second())]
        {
            self.digits(at..at + 2, part as u32);
        }
    }

    fn digits(&mut self, place: std::ops::Range<usize>, mut number: u32) {
        for digit in self.text[place].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_with_microseconds() {
        let mut time = Timestamp::ZERO;
        assert_eq!(time.render(1_795_424_462_000_042), "2026-11-23T09:01:02.000042Z");
        assert_eq!(time.render(1_795_424_462_999_999), "2026-11-23T09:01:02.999999Z");
        assert_eq!(time.render(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(time.render(1_795_424_463_000_001), "2026-11-23T09:01:03.000001Z");
    }
}
