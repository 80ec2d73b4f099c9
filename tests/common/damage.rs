//! A valid feed, everything that can be wrong with one, and what must be reported.

use clickedge::object::manifest::Manifest;

use super::feed::{Files, Series, event};

/// Two hours of one feed at one edge, and the beginning of a third.
pub struct World {
    pub files: Files,
    pub series: Series,
    /// Numbers 1 to 5 of hour 9, 6 and 7 of hour 10, 8 of hour 11.
    pub objects: Vec<String>,
    /// Two versions of hour 9, one of hour 10.
    pub manifests: Vec<String>,
}

impl World {
    pub fn new() -> Self {
        let (mut files, mut series) = (Files::default(), Series::new("all", "fra1"));
        let (mut objects, mut manifests) = (Vec::new(), Vec::new());
        for (hour, shape, manifest) in [
            (9, "ndjson.gz", false),
            (9, "json.zst", false),
            (9, "ndjson", true),
            (9, "envelope.json.gz", false),
            (9, "ndjson.zst", true),
            (10, "json", false),
            (10, "ndjson.gz", true),
            (11, "ndjson.gz", false),
        ] {
            objects.push(series.object(&mut files, hour, 3, shape));
            if manifest {
                manifests.push(series.manifest(&mut files, hour));
            }
        }
        Self { files, series, objects, manifests }
    }

    /// The key of the object with this number.
    pub fn object(&self, seq: usize) -> String {
        self.objects[seq - 1].clone()
    }
}

/// Does damage and returns the key that the report must name.
pub type Damage = fn(&mut World) -> String;

/// What is done, and every line that must be printed: `KEY` stands for the key that the damage returned.
pub const DAMAGES: [(&str, Damage, &[&str]); 25] = [
    ("an object is missing", |w| remove(w, 2), &["missing: KEY: expected 3 events in "]),
    ("the last object is missing", |w| remove(w, 7), &["missing: KEY: expected 3 events in "]),
    ("gzip is truncated", |w| damage(w, 1, |body| body.truncate(body.len() - 9)), &["size: KEY: expected "]),
    ("zstd is truncated", |w| damage(w, 5, |body| body.truncate(20)), &["size: KEY: expected "]),
    ("text is truncated", |w| damage(w, 3, |body| body.truncate(100)), &["size: KEY: expected "]),
    ("a byte in gzip is flipped", |w| damage(w, 1, |body| body[40] ^= 1), &["damaged: KEY: expected a whole object"]),
    ("a byte in text is flipped", |w| damage(w, 3, |body| body[120] ^= 1), &["checksum: KEY: expected SHA-256 "]),
    (
        "a new object is truncated",
        |w| damage(w, 8, |body| body.truncate(60)),
        &["damaged: KEY: expected a whole object"],
    ),
    (
        "an event is in two objects",
        repeat_events,
        &["duplicate: KEY: expected each event once, found 2 that are also in OTHER, first event "],
    ),
    (
        "an event is twice in an object",
        repeat_within,
        &["duplicate: KEY: expected each event once, found 1 that are also in this object"],
    ),
    (
        "an event is of another hour",
        stray,
        &["hour: KEY: expected events of the hour 2026-11-23T11, found 1 of another hour, first event "],
    ),
    ("a line is no event", no_event, &["event: KEY: expected events only, found 2 invalid, first `{\"id\":\""]),
    ("a count is wrong", |w| entry(w, |entry| entry.events += 1), &["count: KEY: expected 4 events, found 3"]),
    ("a last id is wrong", |w| entry(w, |entry| entry.last = entry.first.clone()), &["bounds: KEY: expected event "]),
    (
        "a sum is wrong",
        |w| text(w, "\"events\":6", "\"events\":7"),
        &["manifest: KEY: expected a manifest that agrees with itself and its key, found events 7 instead of 6"],
    ),
    (
        "a manifest is cut short",
        |w| cut(w, 2),
        &["manifest: KEY: expected a manifest that agrees with itself and its key, found invalid JSON: EOF"],
    ),
    (
        "a manifest lies under another key",
        misplace,
        &["manifest: KEY: expected a manifest that agrees with itself and its key, found the manifest of "],
    ),
    ("a manifest is of another feed", |w| text(w, "\"feed\":\"all\"", "\"feed\":\"any\""), &["manifest: KEY: "]),
    (
        "a number is left out",
        gap,
        &["gap: all-fra1-k3j9x0ab: expected an object with number 00000009, found none; lost, unless "],
    ),
    (
        "numbers are left out",
        gaps,
        &["gap: all-fra1-k3j9x0ab: expected objects with numbers 00000009 to 00000011, found none"],
    ),
    (
        "an object is not listed",
        unlisted,
        &[
            "unlisted: KEY: expected it in the hour's manifest, which lists up to number 00000007, found it is not listed",
        ],
    ),
    (
        "a manifest is removed",
        unlink,
        &[
            "chain: KEY: expected the manifest before _manifest/dt=2026-11-23/hour=10/all-fra1-k3j9x0ab-00000007-00000003.json, found no such manifest; a manifest was removed or changed",
        ],
    ),
    (
        "a manifest is changed",
        |w| change(w, "\"closed\":false", "\"closed\":true "),
        &["chain: KEY: expected SHA-256 "],
    ),
    (
        "two manifests have one number",
        fork,
        &["chain: KEY: expected one manifest with number 00000003, found _manifest/dt=2026-11-23/hour=09/"],
    ),
    (
        "a later manifest forgets an object",
        forget,
        &["forgotten: KEY: expected OTHER as an earlier version lists it, found it is not listed"],
    ),
];

pub fn remove(world: &mut World, seq: usize) -> String {
    world.files.0.remove(&world.object(seq)).unwrap();
    world.object(seq)
}

pub fn damage(world: &mut World, seq: usize, change: impl FnOnce(&mut Vec<u8>)) -> String {
    world.files.change(&world.object(seq), change);
    world.object(seq)
}

/// Changes what the manifest says of object 6.
pub fn entry(world: &mut World, change: impl FnOnce(&mut clickedge::object::manifest::Entry)) -> String {
    change(&mut world.series.entries(10)[0]);
    world.series.replace_manifest(&mut world.files, 10);
    world.object(6)
}

pub fn text(world: &mut World, from: &str, to: &str) -> String {
    world.files.replace(&world.manifests[2], from, to);
    world.manifests[2].clone()
}

pub fn cut(world: &mut World, manifest: usize) -> String {
    world.files.change(&world.manifests[manifest], |body| body.truncate(100));
    world.manifests[manifest].clone()
}

pub fn misplace(world: &mut World) -> String {
    let key = world.manifests[2].replace("-00000007-", "-00000006-");
    let body = world.files.0.remove(&world.manifests[2]).unwrap();
    world.files.0.insert(key.clone(), body);
    key
}

pub fn repeat_events(world: &mut World) -> String {
    let events = [event("fra1", 11, 21), event("fra1", 11, 22), event("fra1", 11, 99)];
    world.series.object_of(&mut world.files, 11, &events, "json.gz")
}

pub fn repeat_within(world: &mut World) -> String {
    let events = [event("fra1", 11, 98), event("fra1", 11, 99), event("fra1", 11, 98)];
    world.series.object_of(&mut world.files, 11, &events, "ndjson")
}

pub fn stray(world: &mut World) -> String {
    world.series.object_of(&mut world.files, 11, &[event("fra1", 11, 98), event("fra1", 12, 99)], "ndjson")
}

pub fn no_event(world: &mut World) -> String {
    let mut half = event("fra1", 11, 99);
    half.truncate(60);
    world.series.object_of(&mut world.files, 11, &[event("fra1", 11, 98), half, "oops".repeat(20)], "ndjson.gz")
}

pub fn gap(world: &mut World) -> String {
    world.series.skip();
    world.series.object(&mut world.files, 12, 1, "ndjson.gz")
}

pub fn gaps(world: &mut World) -> String {
    world.series.skip();
    world.series.skip();
    gap(world)
}

/// A foreign object in an hour whose manifest lists larger numbers.
pub fn unlisted(world: &mut World) -> String {
    let mut other = Series::new("all", "fra1");
    (0..5).for_each(|_| other.skip());
    // It takes the place of number 6, which is then only listed in no manifest.
    world.files.0.remove(&world.object(6));
    world.series.entries(10).remove(0);
    world.series.replace_manifest(&mut world.files, 10);
    other.object_of(&mut world.files, 10, &[event("fra1", 10, 77)], "ndjson.gz")
}

/// Removes a manifest whose objects the next version lists, too.
pub fn unlink(world: &mut World) -> String {
    world.files.0.remove(&world.manifests[1]).unwrap();
    world.manifests[1].clone()
}

/// Changes a manifest that a later one names.
pub fn change(world: &mut World, from: &str, to: &str) -> String {
    world.files.replace(&world.manifests[1], from, to);
    world.manifests[1].clone()
}

/// Adds a manifest that continues the second one, as the third does.
pub fn fork(world: &mut World) -> String {
    let second = Manifest::parse(&world.files.0[&world.manifests[1]]).unwrap();
    let third = Manifest::parse(&world.files.0[&world.manifests[2]]).unwrap();
    let fork = Manifest { version: 3, number: third.number, previous: third.previous, ..second };
    world.files.0.insert(fork.key(), fork.to_json().unwrap());
    world.manifests[2].clone()
}

pub fn forget(world: &mut World) -> String {
    world.series.object(&mut world.files, 10, 1, "ndjson.gz");
    world.series.entries(10).remove(0);
    world.series.manifest(&mut world.files, 10)
}
