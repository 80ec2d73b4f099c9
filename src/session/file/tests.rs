use std::os::unix::fs::{FileExt, PermissionsExt};

use tempfile::TempDir;

use super::*;
use crate::session::table::{Moment, buckets};

const NOW: u64 = 20_000 * crate::session::keys::DAY + 1;
const IDLE: u64 = 1_800_000_000;

fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn opening(dir: &Path, visitors: usize) -> Opening<'_> {
    let schedule = Schedule { hour: 0, idle: IDLE };
    Opening { dir, buckets: buckets(visitors), schedule, secret: None, now: NOW }
}

/// Clicks as one visitor; whether it was the first of a visit.
fn click((keyring, table): &Opened) -> bool {
    let client = crate::click::ClientAddr::from_ip([192, 0, 2, 1].into());
    let who = keyring.keys().current.individual(b"w", &client, &crate::session::AgentDigest::of(b"a"));
    let moment = Moment::of(NOW, &crate::click::EventId::at(NOW));
    table.click(moment, IDLE, who, || None).first
}

#[test]
fn a_file_of_any_size_is_taken_over() {
    let dir = folder();
    let first = opening(dir.path(), 1_000).open().ok().unwrap();
    assert!(click(&first));
    let file = dir.path().join("sessions");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file.metadata().unwrap().len(), 4_096 + 200 * 256);
    assert!(file.metadata().unwrap().blocks() * 512 >= 4_096 + 200 * 256, "its memory is taken");
    for visitors in [1_000, 7, 100_000, 1_000] {
        let next = opening(dir.path(), visitors).open().ok().unwrap();
        assert_eq!(next.1.used(), 1, "{visitors}");
        assert!(!click(&next), "{visitors}");
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }
    let memory = first.1.memory();
    assert!((0..memory.len()).all(|word| memory.load(word) == 0), "the file of the first size is wiped");
}

#[test]
fn an_unusable_file_is_wiped_and_replaced() {
    type Damage = fn(&File);
    let damages: [(&str, Damage); 8] = [
        ("nothing", |file| file.set_len(0).unwrap()),
        ("cut", |file| file.set_len(4_096 + 256).unwrap()),
        ("cut within a word", |file| file.set_len(4_097).unwrap()),
        ("longer", |file| file.set_len(1 << 30).unwrap()),
        ("magic", |file| file.write_all_at(b"x", 0).unwrap()),
        ("another release", |file| file.write_all_at(&9_u32.to_le_bytes(), 8).unwrap()),
        ("buckets", |file| file.write_all_at(&[255; 8], 16).unwrap()),
        ("key", |file| file.write_all_at(&[255; 8], 24 * 8).unwrap()),
    ];
    for (what, damage) in damages {
        let dir = folder();
        assert!(click(&opening(dir.path(), 1_000).open().ok().unwrap()));
        let file = options().open(dir.path().join("sessions")).unwrap();
        damage(&file);
        let next = opening(dir.path(), 1_000).open().ok().unwrap();
        assert!(click(&next), "{what}");
        assert!(!click(&opening(dir.path(), 1_000).open().ok().unwrap()), "{what}");
        let mut left = vec![0; 4_096];
        let read = file.read_at(&mut left, 0).unwrap();
        assert!(left[..read].iter().all(|byte| *byte == 0), "{what}: the old file is wiped");
    }
}

#[test]
fn a_half_made_file_of_a_process_that_died_is_wiped() {
    let dir = folder();
    let half = dir.path().join("sessions.new");
    fs::write(&half, [7; 5_000]).unwrap();
    let file = File::open(&half).unwrap();
    opening(dir.path(), 10).open().ok().unwrap();
    let mut left = vec![1; 5_000];
    file.read_exact_at(&mut left, 0).unwrap();
    assert!(!half.exists() && left.iter().all(|byte| *byte == 0));
}

#[test]
fn sessions_never_lie_on_a_disk() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    if is_in_memory(dir.path()).unwrap() {
        return;
    }
    let error = opening(dir.path(), 10).open().map(drop).unwrap_err();
    assert!(matches!(error, SessionError::NotMemory { .. }), "{error}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}
