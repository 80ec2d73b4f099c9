//! The conditions on time: `after` and `before` are moments, `weekday` and `hours` go by the clock of a time zone.
//!
//! The zones are those of the build, so that all edges decide alike, whatever is installed on a machine. When clocks
//! change, what they show decides: an hour that they show twice counts twice, and one that they leave out never does.
//! `weekday` is the day that the calendar shows, also in the part of `hours` that is past midnight.

use std::sync::LazyLock;

use jiff::{
    Timestamp, Zoned,
    civil::DateTime,
    tz::{TimeZone, TimeZoneDatabase},
};

use super::super::field::Field;

/// Most ranges of hours in a condition.
const MAX_RANGES: usize = 24;

const MINUTES_OF_A_DAY: u16 = 24 * 60;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// From `after` (inclusive) to `before` (exclusive).
#[derive(Clone, Debug)]
pub(super) struct Dates {
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Dates {
    pub(super) fn read(when: &Field<'_>) -> Result<Option<Self>, String> {
        let (after, before) = (when.find("after"), when.find("before"));
        if after.is_none() && before.is_none() {
            return Ok(None);
        }
        let zone = zone(when)?;
        let moment = |field: Option<&Field<'_>>| field.map(|field| moment(field, &zone)).transpose();
        let dates = Self { after: moment(after.as_ref())?, before: moment(before.as_ref())? };
        if let (Some(after), Some(end), Some(before)) = (dates.after, dates.before, before)
            && after >= end
        {
            return Err(
                before.is_bad("it is not later than `after`, so the rule would never hold; write a later time")
            );
        }
        Ok(Some(dates))
    }

    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.after.is_none_or(|after| now >= after) && self.before.is_none_or(|before| now < before)
    }

    pub(super) fn name(&self) -> &'static str {
        match (self.after, self.before) {
            (Some(_), Some(_)) => "after, before",
            (Some(_), None) => "after",
            (None, _) => "before",
        }
    }
}

/// A time with an offset, or one by the clock of the zone.
fn moment(field: &Field<'_>, zone: &TimeZone) -> Result<Timestamp, String> {
    const REMEDY: &str = "write a time such as \"2026-01-31T12:00:00Z\"";
    let text = field.value().as_str().map(str::trim).ok_or_else(|| field.is_bad(REMEDY))?;
    let local = || text.parse::<DateTime>().ok()?.to_zoned(zone.clone()).ok();
    let moment = text.parse().ok().or_else(|| local().map(|zoned| zoned.timestamp()));
    moment.ok_or_else(|| field.is_bad(REMEDY))
}

/// What the clock of a zone shows.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    zone: TimeZone,
    /// A bit for each day, Monday first; `None` for all.
    days: Option<u8>,
    /// Empty for all.
    hours: Box<[Hours]>,
}

/// Minutes of the day, from the first (inclusive) to the second (exclusive), over midnight where that is earlier.
#[derive(Clone, Copy, Debug)]
struct Hours(u16, u16);

impl Clock {
    pub(super) fn read(when: &Field<'_>) -> Result<Option<Self>, String> {
        let (weekday, hours) = (when.find("weekday"), when.find("hours"));
        if weekday.is_none() && hours.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            zone: zone(when)?,
            days: weekday.map(|field| days(&field)).transpose()?,
            hours: hours.map(|field| ranges(&field)).transpose()?.unwrap_or_default(),
        }))
    }

    pub(super) fn holds(&self, now: Timestamp) -> bool {
        let clock = Zoned::new(now, self.zone.clone());
        let day = 1 << clock.weekday().to_monday_zero_offset();
        let minute = clock.hour() as u16 * 60 + clock.minute() as u16;
        self.days.is_none_or(|days| days & day != 0)
            && (self.hours.is_empty() || self.hours.iter().any(|hours| hours.hold(minute)))
    }

    pub(super) fn name(&self) -> &'static str {
        match (self.days, self.hours.is_empty()) {
            (Some(_), false) => "weekday, hours",
            (Some(_), true) => "weekday",
            (None, _) => "hours",
        }
    }
}

impl Hours {
    fn hold(self, minute: u16) -> bool {
        let Self(from, to) = self;
        if from < to { from <= minute && minute < to } else { from <= minute || minute < to }
    }
}

fn zone(when: &Field<'_>) -> Result<TimeZone, String> {
    let Some(field) = when.find("timeZone") else {
        return Ok(TimeZone::UTC);
    };
    let zone = field.value().as_str().and_then(|name| ZONES.get(name.trim()).ok());
    zone.ok_or_else(|| field.is_bad("write the IANA name of a zone, such as \"Europe/Rome\""))
}

fn days(field: &Field<'_>) -> Result<u8, String> {
    const REMEDY: &str = "write days: mon, tue, wed, thu, fri, sat or sun";
    let mut days = 0;
    for field in field.values(DAYS.len(), REMEDY)? {
        let name = field.value().as_str().map(|name| name.trim().to_ascii_lowercase()).unwrap_or_default();
        days |= 1 << DAYS.iter().position(|day| *day == name).ok_or_else(|| field.is_bad(REMEDY))?;
    }
    Ok(days)
}

fn ranges(field: &Field<'_>) -> Result<Box<[Hours]>, String> {
    const REMEDY: &str = "write hours from 00:00 to 24:00, such as \"09:00-17:00\", or \"22:00-06:00\" over midnight";
    let range = |field: Field<'_>| {
        let (from, to) = field.value().as_str().and_then(|text| text.split_once('-')).unwrap_or_default();
        let range = minute(from).zip(minute(to)).filter(|(from, to)| from != to && *from < MINUTES_OF_A_DAY);
        range.map(|(from, to)| Hours(from, to)).ok_or_else(|| field.is_bad(REMEDY))
    };
    field.values(MAX_RANGES, REMEDY)?.into_iter().map(range).collect()
}

/// `09:30` -> 570.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let number = |text: &str| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    let (hour, minute): (u16, u16) = (number(hour)?, number(minute).filter(|_| minute.len() == 2)?);
    (minute < 60 && hour * 60 + minute <= MINUTES_OF_A_DAY).then_some(hour * 60 + minute)
}
