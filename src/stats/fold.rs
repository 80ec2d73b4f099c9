//! Adds up tallies.
//!
//! An event counts for ten subjects. Which ones is the same for all events of a link, and again for all events of a
//! workspace whose visitors are alike in country, referrer, device, browser and system. So the subjects of both halves
//! of a tally are remembered by its bytes, and an event is two lookups instead of ten.

use ahash::RandomState;
use hashbrown::{Equivalent, HashMap};
use smallvec::{SmallVec, smallvec};

use super::{
    counts::{Counts, Delta, Key, SubjectKind},
    referrers::Referrers,
    tally::{Halves, Tally},
};
use crate::runtime::Hour;

/// Counts that grow with each tally, and end with a commit.
#[derive(Default)]
pub struct Fold {
    delta: Delta,
    links: Known,
    visitors: Known,
}

/// Most links have one tag.
type Places = SmallVec<[u32; 6]>;

/// The places in a [`Delta`] of the subjects that belong to an hour and a half of a tally.
#[derive(Default)]
struct Known {
    places: HashMap<Box<[u8]>, Places, RandomState>,
    /// The key at hand.
    key: Vec<u8>,
}

impl Fold {
    /// The counts.
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// Adds an event, which happened at `micros` since the Unix epoch. False if the bytes are no tally. A link without
    /// a creator or tags does not count for any; a link without a workspace counts for the workspace with the empty
    /// name.
    pub fn add(&mut self, tally: &[u8], micros: u64, referrers: &mut Referrers) -> bool {
        let Some(halves) = Halves::split(tally) else { return false };
        let hour = Hour::of_micros(micros);
        let Self { delta, links, visitors } = self;
        links.set_key(hour, [halves.link, halves.tags]);
        visitors.set_key(hour, [halves.workspace, halves.visitor]);
        if links.get().is_none() || visitors.get().is_none() {
            let Some(tally) = Tally::parse(tally) else { return false };
            links.insert(subjects_of_link(&tally, hour, delta));
            visitors.insert(subjects_of_visitor(&tally, hour, delta, referrers));
        }
        let one = Counts {
            clicks: 1,
            humans: halves.human.into(),
            bots: (!halves.human).into(),
            sessions: halves.session.into(),
            first: micros,
            last: micros,
        };
        for place in [links.get(), visitors.get()].into_iter().flatten().flatten() {
            if let Some((_, counts)) = delta.get_index_mut(*place as usize) {
                counts.add(&one);
            }
        }
        true
    }
}

impl Known {
    /// The first part says how long its texts are, and so where it ends.
    fn set_key(&mut self, hour: Hour, parts: [&[u8]; 2]) {
        self.key.clear();
        self.key.extend_from_slice(&hour.since_epoch().to_le_bytes());
        for part in parts {
            self.key.extend_from_slice(part);
        }
    }

    fn get(&self) -> Option<&[u32]> {
        self.places.get(&*self.key).map(Places::as_slice)
    }

    fn insert(&mut self, places: Places) {
        self.places.insert((&*self.key).into(), places);
    }
}

fn subjects_of_link(tally: &Tally<'_>, hour: Hour, delta: &mut Delta) -> Places {
    let mut place = |kind, scope, name| place(delta, hour, kind, scope, name);
    let workspace = tally.workspace;
    let mut places = smallvec![
        place(SubjectKind::Link, tally.domain, tally.slashtag),
        place(SubjectKind::Domain, workspace, tally.domain),
        place(SubjectKind::Workspace, workspace, ""),
    ];
    places.extend(tally.tags.iter().map(|tag| place(SubjectKind::Tag, workspace, tag)));
    if !tally.creator.is_empty() {
        places.push(place(SubjectKind::Creator, workspace, tally.creator));
    }
    places
}

fn subjects_of_visitor(tally: &Tally<'_>, hour: Hour, delta: &mut Delta, referrers: &mut Referrers) -> Places {
    let workspace = tally.workspace;
    let referrer = referrers.name(hour, workspace, tally.referrer);
    [
        (SubjectKind::Country, tally.country),
        (SubjectKind::Referrer, referrer),
        (SubjectKind::Device, tally.device),
        (SubjectKind::Browser, tally.browser),
        (SubjectKind::Os, tally.os),
    ]
    .map(|(kind, name)| place(delta, hour, kind, workspace, name))
    .as_slice()
    .into()
}

/// The place of a subject in `delta`, where it is added if it is new.
fn place(delta: &mut Delta, hour: Hour, kind: SubjectKind, scope: &str, name: &str) -> u32 {
    let key = BorrowedKey { hour, kind, scope, name };
    let place = match delta.get_index_of(&key) {
        Some(place) => place,
        None => delta.insert_full(key.to_key(), Counts::default()).0,
    };
    place as u32
}

/// A borrowed key of a [`Delta`].
#[derive(Hash)]
struct BorrowedKey<'a> {
    hour: Hour,
    kind: SubjectKind,
    scope: &'a str,
    name: &'a str,
}

impl Equivalent<(Hour, Key)> for BorrowedKey<'_> {
    fn equivalent(&self, (hour, key): &(Hour, Key)) -> bool {
        self.hour == *hour && self.kind == key.kind && *self.name == *key.name && *self.scope == *key.scope
    }
}

impl BorrowedKey<'_> {
    fn to_key(&self) -> (Hour, Key) {
        (self.hour, Key { kind: self.kind, scope: self.scope.into(), name: self.name.into() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::tally::{IdList, Ids};

    const NOON: u64 = 1_795_435_200_000_000;

    fn encoded(tally: &Tally<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        tally.encode(&mut out);
        out
    }

    fn key(kind: SubjectKind, scope: &str, name: &str) -> (Hour, Key) {
        (Hour::of_micros(NOON), Key { kind, scope: scope.into(), name: name.into() })
    }

    #[test]
    fn an_event_counts_for_all_of_its_subjects() {
        let tags = IdList::new(["t-1", "t-2"]);
        let tally = Tally {
            human: true,
            session: true,
            domain: "go.brand.com",
            slashtag: "spring",
            workspace: "w-1",
            creator: "u-1",
            country: "de",
            referrer: "",
            device: "pc",
            browser: "chrome",
            os: "",
            tags: tags.ids(),
        };
        let (mut fold, mut referrers) = (Fold::default(), Referrers::default());
        assert!(fold.add(&encoded(&tally), NOON + 7, &mut referrers));
        let bare = Tally { human: false, session: false, creator: "", tags: Ids::default(), ..tally };
        assert!(fold.add(&encoded(&bare), NOON, &mut referrers));
        let both = Counts { clicks: 2, humans: 1, bots: 1, sessions: 1, first: NOON, last: NOON + 7 };
        let one = Counts { clicks: 1, humans: 1, bots: 0, sessions: 1, first: NOON + 7, last: NOON + 7 };
        let mut expected: Delta = [
            (SubjectKind::Link, "go.brand.com", "spring"),
            (SubjectKind::Domain, "w-1", "go.brand.com"),
            (SubjectKind::Workspace, "w-1", ""),
            (SubjectKind::Country, "w-1", "de"),
            (SubjectKind::Referrer, "w-1", ""),
            (SubjectKind::Device, "w-1", "pc"),
            (SubjectKind::Browser, "w-1", "chrome"),
            (SubjectKind::Os, "w-1", ""),
        ]
        .map(|(kind, scope, name)| (key(kind, scope, name), both))
        .into_iter()
        .collect();
        for (kind, name) in [(SubjectKind::Tag, "t-1"), (SubjectKind::Tag, "t-2"), (SubjectKind::Creator, "u-1")] {
            expected.insert(key(kind, "w-1", name), one);
        }
        assert_eq!(*fold.delta(), expected);
    }

    #[test]
    fn bytes_that_are_no_tally_count_for_nothing() {
        let mut bytes = encoded(&Tally { domain: "go.brand.com", os: "ios", ..Tally::default() });
        let (mut fold, mut referrers) = (Fold::default(), Referrers::default());
        // The half of the link is known, and the other one is no text.
        assert!(fold.add(&bytes, NOON, &mut referrers));
        let before = fold.delta().clone();
        *bytes.last_mut().unwrap() = 0xff;
        assert!(!fold.add(&bytes, NOON, &mut referrers));
        assert!(!fold.add(&bytes[..9], NOON, &mut referrers) && !fold.add(&[], NOON, &mut referrers));
        assert_eq!(*fold.delta(), before);
    }

    proptest! {
        #[test]
        fn many_events_count_as_each_by_itself(
            events in proptest::collection::vec(
                (proptest::array::uniform9(0_u8..3), proptest::collection::vec(0_u8..3, 0..3), 0_u64..3, any::<bool>()),
                0..40,
            ),
        ) {
            let names = ["", "a", "bc"];
            let (mut fold, mut referrers) = (Fold::default(), Referrers::default());
            let mut expected = Delta::default();
            for (texts, tags, hour, human) in events {
                let [domain, slashtag, workspace, creator, country, referrer, device, browser, os] =
                    texts.map(|text| names[usize::from(text)]);
                let tags = IdList::new(tags.iter().map(|tag| names[usize::from(*tag)]));
                let tally = Tally {
                    human, session: human, domain, slashtag, workspace, creator, country, referrer, device, browser,
                    os, tags: tags.ids(),
                };
                let micros = NOON + hour * 3_600_000_000;
                prop_assert!(fold.add(&encoded(&tally), micros, &mut referrers));
                let mut alone = Fold::default();
                prop_assert!(alone.add(&encoded(&tally), micros, &mut referrers));
                for (key, counts) in alone.delta() {
                    expected.entry(key.clone()).or_default().add(counts);
                }
            }
            prop_assert_eq!(fold.delta(), &expected);
        }
    }
}
