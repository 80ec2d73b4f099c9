//! What edges send to each other over NATS: that the head has moved, and perhaps the delta.

use serde::{Deserialize, Serialize};

use super::delta::Delta;
use crate::catalog::change::Position;

/// Most bytes of a delta that a message carries. Servers take messages of 1 MiB by default.
const MOST_CARRIED: usize = 512 << 10;

/// What a message says.
#[derive(Debug)]
pub struct Announcement {
    pub position: Position,
    /// The delta that led there, if the message carries it and it can be parsed.
    pub delta: Option<Delta>,
}

/// The first line of a message.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: Kind,
    position: Position,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    HeadMoved,
}

impl Announcement {
    pub(super) fn to_bytes(position: Position, delta: &[u8]) -> Vec<u8> {
        // Numbers and digits always have a form in JSON.
        let mut bytes = serde_json::to_vec(&Line { kind: Kind::HeadMoved, position }).unwrap_or_default();
        bytes.push(b'\n');
        if delta.len() < MOST_CARRIED {
            bytes.extend_from_slice(delta);
        }
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b'\n', bytes)?;
        let Line { kind: Kind::HeadMoved, position } = serde_json::from_slice(&bytes[..end]).ok()?;
        let delta = Delta::parse("of a message", &bytes[end + 1..]).ok();
        Some(Self { position, delta })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::fixture::delta;

    #[test]
    fn an_announcement_carries_a_delta_that_is_small_enough() {
        let delta = delta(3, 10, 2, None);
        let parsed = Announcement::parse(&Announcement::to_bytes(delta.to_position(), &delta.to_bytes())).unwrap();
        assert_eq!((parsed.position, parsed.delta), (delta.to_position(), Some(delta.clone())));
        let bytes = Announcement::to_bytes(delta.to_position(), &vec![b'\n'; MOST_CARRIED]);
        let parsed = Announcement::parse(&bytes).unwrap();
        assert_eq!((parsed.position, parsed.delta), (delta.to_position(), None));
    }

    proptest! {
        #[test]
        fn any_message_is_no_panic(bytes: Vec<u8>, cut in 0..600_usize) {
            Announcement::parse(&bytes);
            let delta = delta(3, 10, 2, None);
            let mut sound = Announcement::to_bytes(delta.to_position(), &delta.to_bytes());
            sound.truncate(cut % sound.len());
            prop_assert_eq!(Announcement::parse(&sound).and_then(|parsed| parsed.delta), None);
        }
    }
}
