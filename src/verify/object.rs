//! One object: whether it is what its manifest says, and whether its events are what they should be. However large
//! it is, one event at a time is in memory.

use std::{borrow::Cow, collections::BTreeMap, io::Read};

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::report::{Kind, Problem, Row};
use crate::{
    object::{
        ObjectKey,
        manifest::Entry,
        reader::{Line, Summary, summarize_lines},
    },
    runtime::Hour,
};

/// The ids of an hour's events of one feed, and in which of the hour's objects each was first.
pub type Ids = hashbrown::HashMap<[u8; 16], u32>;

/// What stands around the events of an object, such as `[` and `]`, is not longer than this.
const MAX_FRAME: usize = 16 * 1024;

/// An object that is being read.
pub struct Reading<'a> {
    object: &'a ObjectKey<'a>,
    number: u32,
    row: &'a mut Row,
    all_ids: &'a mut std::collections::HashMap<String, Ids>,
    /// Of this object's feed, from the first event on.
    ids: Ids,
    feed: Option<String>,
    invalid: Finding,
    elsewhere: Finding,
    twice: BTreeMap<u32, Finding>,
    frame: Frame,
}

/// How often something is wrong, and the first case of it.
#[derive(Default)]
struct Finding {
    count: u64,
    first: String,
}

/// What the verification needs to know of an event.
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
    /// `number` is that of the object in its hour.
    pub fn new(
        object: &'a ObjectKey<'a>,
        number: u32,
        row: &'a mut Row,
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
            frame: Frame::of(object.extension),
        }
    }

    /// Reads it all. Returns the number of events, and what is wrong. `key_of` tells the keys of the hour's objects.
    pub fn read<'k>(
        mut self,
        input: impl Read,
        key: &str,
        size: u64,
        entry: Option<&Entry>,
        key_of: impl Fn(u32) -> &'k str,
    ) -> (u64, Vec<Problem>) {
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
            // Of an object of another size than listed it has been said already.
            Err(_) if !whole => {}
            Err(error) => wrong(Kind::Damaged, "a whole object".into(), error.to_string()),
        }
        let Finding { count, first } = &self.invalid;
        if *count > 0 && summary.is_ok() {
            wrong(Kind::Event, "events only".into(), format!("{count} that are none, first {first}"));
        }
        if summary.is_ok() && !self.frame.is_sound() {
            wrong(Kind::Event, "one JSON document of events".into(), "text that is none".into());
        }
        let Finding { count, first } = &self.elsewhere;
        if *count > 0 {
            let expected = format!("events of the hour {}", self.object.hour);
            wrong(Kind::Hour, expected, format!("{count} of another hour, first {first}"));
        }
        for (number, Finding { count, first }) in &self.twice {
            let place = if *number == self.number { "this object" } else { key_of(*number) };
            let found = format!("{count} that are also in {place}, first {first}");
            wrong(Kind::Duplicate, "each event once".into(), found);
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
        wrong: &mut impl FnMut(Kind, String, String),
    ) {
        let id = |id: &str| if id.is_empty() { "no event".to_owned() } else { format!("event {id}") };
        if let Some(entry) = entry {
            let same = summary.sha256 == entry.sha256;
            if whole && !same {
                wrong(Kind::Checksum, format!("SHA-256 {}", entry.sha256), summary.sha256.clone());
            }
            // Of other bytes it is clear that the rest differs.
            if !same {
                return;
            }
            if summary.events != entry.events {
                wrong(Kind::Count, format!("{} events", entry.events), summary.events.to_string());
            }
            if summary.last != entry.last {
                wrong(Kind::Bounds, format!("{} as the last", id(&entry.last)), id(&summary.last));
            }
        }
        // A manifest that names another first event contradicts the object's key, and was refused.
        if summary.first != self.object.first {
            wrong(Kind::Bounds, format!("{} as the first", id(self.object.first)), id(&summary.first));
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

    /// Takes the ids of the object's feed in hand. Two feeds may well hold the same event: so it matters which one it
    /// is, and as long as no manifest tells, an event does, as it names its edge.
    fn ids_of_feed(&mut self, event: &Event<'_>) {
        let row = &mut *self.row;
        if row.feed.is_none()
            && let Some(pop) = event.edge.as_ref().and_then(|edge| edge.pop.as_deref())
            && let Some(feed) = self.object.series.strip_suffix(pop).and_then(|feed| feed.strip_suffix('-'))
        {
            row.feed = Some(feed.into());
            row.pop = Some(pop.into());
        }
        let feed = row.feed.clone().unwrap_or_else(|| self.object.series.into());
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

/// An event with its id and its hour, or what it is instead.
fn parse(text: &[u8]) -> Result<(Event<'_>, Uuid, Hour), String> {
    let utf8 = std::str::from_utf8(text).map_err(|_| excerpt(text))?;
    let event: Event<'_> = serde_json::from_str(utf8).map_err(|error| format!("{} ({error})", excerpt(text)))?;
    let id = Uuid::try_parse(&event.id).ok().filter(|id| id.get_version_num() == 7);
    let id = id.ok_or_else(|| format!("an event with the id {}, which is no UUID of version 7", event.id))?;
    let time = event.timestamp.parse::<jiff::Timestamp>().ok();
    let micros = time.and_then(|time| u64::try_from(time.as_microsecond()).ok());
    let micros = micros.ok_or_else(|| format!("event {id} with the timestamp {}", event.timestamp))?;
    Ok((event, id, Hour::of_micros(micros)))
}

/// The hour in an id of version 7, which begins with 48 bits of milliseconds.
fn hour_of_id(id: Uuid) -> Hour {
    Hour::of_micros((id.as_u128() >> 80) as u64 * 1_000)
}

/// The beginning of a line.
fn excerpt(text: &[u8]) -> String {
    let start = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
    if text.len() > 40 { format!("`{start}...`") } else { format!("`{start}`") }
}

/// What stands around the events, where an object is one JSON document: the document with a `0` for each run of
/// events. Small, however many events there are.
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
        // In a document a comma stands between two events, in lines of events nowhere.
        self.broken |= if self.is_document { self.in_events && !self.comma } else { comma };
        if !self.in_events {
            self.text.push('0');
        }
        (self.in_events, self.comma) = (true, comma);
    }

    /// Takes a line that is no event. False when no such line may be.
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
    fn a_document_of_events_is_told_from_one_that_no_parser_takes() {
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
