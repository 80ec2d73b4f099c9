//! When a link was created, packed: most exports write it in one of two forms.

use std::borrow::Cow;

use super::packed::{Reader, text, unpacked};

/// `createdAt` as written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Created<'a> {
    Absent,
    Text(&'a [u8]),
    /// Seconds since the Unix epoch: `2026-11-28T12:00:00Z`.
    Seconds(u64),
    /// Milliseconds: `2026-11-28T12:00:00.000Z`.
    Millis(u64),
}

impl<'a> Created<'a> {
    /// Packs a text, if it can be written again just so.
    pub fn of(written: &'a str) -> Self {
        if written.is_empty() {
            return Self::Absent;
        }
        let packed = written.parse::<jiff::Timestamp>().ok().and_then(|time| {
            let millis = u64::try_from(time.as_millisecond()).ok()?;
            Some(match written.len() {
                20 => Self::Seconds(millis / 1_000),
                _ => Self::Millis(millis),
            })
        });
        packed.filter(|packed| *packed.text() == *written.as_bytes()).unwrap_or(Self::Text(written.as_bytes()))
    }

    /// Two bits.
    pub fn kind(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Text(_) => 1,
            Self::Seconds(_) => 2,
            Self::Millis(_) => 3,
        }
    }

    pub fn write(self, into: &mut Vec<u8>) {
        match self {
            Self::Absent => {}
            Self::Text(written) => text(into, written),
            Self::Seconds(seconds) => into.extend_from_slice(&seconds.to_le_bytes()[..5]),
            Self::Millis(millis) => into.extend_from_slice(&millis.to_le_bytes()[..6]),
        }
    }

    pub fn read(kind: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match kind {
            0 => Self::Absent,
            1 => Self::Text(reader.text()?),
            2 => Self::Seconds(unpacked(reader.array::<5>()?)),
            _ => Self::Millis(unpacked(reader.array::<6>()?)),
        })
    }

    /// The text as it was written; empty where it is absent.
    pub fn text(self) -> Cow<'a, [u8]> {
        let mut room = [0; 24];
        match self {
            Self::Absent => Cow::Borrowed(b""),
            Self::Text(written) => Cow::Borrowed(written),
            packed => Cow::Owned(packed.render(&mut room).to_vec()),
        }
    }

    /// The text as it was written, in `room` or where it lies.
    pub fn render<'r>(self, room: &'r mut [u8; 24]) -> &'r [u8]
    where
        'a: 'r,
    {
        let (seconds, millis) = match self {
            Self::Absent => return b"",
            Self::Text(written) => return written,
            Self::Seconds(seconds) => (seconds, None),
            Self::Millis(millis) => (millis / 1_000, Some(millis % 1_000)),
        };
        *room = *b"0000-00-00T00:00:00.000Z";
        let (year, month, day) = date(seconds / 86_400);
        let rest = seconds % 86_400;
        two_digits(room, 0, year / 100);
        two_digits(room, 2, year % 100);
        two_digits(room, 5, month);
        two_digits(room, 8, day);
        two_digits(room, 11, rest / 3_600);
        two_digits(room, 14, rest / 60 % 60);
        two_digits(room, 17, rest % 60);
        let Some(millis) = millis else {
            room[19] = b'Z';
            return &room[..20];
        };
        two_digits(room, 20, millis / 10);
        room[22] = b'0' + (millis % 10) as u8;
        room
    }
}

#[inline]
fn two_digits(room: &mut [u8; 24], at: usize, number: u64) {
    room[at] = b'0' + (number / 10 % 10) as u8;
    room[at + 1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a day since the Unix epoch. Counts in eras of 400 years that begin in March, so that the leap
/// day is the last of its year.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_cannot_be_packed_stays_as_it_is() {
        for text in
            ["", "2026-11-28", "2026-11-28T12:00:00+00:00", "2026-11-28T12:00:00.1234Z", "1969-12-31T23:59:59Z", "x"]
        {
            assert!(matches!(Created::of(text), Created::Text(_) | Created::Absent), "{text}");
            assert_eq!(*Created::of(text).text(), *text.as_bytes());
        }
        assert_eq!(Created::of("1970-01-01T00:00:01Z"), Created::Seconds(1));
        assert_eq!(Created::of("1970-01-01T00:00:01.002Z"), Created::Millis(1_002));
        assert!(matches!(Created::of("9999-12-30T21:59:59.999Z"), Created::Millis(_)));
    }

    proptest! {
        #[test]
        fn times_of_all_years_are_rendered_as_a_calendar_does(seconds in 0..=jiff::Timestamp::MAX.as_second() as u64) {
            let text = jiff::Timestamp::from_second(seconds as i64).unwrap().to_string();
            prop_assert_eq!(Created::of(&text), Created::Seconds(seconds));
        }
    }
}
