//! The body of a request: the events, and where they are in the feed.
//!
//! ```json
//! {"type":"clicks","timestamp":"2026-11-23T09:00:00.123Z","feed":"brand","object":{"key":"…","events":1234,"offset":500},"data":[…]}
//! ```
//! Everything in it follows from the object, so that a repeated request has the same bytes. The id of a request is the
//! hash of its body: one id never has two bodies, and no two requests of a feed have one id.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::batch::Event;
use crate::object::{Object, digest::hex};

/// Hexadecimal digits of an id: 160 bits of the hash.
const ID_DIGITS: usize = 40;

/// What the bodies of an object's requests have in common.
pub struct Envelope {
    feed: String,
    key: String,
    events: u64,
}

impl Envelope {
    pub fn new(feed: &str, object: &Object) -> Self {
        let events = object.summary.as_ref().map_or(0, |summary| summary.events);
        Self { feed: quoted(feed), key: quoted(&object.key), events }
    }

    /// Most bytes of a body around its events.
    pub fn overhead(&self) -> usize {
        self.head("00000000-0000-0000-0000-000000000000", u64::MAX).len() + TAIL.len()
    }

    /// The body with these events, of which `offset` are before them in the object.
    pub fn body(&self, events: &[Event], offset: u64) -> Bytes {
        let first = events.first().map_or("", |event| event.id.as_str());
        let mut body = self.head(first, offset).into_bytes();
        body.reserve(events.iter().map(|event| event.text.len() + 1).sum::<usize>() + TAIL.len());
        for (n, event) in events.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&event.text);
        }
        body.extend_from_slice(TAIL);
        body.into()
    }

    fn head(&self, first: &str, offset: u64) -> String {
        let Self { feed, key, events } = self;
        let timestamp = timestamp(first);
        format!(
            "{{\"type\":\"clicks\",\"timestamp\":\"{timestamp}\",\"feed\":{feed},\
             \"object\":{{\"key\":{key},\"events\":{events},\"offset\":{offset}}},\"data\":["
        )
    }
}

const TAIL: &[u8] = b"]}";

/// The id of the request with this body.
pub fn id(body: &[u8]) -> String {
    format!("msg_{}", &hex(&Sha256::digest(body))[..ID_DIGITS])
}

/// The time in an event id, to the millisecond.
fn timestamp(id: &str) -> String {
    let bits = uuid::Uuid::try_parse(id).map_or(0, |id| id.as_u128());
    let millis = (bits >> 80) as i64;
    format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap_or_default())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::object::{ObjectKind, reader::Summary};

    fn envelope() -> Envelope {
        let summary = Some(Summary { events: 3, ..Summary::default() });
        let (path, kind) = ("waiting".into(), ObjectKind::Events);
        Envelope::new("brand", &Object { key: "dt=x/k".into(), path, bytes: 1, kind, summary, finished_at: 0 })
    }

    fn event(n: u64) -> Event {
        let id = format!("019ab2c8-d4e1-7645-b01b-{n:012}");
        Event { text: format!("{{\"id\":\"{id}\"}}").into(), id }
    }

    #[test]
    fn a_body_names_the_place_of_its_events() {
        let body = envelope().body(&[event(1), event(2)], 1);
        let value: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({
            "type": "clicks",
            "timestamp": "2025-11-23T23:30:34.593Z",
            "feed": "brand",
            "object": {"key": "dt=x/k", "events": 3, "offset": 1},
            "data": [{"id": event(1).id}, {"id": event(2).id}],
        });
        let millis = 0x019a_b2c8_d4e1;
        let at = jiff::Timestamp::from_millisecond(millis).unwrap();
        assert_eq!(value["timestamp"], json!(format!("{at:.3}")));
        assert_eq!((&value["object"], &value["data"]), (&expected["object"], &expected["data"]));
        assert_eq!((&value["type"], &value["feed"]), (&expected["type"], &expected["feed"]));
        assert!(body.len() <= envelope().overhead() + event(1).text.len() * 2 + 1);
    }

    #[test]
    fn an_id_belongs_to_one_body() {
        let all = [event(1), event(2), event(3)];
        let bodies = [(0..3, 0), (0..2, 0), (2..3, 2), (0..1, 0)].map(|(range, at)| envelope().body(&all[range], at));
        let ids: std::collections::BTreeSet<_> = bodies.iter().map(|body| id(body)).collect();
        assert_eq!(ids.len(), bodies.len());
        assert_eq!(id(&envelope().body(&all, 0)), id(&bodies[0]));
        assert!(ids.iter().all(|id| id.len() == 44 && !id.contains('.')), "{ids:?}");
    }
}
