//! The sizes of objects, through the packer: each is within a tenth of `max_bytes`.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{model_disk::ModelDisk, world::spool_metrics};
use crate::{
    capture::RingPosition,
    click::EventId,
    config::{self, Compression, Format},
    enrich::{Batch, frame::Origin},
    object::Object,
    spool::{FeedSpec, SpoolBuilder, pack::pending::Remainders},
};

const KIB: u64 = 1 << 10;

/// How objects are made. Each is a feed.
const FEEDS: [(Format, Compression); 5] = [
    (Format::Ndjson, Compression::Gzip { level: 3 }),
    (Format::Envelope, Compression::Gzip { level: 6 }),
    (Format::Ndjson, Compression::Zstd { level: 3 }),
    (Format::Json, Compression::Zstd { level: 1 }),
    (Format::Json, Compression::None),
];

/// An event like those of clicks, with `noise` random letters.
fn event(random: &mut fastrand::Rng, id: EventId, noise: usize) -> String {
    let one = |random: &mut fastrand::Rng, of: &[&'static str]| of[random.usize(..of.len())];
    let browser = one(random, &["chrome", "safari", "firefox", "edge", "samsung-internet"]);
    let os = one(random, &["windows", "ios", "android", "macos"]);
    let city = one(random, &["Tokyo", "Berlin", "Lisbon", "Austin", "Pune", "Oslo", "Lyon"]);
    let source = one(random, &["newsletter", "instagram", "poster", "partner"]);
    let (link, version, letters) = (random.u32(..5_000), random.u32(100..140), "abcdefghijklmnop".as_bytes());
    let noise: String = (0..noise).map(|_| char::from(letters[random.usize(..letters.len())])).collect();
    format!(
        "{{\"id\":\"{id}\",\"schema\":\"click/1\",\"timestamp\":\"2026-11-23T09:22:{:02}.{:06}Z\",\"client\":{{\
         \"language\":\"en\",\"location\":{{\"country\":\"jp\",\"region\":\"13\",\"city\":\"{city}\"}},\"agent\":{{\
         \"type\":\"human\",\"browser\":{{\"name\":\"{browser}\",\"version\":\"{version}\"}},\"os\":{{\"name\":\"{os}\"}},\
         \"device\":{{\"name\":\"phone\"}}}},\"session\":{{\"started\":\"2026-11-23T09:{:02}:01Z\",\"first\":true}}}},\
         \"referral\":{{\"hostname\":\"www.example.com\",\"origin\":{{\"type\":\"social\",\"name\":\"{source}\"}}}},\
         \"route\":{{\"id\":\"id-{link}\",\"slashtag\":\"spring-{link}\",\"status\":302,\"params\":{{\"query\":[{{\
         \"name\":\"utm_source\",\"value\":\"{source}\"}},{{\"name\":\"x\",\"value\":\"{noise}\"}}]}},\"creator\":{{\
         \"id\":\"u-1\",\"name\":\"Ana Lima\",\"workspace\":{{\"id\":\"w-1\",\"name\":\"Marketing\"}}}},\"domain\":{{\
         \"id\":\"d-1\",\"raw\":\"go.brand.com\",\"zone\":\"com.brand.go\"}},\"destination\":{{\
         \"raw\":\"https://www.example.com/{link}?utm_source={source}\"}}}}}}",
        random.u32(..60),
        random.u32(..1_000_000),
        random.u32(..60),
    )
}

/// Packs so many bytes of events with this `max_bytes`. Returns the sizes of each feed's objects.
fn sizes(max_bytes: u64, text_bytes: usize, noise: usize, feeds: &[(Format, Compression)]) -> Vec<Vec<u64>> {
    let (metrics, objects) = (spool_metrics(), Arc::<Mutex<Vec<(usize, Object)>>>::default());
    let specs = feeds.iter().zip(0..).map(|((format, compression), n)| {
        let name = format!("feed-{n}");
        let mut spec =
            FeedSpec::unconfigured(&name, "test", crate::spool::feed::Recipe::default(), metrics.feed(&name));
        (spec.configured, spec.format, spec.compression, spec.max_bytes) = (true, *format, *compression, max_bytes);
        (spec.max_age, spec.hold_back) = (Duration::MAX, Duration::MAX);
        spec
    });
    let config = config::Spool { dir: PathBuf::from("/spool"), ..config::Spool::default() };
    let builder = SpoolBuilder::new(&config, "test", specs.collect(), Arc::clone(&metrics));
    let recovered = builder.recover(Arc::new(ModelDisk::default()), File::open("/dev/null").unwrap()).unwrap();
    let finished = Arc::clone(&objects);
    let finished = move |feed, object| finished.lock().unwrap().push((feed, object));
    let mut parts = recovered.assemble(Box::new(|_| {}), Box::new(finished));

    let mut random = fastrand::Rng::with_seed(max_bytes);
    let numbers: Vec<u16> = (0..feeds.len() as u16).collect();
    let (mut written, mut n) = (0, 0);
    while written < text_bytes {
        let mut batch = Batch::default();
        while batch.frames.len() < 1 << 20 {
            n += 1;
            let micros = 1_795_424_400_000_000 + n;
            let (id, begun) = (EventId::at(micros), batch.begin(numbers.len()));
            let start = batch.frames.len();
            batch.frames.extend_from_slice(event(&mut random, id, noise).as_bytes());
            let position = RingPosition { ring: 1, end: n };
            batch.end(begun, start, &Origin { ring_position: position, micros, id }, &numbers);
            batch.read(position);
        }
        written += batch.frames.len();
        parts.journal.add(batch);
        parts.journal.commit().unwrap();
        // Rounds begin at any moment.
        while let Ok(synced) = parts.from_journal.try_recv() {
            parts.packer.take(synced);
        }
        if random.u8(..4) == 0 {
            parts.packer.pack(&numbers, Remainders::Stay).unwrap();
        }
    }
    parts.packer.pack(&numbers, Remainders::Stay).unwrap();
    let mut sizes = vec![Vec::new(); feeds.len()];
    objects.lock().unwrap().iter().for_each(|(feed, object)| sizes[*feed].push(object.bytes));
    sizes
}

fn are_within_a_tenth(max_bytes: u64, sizes: &[Vec<u64>], feeds: &[(Format, Compression)]) {
    for (sizes, feed) in sizes.iter().zip(feeds) {
        let wrong: Vec<_> = sizes.iter().filter(|bytes| bytes.abs_diff(max_bytes) > max_bytes / 10).collect();
        assert!(wrong.is_empty() && !sizes.is_empty(), "{feed:?}: {wrong:?} of {sizes:?} instead of {max_bytes}");
    }
}

#[test]
fn objects_of_all_kinds_are_within_a_tenth_of_max_bytes() {
    for (max_bytes, text_bytes, noise) in
        [(64 * KIB, 3 << 20, 0), (128 * KIB, 4 << 20, 0), (128 * KIB, 3 << 20, 300), (1024 * KIB, 16 << 20, 100)]
    {
        let sizes = sizes(max_bytes, text_bytes, noise, &FEEDS);
        are_within_a_tenth(max_bytes, &sizes, &FEEDS);
    }
}

#[test]
fn large_objects_are_within_a_tenth_of_max_bytes() {
    let feeds = [FEEDS[0], FEEDS[2], FEEDS[4]];
    let sizes = sizes(16 << 20, 64 << 20, 600, &feeds);
    are_within_a_tenth(16 << 20, &sizes, &feeds);
}
