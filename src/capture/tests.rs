use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;

use super::*;
use crate::{
    click::{ClientAddr, EventId, Flags, Protocol, Texts, Visit},
    runtime::{Class, Classified},
};

fn folder() -> (TempDir, config::Capture) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let config = config::Capture { dir: dir.path().join("rings"), ring_bytes: 1 };
    (dir, config)
}

const START: u64 = 1_795_000_000_000_000;

/// Bytes of a click of [`facts`] with a query of 4 bytes in its ring.
const RECORD: u64 = 176;

/// Where the lengths of the texts are in a record.
const LENGTHS: u64 = 8 + 56;

/// A click of the host, so many microseconds after the start.
fn facts(host: u32, query: &[u8]) -> Facts<'_> {
    Facts {
        id: EventId::at(START),
        micros: START + u64::from(host),
        client: ClientAddr::from_ip((0x7f00_0000 | host).to_be_bytes().into()),
        status: 302,
        protocol: Protocol::Http11,
        flags: Flags::default(),
        texts: Texts { query, ..Texts::default() },
    }
}

fn click(capture: &Capture, n: u32) -> Pushed {
    capture.push(&facts(n, &n.to_le_bytes()))
}

fn clicks(capture: &Capture, numbers: impl IntoIterator<Item = u32>) {
    for n in numbers {
        assert_eq!(click(capture, n), Pushed::Captured);
    }
}

fn release(capture: &Capture, positions: HashMap<u64, RingPosition>) {
    for position in positions.into_values() {
        capture.acks().ack(position);
    }
}

/// Reads everything there is.
fn drain(inlet: &mut Inlet) -> (Vec<u32>, HashMap<u64, RingPosition>) {
    let (mut numbers, mut positions) = (Vec::new(), HashMap::new());
    while let Some((click, position)) = inlet.pop() {
        numbers.push(u32::from_le_bytes(click.facts().texts.query.try_into().unwrap()));
        positions.insert(position.ring, position);
    }
    (numbers, positions)
}

fn open(config: &config::Capture, known: &HashMap<u64, u64>) -> (Capture, Inlet) {
    let (capture, mut inlets) = Capture::open(config, 1, 1, known).unwrap();
    (capture, inlets.pop().unwrap())
}

fn files(config: &config::Capture, kind: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(&config.dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind)).collect();
    found.sort();
    found
}

fn uid_of(path: &std::path::Path) -> u64 {
    u64::from_str_radix(path.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().1, 16).unwrap()
}

fn ring_error(config: &config::Capture) -> CaptureError {
    Capture::open(config, 1, 1, &HashMap::new()).err().unwrap()
}

#[test]
fn clicks_outlive_the_process_that_captured_them_and_are_read_once() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    clicks(&capture, 0..10);
    let (click, third) = (0..3)
        .map(|_| inlet.pop().map(|(click, position)| (click.facts().micros, position)).unwrap())
        .last()
        .unwrap();
    assert_eq!(click, START + 2);
    capture.acks().ack(third);
    let fifth = (0..2).map(|_| inlet.pop().unwrap().1).last().unwrap();
    assert_eq!(capture.depth(), 5);
    // The process dies: nothing is closed. What was released is not there, what the journal knows is not read again.
    drop((capture, inlet));
    let (capture, mut inlet) = open(&config, &HashMap::from([(fifth.ring, fifth.end)]));
    assert_eq!((capture.recovered(), capture.depth()), (5, 5));
    clicks(&capture, 10..12);
    let (numbers, positions) = drain(&mut inlet);
    assert_eq!(numbers, (5..12).collect::<Vec<_>>(), "those of the dead first");
    assert_eq!((files(&config, "ring").len(), capture.depth()), (2, 0));
    capture.acks().ack(positions[&fifth.ring]);
    assert_eq!(files(&config, "ring").len(), 1, "a ring that was left behind is removed with its last click");
    capture.acks().ack(*positions.values().find(|position| position.ring != fifth.ring).unwrap());
    capture.close();
    assert_eq!(files(&config, "ring").len(), 0);
    // Another process may use the folder now, although this value still exists.
    let (capture, _inlet) = open(&config, &HashMap::new());
    assert_eq!(capture.recovered(), 0);
}

#[test]
fn without_acknowledgement_a_clean_stop_leaves_the_clicks_for_the_next_start() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    clicks(&capture, 0..3);
    assert_eq!(drain(&mut inlet).0, [0, 1, 2]);
    capture.close();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    assert_eq!((capture.recovered(), drain(&mut inlet).0), (3, vec![0, 1, 2]));
}

#[test]
fn an_address_is_wiped_from_the_ring_once_its_click_is_released() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    clicks(&capture, [0x00ab_cdef, 0x0012_3456]);
    let ring = files(&config, "ring").pop().unwrap();
    let addresses = |ring: &PathBuf| {
        let bytes = fs::read(ring).unwrap();
        [[0x7f, 0xab, 0xcd, 0xef], [0x7f, 0x12, 0x34, 0x56]].map(|ip| bytes.windows(4).any(|window| window == ip))
    };
    let first = inlet.pop().unwrap().1;
    assert_eq!(addresses(&ring), [true, true]);
    capture.acks().ack(first);
    assert_eq!(addresses(&ring), [false, true]);
    assert_eq!(fs::metadata(&ring).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&config.dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn every_thread_leases_rings_of_its_own_and_returns_them_when_it_ends() {
    let (_dir, config) = folder();
    let (capture, mut inlets) = Capture::open(&config, 2, 2, &HashMap::new()).unwrap();
    assert_eq!((files(&config, "ring").len(), capture.capacity_bytes()), (4, 4 << 20));
    // All at once: more threads than were planned for.
    let started = std::sync::Barrier::new(5);
    thread::scope(|scope| {
        for thread in 0..5 {
            let (capture, started) = (&capture, &started);
            scope.spawn(move || {
                clicks(capture, [thread]);
                started.wait();
                clicks(capture, (1..200).map(|n| n * 5 + thread));
            });
        }
    });
    assert_eq!(files(&config, "ring").len(), 10);
    // One after the other: no thread needs new rings.
    for thread in 0..5 {
        let capture = capture.clone();
        thread::spawn(move || clicks(&capture, [1_000 + thread])).join().unwrap();
    }
    assert_eq!((files(&config, "ring").len(), capture.depth()), (10, 1_005));
    let mut all = BTreeSet::new();
    for inlet in &mut inlets {
        let (numbers, positions) = drain(inlet);
        assert!(numbers.len() > 300, "both workers have their share");
        all.extend(numbers);
        release(&capture, positions);
    }
    assert_eq!(all, (0..1_005).collect());
    capture.close();
    assert_eq!(files(&config, "ring").len(), 0);
}

#[test]
fn two_captures_of_one_process_do_not_mix_their_clicks() {
    let ((_a, one), (_b, other)) = (folder(), folder());
    let ((one, mut from_one), (other, mut from_other)) = (open(&one, &HashMap::new()), open(&other, &HashMap::new()));
    clicks(&one, [1]);
    clicks(&other, [2]);
    clicks(&one, [3]);
    assert_eq!((drain(&mut from_one).0, drain(&mut from_other).0), (vec![1, 3], vec![2]));
}

#[test]
fn clicks_are_read_in_the_order_of_their_times_whichever_threads_answered_them() {
    let (_dir, config) = folder();
    let (capture, mut inlets) = Capture::open(&config, 2, 1, &HashMap::new()).unwrap();
    let turn = std::sync::Barrier::new(2);
    let take_turns = |first: u32| {
        for n in (first..200).step_by(2) {
            clicks(&capture, [n]);
            turn.wait();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| take_turns(0));
        scope.spawn(|| take_turns(1));
    });
    assert_eq!(drain(&mut inlets[0]).0, (0..200).collect::<Vec<_>>());
    drop((capture, inlets));
    let (_capture, mut inlet) = open(&config, &HashMap::new());
    assert_eq!(drain(&mut inlet).0, (0..200).collect::<Vec<_>>(), "also from rings that were left");
}

#[test]
fn a_click_from_a_clock_that_was_wrong_is_not_held_back_for_ever() {
    let (_dir, config) = folder();
    let (capture, mut inlets) = Capture::open(&config, 2, 1, &HashMap::new()).unwrap();
    clicks(&capture, [0]);
    thread::scope(|scope| _ = scope.spawn(|| clicks(&capture, [u32::MAX])));
    let (mut busy, mut found) = (0, false);
    while !found {
        clicks(&capture, [1]);
        busy += 1;
        assert!(busy < 1 << 18, "it is still held back");
        let (click, position) = inlets[0].pop().unwrap();
        found = click.facts().micros == START + u64::from(u32::MAX);
        capture.acks().ack(position);
    }
    assert!(busy > 1_000, "the older ones came first");
}

#[test]
fn rings_that_were_left_go_to_the_workers_that_know_their_visitors() {
    let (_dir, config) = folder();
    let open = || Capture::open(&config, 1, 3, &HashMap::new()).unwrap();
    let shares = |inlets: &mut [Inlet]| inlets.iter_mut().map(|inlet| drain(inlet).0).collect::<Vec<_>>();
    let (capture, mut inlets) = open();
    clicks(&capture, 0..100);
    let before = shares(&mut inlets);
    drop((capture, inlets));
    assert_eq!(shares(&mut open().1), before);
}

#[test]
fn a_full_ring_takes_no_clicks_until_some_are_released() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    let long = vec![b'x'; wire::MAX_QUERY];
    let taken = (0..1_000).take_while(|_| capture.push(&facts(1, &long)) == Pushed::Captured).count();
    assert!(taken > 100 && capture.depth() == taken as u64);
    let position = inlet.pop().unwrap().1;
    assert_eq!(capture.push(&facts(1, &long)), Pushed::Full, "reading frees nothing");
    capture.acks().ack(position);
    assert_eq!(capture.push(&facts(1, &long)), Pushed::Captured);
    let endless = vec![b'x'; 600_000];
    let mut large = facts(1, b"");
    large.texts.destination = &endless;
    assert_eq!(capture.push(&large), Pushed::TooLarge);
}

#[test]
fn a_folder_that_is_in_use_on_a_disk_or_too_small_is_rejected_with_a_remedy() {
    let (_dir, config) = folder();
    let (_capture, _inlet) = open(&config, &HashMap::new());
    let error = ring_error(&config);
    assert!(matches!(error, CaptureError::Locked { .. }) && error.to_string().contains("capture.dir of its own"));

    let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let error = ring_error(&config::Capture { dir: disk.path().into(), ring_bytes: 1 });
    assert!(matches!(error, CaptureError::NotMemory { .. }) && error.to_string().contains("/dev/shm"), "{error}");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);

    let (_dir, mut config) = folder();
    config.ring_bytes = 1 << 50;
    let error = ring_error(&config);
    let remedy = format!("no room for rings of {} bytes; lower capture.ring_bytes", (1_u64 << 50) + 4_096);
    assert!(error.to_string().contains(&remedy), "{error}");
    assert_eq!(files(&config, "").len(), 1, "nothing but the lock is left");
}

#[test]
fn a_file_that_is_no_ring_of_this_release_is_set_aside_or_left_alone() {
    let damage = |act: fn(&File)| {
        let (dir, config) = folder();
        let (capture, inlet) = open(&config, &HashMap::new());
        clicks(&capture, 0..4);
        drop((capture, inlet));
        let ring = files(&config, "ring").pop().unwrap();
        act(&File::options().write(true).read(true).open(&ring).unwrap());
        fs::write(config.dir.join("new-00"), "half").unwrap();
        let (capture, mut inlet) = open(&config, &HashMap::new());
        assert_eq!(files(&config, "new").len(), 0);
        let (numbers, positions) = drain(&mut inlet);
        assert_eq!(numbers.len() as u64 + inlet.take_damaged(), capture.recovered());
        release(&capture, positions);
        let aside = files(&config, "damaged").iter().any(|path| uid_of(path) == uid_of(&ring));
        let result = (numbers, aside, ring.exists());
        drop(dir);
        result
    };
    // Magic, version, size, uid, cut off.
    assert_eq!(damage(|file| file.write_all_at(b"?", 0).unwrap()), (vec![], true, false));
    assert_eq!(damage(|file| file.write_all_at(&[9], 8).unwrap()), (vec![], false, true));
    assert_eq!(damage(|file| file.write_all_at(&[1], 16).unwrap()), (vec![], true, false));
    assert_eq!(damage(|file| file.write_all_at(&[0; 8], 24).unwrap()), (vec![], true, false));
    assert_eq!(damage(|file| file.set_len(5_000).unwrap()), (vec![], true, false));
    assert_eq!(damage(|file| file.set_len(0).unwrap()), (vec![], true, false));
    // Head after tail, tail beyond the ring, tail within a record.
    assert_eq!(damage(|file| file.write_all_at(&u64::MAX.to_le_bytes(), 128).unwrap()), (vec![], true, false));
    assert_eq!(damage(|file| file.write_all_at(&u64::MAX.to_le_bytes(), 256).unwrap()), (vec![], true, false));
    assert_eq!(damage(|file| file.write_all_at(&[8, 0], 256).unwrap()), (vec![], true, false));
    // The prefix of the second record: what comes before it is read.
    assert_eq!(damage(|file| file.write_all_at(&[0xff], 4_096 + RECORD).unwrap()), (vec![0], true, false));
    // A length within the last click: the ring is sound, and the click is not.
    let last = |file: &File| file.write_all_at(&[0xff], 4_096 + 3 * RECORD + LENGTHS).unwrap();
    assert_eq!(damage(last), (vec![0, 1, 2], false, false));
}

#[test]
fn a_ring_that_another_process_writes_into_loses_clicks_and_continues() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    clicks(&capture, 0..3);
    let ring = File::options().write(true).open(files(&config, "ring").pop().unwrap()).unwrap();
    ring.write_all_at(&[0xff], 4_096 + RECORD).unwrap();
    assert_eq!(drain(&mut inlet).0, [0]);
    clicks(&capture, 3..5);
    let (numbers, positions) = drain(&mut inlet);
    assert_eq!((numbers, inlet.take_damaged(), inlet.take_damaged()), (vec![3, 4], 2, 0));
    release(&capture, positions);
    capture.close();
    assert_eq!(files(&config, "ring").len(), 0, "everything is released, also what was lost");
}

#[test]
fn a_broken_click_at_the_end_does_not_keep_its_ring() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    clicks(&capture, 0..2);
    let ring = File::options().write(true).open(files(&config, "ring").pop().unwrap()).unwrap();
    ring.write_all_at(&[0xff], 4_096 + RECORD + LENGTHS).unwrap();
    let (numbers, positions) = drain(&mut inlet);
    assert_eq!(numbers, [0]);
    release(&capture, positions);
    capture.close();
    assert_eq!(files(&config, "ring").len(), 0);
}

#[test]
fn a_ring_that_was_left_keeps_its_clicks_and_returns_its_memory() {
    use std::os::unix::fs::MetadataExt;
    // As the ring is new; after it went round; and with the clicks at both ends.
    for rounds in [0, 3, 7] {
        let (_dir, config) = folder();
        let (capture, mut inlet) = open(&config, &HashMap::new());
        for _ in 0..rounds {
            clicks(&capture, 0..1_000);
            release(&capture, drain(&mut inlet).1);
        }
        clicks(&capture, 0..20);
        drop((capture, inlet));
        let held = |path: &PathBuf| fs::metadata(path).unwrap().blocks() * 512;
        let left = files(&config, "ring").pop().unwrap();
        assert!(held(&left) >= 1 << 20, "a ring has all its memory");
        let (_capture, mut inlet) = open(&config, &HashMap::new());
        assert!(held(&left) <= 32 << 10, "{} bytes for 20 clicks", held(&left));
        assert_eq!(drain(&mut inlet).0, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn a_noted_visit_is_there_for_the_next_process() {
    let (_dir, config) = folder();
    let (capture, mut inlet) = open(&config, &HashMap::new());
    clicks(&capture, 0..3);
    let visit = |n: u32| Visit { started: START + u64::from(n), first: n == 0 };
    for n in 0..2 {
        let (click, position) = inlet.pop().unwrap();
        assert_eq!(click.visit(), None);
        inlet.note(position, visit(n));
        inlet.note(RingPosition { end: position.end + 8, ..position }, visit(7));
    }
    drop((capture, inlet));
    for _ in 0..2 {
        let (capture, mut inlet) = open(&config, &HashMap::new());
        for n in 0..3_u32 {
            let (click, _) = inlet.pop().unwrap();
            assert_eq!(click.facts().texts.query, n.to_le_bytes());
            assert_eq!(click.visit(), (n < 2).then(|| visit(n)), "{n}");
        }
        drop((capture, inlet));
    }
}

#[test]
fn a_folder_that_others_can_use_is_rejected() {
    let (dir, config) = folder();
    let problem = |path: &Path| folder::inspect(path).err().map(|error| (error.class(), error.to_string()));
    assert_eq!(problem(&config.dir), None, "it does not exist yet");
    fs::create_dir(&config.dir).unwrap();
    fs::set_permissions(&config.dir, fs::Permissions::from_mode(0o755)).unwrap();
    let (class, text) = problem(&config.dir).unwrap();
    assert_eq!(class, Class::Config);
    assert!(text.contains("mode 0755") && text.contains("chmod"), "{text}");
    assert!(Capture::open(&config, 1, 1, &HashMap::new()).is_err());
    fs::set_permissions(&config.dir, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(problem(&config.dir), None);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&config.dir, &link).unwrap();
    let (class, text) = problem(&link).unwrap();
    assert!(class == Class::Config && text.contains("symbolic link"), "{text}");
}
