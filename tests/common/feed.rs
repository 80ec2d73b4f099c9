//! A delivered feed, built by hand: objects of every format and the manifests that list them.

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use clickedge::{
    object::{
        Maker,
        digest::hex,
        manifest::{Entry, Manifest, Previous},
    },
    runtime::Hour,
};
use sha2::{Digest, Sha256};

/// 2026-11-23T00:00:00Z.
const DAY_SECS: u64 = 1_795_392_000;

/// The hour of that day.
pub fn hour(hour: u64) -> Hour {
    Hour::of_micros((DAY_SECS + hour * 3_600) * 1_000_000)
}

/// The `n`-th event of an hour at an edge.
pub fn event(pop: &str, hour: u64, n: u64) -> String {
    event_at(pop, DAY_SECS + hour * 3_600 + n, n)
}

/// The event of a second; `n` distinguishes it from others.
pub fn event_at(pop: &str, secs: u64, n: u64) -> String {
    let pop_bits = pop.bytes().fold(0_u128, |bits, byte| bits * 31 + u128::from(byte)) & 0xffff_ffff;
    let id = (u128::from(secs * 1_000) << 80) | (7 << 76) | (2 << 62) | (pop_bits << 24) | u128::from(n);
    let time = jiff::Timestamp::from_second(secs as i64).unwrap();
    format!(
        "{{\"id\":\"{}\",\"schema\":\"click/1\",\"timestamp\":\"{time:.6}\",\"client\":{{}},\"edge\":{{\"pop\":\"{pop}\"}}}}",
        uuid::Uuid::from_u128(id)
    )
}

pub fn id_of(event: &str) -> String {
    event[7..43].to_owned()
}

/// How objects look: the extension of their keys, and `envelope` before it where that is the format.
pub const SHAPES: [&str; 9] = [
    "ndjson.gz",
    "ndjson.zst",
    "ndjson",
    "json.gz",
    "json.zst",
    "json",
    "envelope.json.gz",
    "envelope.json.zst",
    "envelope.json",
];

/// The bytes of an object.
pub fn pack(events: &[String], key: &str, shape: &str) -> Vec<u8> {
    let text = match shape.split('.').next().unwrap() {
        "ndjson" => events.join("\n") + "\n",
        "json" => format!("[\n{}\n]\n", events.join(",\n")),
        _ => format!("{{\"data\":[\n{}\n],\"key\":\"{key}\"}}\n", events.join(",\n")),
    };
    match shape.rsplit('.').next().unwrap() {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(3));
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(text.as_bytes(), 3).unwrap(),
        _ => text.into_bytes(),
    }
}

/// What lies in a bucket, by key.
#[derive(Clone, Default)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Files {
    pub fn write_to(&self, dir: &Path) {
        for (key, body) in &self.0 {
            let path = dir.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, body).unwrap();
        }
    }

    /// Changes what lies under a key.
    pub fn change(&mut self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.0.get_mut(key).unwrap());
    }

    /// Changes a manifest's text.
    pub fn replace(&mut self, key: &str, from: &str, to: &str) {
        let text = String::from_utf8(self.0[key].clone()).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.0.insert(key.into(), text.replacen(from, to, 1).into_bytes());
    }
}

/// The identity of the spool of the edge `fra1`, unless a test names another one.
pub const SPOOL: &str = "k3j9x0ab";

/// One feed in one spool of one edge, that numbers its objects.
#[derive(Clone)]
pub struct Series {
    pub feed: &'static str,
    pub pop: &'static str,
    pub spool: &'static str,
    /// Whether its objects have the layout `sequence`.
    sequence: bool,
    seq: u64,
    events: u64,
    hours: BTreeMap<u64, (u32, Vec<Entry>)>,
    last: Option<Previous>,
    before_last: Option<Previous>,
}

impl Series {
    pub fn new(feed: &'static str, pop: &'static str) -> Self {
        let spool = if pop == "fra1" { SPOOL } else { "q8w7e6r5" };
        let (hours, last, before_last) = (BTreeMap::new(), None, None);
        Self { feed, pop, spool, sequence: false, seq: 0, events: 0, hours, last, before_last }
    }

    /// Another spool of the same edge.
    pub fn in_spool(feed: &'static str, pop: &'static str, spool: &'static str) -> Self {
        Self { spool, events: 1_000, ..Self::new(feed, pop) }
    }

    /// The layout `sequence`.
    pub fn sequence(self) -> Self {
        Self { sequence: true, ..self }
    }

    fn maker(&self) -> Maker<'static> {
        Maker { feed: self.feed, pop: self.pop, spool: self.spool }
    }

    /// Delivers an object of so many new events. Returns its key.
    pub fn object(&mut self, files: &mut Files, hour: u64, events: u64, shape: &str) -> String {
        let events: Vec<_> = (self.events..self.events + events).map(|n| event(self.pop, hour, n)).collect();
        self.events += events.len() as u64;
        self.object_of(files, hour, &events, shape)
    }

    /// Delivers an object of these events. Returns its key.
    pub fn object_of(&mut self, files: &mut Files, hour: u64, events: &[String], shape: &str) -> String {
        self.seq += 1;
        let (first, last) = (id_of(&events[0]), id_of(events.last().unwrap()));
        let extension = shape.trim_start_matches("envelope.");
        let key = if self.sequence {
            self.maker().sequence_key(self.seq, extension)
        } else {
            self.maker().hive_key(self::hour(hour), &first, self.seq, extension)
        };
        let body = pack(events, &key, shape);
        let (events, bytes) = (events.len() as u64, body.len() as u64);
        let sha256 = hex(&Sha256::digest(&body));
        let entry = Entry { key: key.clone(), seq: self.seq, events, bytes, sha256, first, last };
        self.hours.entry(hour).or_default().1.push(entry);
        files.0.insert(key.clone(), body);
        key
    }

    /// Leaves a number out.
    pub fn skip(&mut self) {
        self.seq += 1;
    }

    /// Forgets which objects an hour has, and how many manifests.
    pub fn forget(&mut self, hour: u64) {
        self.hours.remove(&hour);
    }

    /// Continues the chain and the numbers of this one, which has another name of the edge.
    pub fn continue_after(&mut self, other: &Self) {
        (self.seq, self.last) = (other.seq, other.last.clone());
    }

    /// Gives the edge another name, under which it has made nothing yet. The chain and the numbers go on.
    pub fn renamed(self, pop: &'static str) -> Self {
        Self { pop, hours: BTreeMap::new(), ..self }
    }

    /// Changes what the next manifests of an hour will list.
    pub fn entries(&mut self, hour: u64) -> &mut Vec<Entry> {
        &mut self.hours.get_mut(&hour).unwrap().1
    }

    /// Delivers the next version of an hour's manifest. Returns its key.
    pub fn manifest(&mut self, files: &mut Files, hour: u64) -> String {
        self.manifest_at(files, hour, hour, false)
    }

    /// Delivers the last version of an hour's manifest, an hour later. Returns its key.
    pub fn close(&mut self, files: &mut Files, hour: u64) -> String {
        self.manifest_at(files, hour, hour + 1, true)
    }

    /// Delivers the last manifest again, of another content.
    pub fn replace_manifest(&mut self, files: &mut Files, hour: u64) -> String {
        files.0.remove(&self.last.take().unwrap().key);
        self.last = self.before_last.take();
        self.hours.get_mut(&hour).unwrap().0 -= 1;
        self.manifest(files, hour)
    }

    fn manifest_at(&mut self, files: &mut Files, hour: u64, written: u64, closed: bool) -> String {
        let maker = self.maker();
        let (version, entries) = self.hours.get_mut(&hour).unwrap();
        *version += 1;
        let micros = (DAY_SECS + written * 3_600) * 1_000_000;
        self.before_last = self.last.clone();
        let previous = self.last.take();
        let manifest = Manifest {
            number: previous.as_ref().map_or(1, |previous| previous.number().unwrap() + 1),
            previous,
            closed,
            ..Manifest::new(maker, self::hour(hour), *version, micros, entries.clone())
        };
        let (key, text) = (manifest.key(), manifest.to_json().unwrap());
        self.last = Some(Previous { key: key.clone(), sha256: hex(&Sha256::digest(&text)) });
        files.0.insert(key.clone(), text);
        key
    }
}
