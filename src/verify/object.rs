//! Verification of one object: compares it with its manifest, and checks its events. However large it is, only one
//! event at a time is in memory.

use std::{borrow::Cow, collections::BTreeMap, io::Read};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::report::{Problem, ProblemKind, ReportRow};
use crate::{
    object::{
        KeyPlace, ObjectKey,
        manifest::Entry,
        reader::{Line, Summary, summarize_lines},
    },
    runtime::Hour,
};

/// The ids of an hour's events of one feed, each with the number of the object that had it first.
pub type Ids = hashbrown::HashMap<[u8; 16], u32>;

/// Most bytes around the events of an object, such as `[` and `]`.
const MAX_FRAME: usize = 16 * 1024;

/// An object that the store lists.
pub struct ListedObject<'a> {
    pub key: &'a str,
    pub parts: ObjectKey<'a>,
    pub bytes: u64,
    /// The hour of its events.
    pub hour: Hour,
    /// Name of its series.
    pub series: String,
}

/// An object that is being read.
pub struct Reading<'a> {
    object: &'a ListedObject<'a>,
    number: u32,
    row: &'a mut ReportRow,
    all_ids: &'a mut std::collections::HashMap<String, Ids>,
    /// Of this object's feed, from the first event on.
    ids: Ids,
    feed: Option<String>,
    invalid: Finding,
    elsewhere: Finding,
    twice: BTreeMap<u32, Finding>,
    frame: Frame,
}

/// The count of a problem, and its first case.
#[derive(Default)]
struct Finding {
    count: u64,
    first: String,
}

/// The part of an event that the verification needs.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    edge: Option<Edge<'a>>,
}

#[derive(Deserialize)]
struct Edge<'a> {
    #[serde(borrow, default)]
    pop: Option<Cow<'a, str>>,
}

impl<'a> Reading<'a> {
    /// `number` is the index of the object in its hour.
    pub fn new(
        object: &'a ListedObject<'a>,
        number: u32,
        row: &'a mut ReportRow,
        all_ids: &'a mut std::collections::HashMap<String, Ids>,
    ) -> Self {
        Self {
            object,
            number,
            row,
            all_ids,
            ids: Ids::default(),
            feed: None,
            invalid: Finding::default(),
            elsewhere: Finding::default(),
            twice: BTreeMap::new(),
            frame: Frame::of(object.parts.extension),
        }
    }

    /// Reads the whole object. Returns the number of events, and the problems. `key_of` returns the keys of the hour's
    /// objects.
    pub fn read<'k>(
        mut self,
        input: impl Read,
        entry: Option<&Entry>,
        key_of: impl Fn(u32) -> &'k str,
    ) -> (u64, Vec<Problem>) {
        let (key, size) = (self.object.key, self.object.bytes);
        let mut events = 0;
        let summary = summarize_lines(input, key, |line| {
            events += u64::from(matches!(line, Line::Event { .. }));
            self.see(line);
        });
        let mut problems = Vec::new();
        let mut wrong =
            |kind, expected: String, found: String| problems.push(Problem::new(kind, key, expected, found));
        let whole = entry.is_none_or(|entry| entry.bytes == size);
        match &summary {
            Ok(summary) => self.compare(summary, entry, whole, &mut wrong),
            // The problem of another size than listed is already reported.
            Err(_) if !whole => {}
            Err(error) => wrong(ProblemKind::Damaged, "a whole object".into(), error.to_string()),
        }
        let Finding { count, first } = &self.invalid;
        if *count > 0 && summary.is_ok() {
            wrong(ProblemKind::Event, "events only".into(), format!("{count} invalid, first {first}"));
        }
        if summary.is_ok() && !self.frame.is_sound() {
            wrong(ProblemKind::Event, "one JSON document of events".into(), "other text".into());
        }
        let Finding { count, first } = &self.elsewhere;
        if *count > 0 {
            let expected = format!("events of the hour {}", self.object.hour);
            wrong(ProblemKind::Hour, expected, format!("{count} of another hour, first {first}"));
        }
        for (number, Finding { count, first }) in &self.twice {
            let place = if *number == self.number { "this object" } else { key_of(*number) };
            let found = format!("{count} that are also in {place}, first {first}");
            wrong(ProblemKind::Duplicate, "each event once".into(), found);
        }
        if let Some(feed) = self.feed {
            self.all_ids.insert(feed, self.ids);
        }
        (events, problems)
    }

    fn compare(
        &self,
        summary: &Summary,
        entry: Option<&Entry>,
        whole: bool,
        wrong: &mut impl FnMut(ProblemKind, String, String),
    ) {
        let id = |id: &str| if id.is_empty() { "no event".to_owned() } else { format!("event {id}") };
        if let Some(entry) = entry {
            let same = summary.sha256 == entry.sha256;
            if whole && !same {
                wrong(ProblemKind::Checksum, format!("SHA-256 {}", entry.sha256), summary.sha256.clone());
            }
            // Other bytes make further differences meaningless.
            if !same {
                return;
            }
            if summary.events != entry.events {
                wrong(ProblemKind::Count, format!("{} events", entry.events), summary.events.to_string());
            }
            if summary.last != entry.last {
                wrong(ProblemKind::Bounds, format!("{} as the last", id(&entry.last)), id(&summary.last));
            }
        }
        // A manifest that names another first event than the key does contradicts itself, and was rejected.
        let first = match self.object.parts.place {
            KeyPlace::Hive { first, .. } => Some(first),
            KeyPlace::Sequence { .. } => entry.filter(|_| whole).map(|entry| entry.first.as_str()),
        };
        if let Some(first) = first
            && summary.first != first
        {
            wrong(ProblemKind::Bounds, format!("{} as the first", id(first)), id(&summary.first));
        }
    }

    fn see(&mut self, line: Line<'_>) {
        let event = match line {
            Line::Event { text, comma, .. } => {
                self.frame.event(comma);
                parse(text)
            }
            Line::Other(text) if self.frame.other(text) => return,
            Line::Other(text) => Err(excerpt(text)),
        };
        match event {
            Ok((event, id, hour)) => self.take(&event, id, hour),
            Err(found) => self.invalid.add(|| found),
        }
    }

    fn take(&mut self, event: &Event<'_>, id: Uuid, hour: Hour) {
        if self.feed.is_none() {
            self.ids_of_feed(event);
        }
        if hour != self.object.hour || hour_of_id(id) != self.object.hour {
            self.elsewhere.add(|| format!("event {id} of {}", event.timestamp));
        }
        match self.ids.entry(id.into_bytes()) {
            hashbrown::hash_map::Entry::Vacant(place) => {
                place.insert(self.number);
            }
            hashbrown::hash_map::Entry::Occupied(place) => {
                self.twice.entry(*place.get()).or_default().add(|| format!("event {id}"));
            }
        }
    }

    /// Loads the ids of the object's feed. Two feeds may contain the same event, so the feed matters. Without a
    /// manifest the name of the edge in an event shows where the name of the feed ends.
    fn ids_of_feed(&mut self, event: &Event<'_>) {
        let row = &mut *self.row;
        if row.feed.is_none()
            && let Some(pop) = event.edge.as_ref().and_then(|edge| edge.pop.as_deref())
            && let KeyPlace::Hive { series, .. } | KeyPlace::Sequence { series } = self.object.parts.place
            && let Some(feed) = series.strip_suffix(pop).and_then(|feed| feed.strip_suffix('-'))
        {
            row.feed = Some(feed.into());
            row.pop = Some(pop.into());
        }
        let feed = row.feed.clone().unwrap_or_else(|| self.object.series.clone());
        self.ids = self.all_ids.remove(&feed).unwrap_or_default();
        self.feed = Some(feed);
    }
}

impl Finding {
    fn add(&mut self, first: impl FnOnce() -> String) {
        if self.count == 0 {
            self.first = first();
        }
        self.count += 1;
    }
}

/// Parses an event with its id and its hour. The error describes the text.
fn parse(text: &[u8]) -> Result<(Event<'_>, Uuid, Hour), String> {
    let utf8 = std::str::from_utf8(text).map_err(|_| excerpt(text))?;
    let event: Event<'_> = serde_json::from_str(utf8).map_err(|error| format!("{} ({error})", excerpt(text)))?;
    let id = Uuid::try_parse(&event.id).ok().filter(|id| id.get_version_num() == 7);
    let id = id.ok_or_else(|| format!("an event with the id {}, which is not a UUID of version 7", event.id))?;
    let time = event.timestamp.parse::<jiff::Timestamp>().ok();
    let micros = time.and_then(|time| u64::try_from(time.as_microsecond()).ok());
    let micros = micros.ok_or_else(|| format!("event {id} with the timestamp {}", event.timestamp))?;
    Ok((event, id, Hour::of_micros(micros)))
}

/// The hour in an id of version 7, which begins with 48 bits of milliseconds.
pub fn hour_of_id(id: Uuid) -> Hour {
    Hour::of_micros((id.as_u128() >> 80) as u64 * 1_000)
}

/// The beginning of a line.
fn excerpt(text: &[u8]) -> String {
    let start = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
    if text.len() > 40 { format!("`{start}...`") } else { format!("`{start}`") }
}

/// The text around the events, if an object is one JSON document: the document with a `0` for each run of events.
/// Small, however many events there are.
struct Frame {
    is_document: bool,
    text: String,
    in_events: bool,
    comma: bool,
    broken: bool,
}

impl Frame {
    fn of(extension: &str) -> Self {
        let is_document = extension.starts_with("json");
        Self { is_document, text: String::new(), in_events: false, comma: false, broken: false }
    }

    fn event(&mut self, comma: bool) {
        // A document has a comma between two events, lines of events have none.
        self.broken |= if self.is_document { self.in_events && !self.comma } else { comma };
        if !self.in_events {
            self.text.push('0');
        }
        (self.in_events, self.comma) = (true, comma);
    }

    /// Adds a line that is not an event. Returns false if the format has no such lines.
    fn other(&mut self, text: &[u8]) -> bool {
        if !self.is_document {
            return false;
        }
        if std::mem::take(&mut self.in_events) && self.comma {
            self.text.push(',');
        }
        match std::str::from_utf8(text) {
            Ok(text) if self.text.len() + text.len() <= MAX_FRAME => {
                self.text += text;
                self.text.push('\n');
            }
            _ => self.broken = true,
        }
        true
    }

    fn is_sound(&self) -> bool {
        if self.broken || !self.is_document {
            return !self.broken;
        }
        let events = serde_json::json!([0]);
        match serde_json::from_str(&self.text) {
            Ok(Value::Object(envelope)) => envelope.get("data") == Some(&events),
            Ok(document) => document == events,
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sound(extension: &str, lines: &[&str]) -> bool {
        let mut frame = Frame::of(extension);
        for line in lines {
            match line.strip_prefix('E') {
                Some(comma) => frame.event(comma == ","),
                None if !frame.other(line.as_bytes()) => return false,
                None => {}
            }
        }
        frame.is_sound()
    }

    #[test]
    fn only_a_valid_document_of_events_is_sound() {
        for (extension, lines) in [
            ("ndjson.gz", &["E", "E"][..]),
            ("json.gz", &["[", "E,", "E,", "E", "]"]),
            ("json", &["[", "E", "]"]),
            ("json.zst", &["{\"data\":[", "E,", "E", "],\"key\":\"k\"}"]),
        ] {
            assert!(is_sound(extension, lines), "{extension} {lines:?}");
        }
        for (extension, lines) in [
            ("ndjson.gz", &["E,", "E"][..]),
            ("ndjson.gz", &["[", "E"]),
            ("json", &["[", "E", "E", "]"]),
            ("json", &["[", "E,", "E,", "]"]),
            ("json", &["[", "E,", "E"]),
            ("json", &["[", "E,", "oops", "E", "]"]),
            ("json", &["[", "E,", "]", "[", "E", "]"]),
            ("json", &["E"]),
            ("json", &["{\"events\":[", "E", "]}"]),
        ] {
            assert!(!is_sound(extension, lines), "{extension} {lines:?}");
        }
    }
}
