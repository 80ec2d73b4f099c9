//! Times as databases and services write them.

use jiff::{Timestamp, civil, fmt::rfc2822, tz::Offset};

/// What a time looks like, for messages.
pub const EXAMPLE: &str = "a time such as 2026-01-31T12:00:00Z";

/// Seconds that are a plausible time, from 1989 to 2099: a number may also count smaller units.
const PLAUSIBLE: std::ops::Range<i64> = 600_000_000..4_100_000_000;

/// Reads RFC 3339 with any offset, the forms of SQL without one (as UTC), a date, seconds, milliseconds, microseconds
/// or nanoseconds since 1970, and the form of HTTP and mail.
pub fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.contains('[') {
        return None;
    }
    let time = number(text).or_else(|| rfc_3339(text)).or_else(|| local(text)).or_else(|| {
        let is_mail = text.ends_with("GMT") || text.contains(" +") || text.contains(" -");
        is_mail.then(|| rfc2822::parse(text).ok()).flatten().map(|zoned| zoned.timestamp())
    })?;
    // RFC 3339 has years of four digits.
    (0..=9999).contains(&Offset::UTC.to_datetime(time).year()).then_some(time)
}

/// Whether an event can show the text as it is.
pub fn is_rfc_3339_utc(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let Some((seconds, rest)) = bytes.split_at_checked(FORM.len()) else { return false };
    let has_form = FORM.iter().zip(seconds).all(|(form, byte)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    });
    let is_fraction = |digits: &[u8]| (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let has_end = match rest {
        [b'Z'] => true,
        [b'.', digits @ .., b'Z'] => is_fraction(digits),
        _ => false,
    };
    // A leap second is a time that many readers reject.
    has_form && has_end && !seconds.ends_with(b"60") && text.parse::<Timestamp>().is_ok()
}

fn number(text: &str) -> Option<Timestamp> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let compact = match whole.len() {
        8 => civil::Date::strptime("%Y%m%d", whole).ok().map(|date| date.at(0, 0, 0, 0)),
        14 => civil::DateTime::strptime("%Y%m%d%H%M%S", whole).ok(),
        _ => None,
    };
    if let Some(time) = compact {
        return utc(time).filter(|time| PLAUSIBLE.contains(&time.as_second()));
    }
    let value: i64 = whole.parse().ok()?;
    let per_second =
        [1, 1_000, 1_000_000, 1_000_000_000].into_iter().find(|unit| PLAUSIBLE.contains(&(value / unit)))?;
    let nanos = i128::from(value) * i128::from(1_000_000_000 / per_second);
    let millis = if per_second == 1 { format!("{fraction:0<3}").get(..3)?.parse::<i128>().ok()? } else { 0 };
    Timestamp::from_nanosecond(nanos + millis * 1_000_000).ok()
}

fn rfc_3339(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(" UTC").map_or_else(|| text.to_owned(), |time| format!("{time}Z"));
    // `2023-08-31 04:13:48 +0000`: a space before the offset.
    let text = text.replace(" +", "+").replace(" -", "-");
    text.parse().ok()
}

fn local(text: &str) -> Option<Timestamp> {
    // The zero date of MySQL, and a text such as `T04:13`, are no times.
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.parse().ok()).flatten().and_then(utc)
}

fn utc(time: civil::DateTime) -> Option<Timestamp> {
    Offset::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_databases_are_read_as_utc() {
        for (text, expected) in [
            ("2023-08-31T04:13:48.385Z", "2023-08-31T04:13:48.385Z"),
            ("2023-08-31T04:13:48.385", "2023-08-31T04:13:48.385Z"),
            ("2023-08-31 04:13:48", "2023-08-31T04:13:48Z"),
            (" 2023-08-31 04:13 ", "2023-08-31T04:13:00Z"),
            ("2023-08-31", "2023-08-31T00:00:00Z"),
            ("20230831", "2023-08-31T00:00:00Z"),
            ("20230831041348", "2023-08-31T04:13:48Z"),
            ("1693455228385", "2023-08-31T04:13:48.385Z"),
            ("1693455228", "2023-08-31T04:13:48Z"),
            ("1693455228.385", "2023-08-31T04:13:48.385Z"),
            ("1693455228.5", "2023-08-31T04:13:48.5Z"),
            ("1693455228385123", "2023-08-31T04:13:48.385123Z"),
            ("1693455228385123456", "2023-08-31T04:13:48.385123456Z"),
            ("2023-08-31T06:13:48+02:00", "2023-08-31T04:13:48Z"),
            ("2023-08-31T06:13:48+0200", "2023-08-31T04:13:48Z"),
            ("2023-08-31 04:13:48.385+00", "2023-08-31T04:13:48.385Z"),
            ("2023-08-31 04:13:48 UTC", "2023-08-31T04:13:48Z"),
            ("2023-08-31 06:13:48 +0200", "2023-08-31T04:13:48Z"),
            ("Thu, 31 Aug 2023 04:13:48 GMT", "2023-08-31T04:13:48Z"),
            ("Thu, 31 Aug 2023 06:13:48 +0200", "2023-08-31T04:13:48Z"),
        ] {
            assert_eq!(parse(text).map(|time| time.to_string()).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_times() {
        for text in [
            "",
            "yesterday",
            "0",
            "12",
            "-5",
            "0000-00-00 00:00:00",
            "2023-02-30",
            "31.08.2023",
            "08/31/2023",
            "T04:13",
            "99999999999999999999",
            "20231340",
            "2023-08-31T04:13:48[Europe/Rome]",
            "-002023-08-31T04:13:48Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_a_time_that_every_reader_knows_is_shown_as_it_is() {
        for text in ["2026-03-01T09:30:00.000Z", "2026-03-01T09:30:00Z"] {
            assert!(is_rfc_3339_utc(text), "{text}");
        }
        for text in [
            "2026-03-01T09:30:00",
            "2026-03-01T09:30Z",
            "2026-03-01 09:30:00Z",
            "2026-03-01t09:30:00z",
            "2026-03-01T09:30:00+00:00",
            "2026-03-01T09:30:60Z",
            "2026-13-01T09:30:00Z",
            "2026-03-01T09:30:00.Z",
            "2026-03-01T09:30:00.0123456789Z",
            "2026-03-01T09:30:00,5Z",
        ] {
            assert!(!is_rfc_3339_utc(text), "{text}");
        }
    }
}
