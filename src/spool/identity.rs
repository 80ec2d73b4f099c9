//! The identity of a spool: a few characters that are part of the keys of all objects, manifests and rollups that it
//! makes, so that they collide with those of no other spool.
//!
//! ```text
//! {dir}/identity     8 characters of 0-9 and a-z, and a line feed
//! ```
//! It is made with the spool, and synced before any key has it. An edge that is rebuilt with an empty spool has another
//! one: it numbers its objects from 1 again, and its keys are new. If the file is lost, the identity is taken from
//! keys that the spool has made. If nothing is left of those either, what was made is unknown, and a new identity is
//! the only safe one.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{disk::Disk, record::Records};
use crate::object::{
    Maker,
    key::{SPOOL_LENGTH, is_spool},
};

/// Name of the file.
const FILE: &str = "identity";

/// Reads the identity of a spool. `None` if it has none, or a damaged one.
///
/// # Errors
/// Those of the file system.
pub fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<String>> {
    match disk.read(&dir.join(FILE)) {
        Ok(bytes) => {
            Ok(std::str::from_utf8(&bytes).ok().map(str::trim_end).filter(|text| is_spool(text)).map(Into::into))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the identity of a spool, or restores it from keys, or makes a new one. `known` are the feeds and keys of the
/// objects in the outbox. A spool that is `unused`, as far as is known, or whose numbers are unknown, gets a new one:
/// its numbers begin at 1, and under an earlier identity they may have been used.
///
/// # Errors
/// Those of the file system.
pub(super) fn read_or_make<'a>(
    disk: &dyn Disk,
    dir: &Path,
    pop: &str,
    records: &Records,
    known: impl Iterator<Item = (&'a str, &'a str)>,
    unused: bool,
) -> io::Result<String> {
    if unused {
        let identity = new();
        write(disk, dir, &identity)?;
        return Ok(identity);
    }
    if let Some(identity) = read(disk, dir)? {
        return Ok(identity);
    }
    let spool_of = |feed: &str, key: &str| {
        Maker::of(key, feed).filter(|maker| maker.pop == pop).map(|maker| maker.spool.to_owned())
    };
    let mut found = known.filter_map(|(feed, key)| spool_of(feed, key)).last();
    for hour in records.hours(disk)? {
        for record in records.read(disk, hour)? {
            found = spool_of(&record.feed, &record.key).or(found);
        }
    }
    if let Some(identity) = &found {
        tracing::warn!(
            identity,
            "the spool's file `identity` is missing or damaged; restored from keys of its objects"
        );
    }
    let identity = found.unwrap_or_else(new);
    write(disk, dir, &identity)?;
    Ok(identity)
}

/// A new identity.
pub fn new() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let seed = getrandom::u64().unwrap_or_else(|_| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    (0..SPOOL_LENGTH).map(|_| char::from(DIGITS[random.usize(..DIGITS.len())])).collect()
}

fn write(disk: &dyn Disk, dir: &Path, identity: &str) -> io::Result<()> {
    let temporary = dir.join(format!("{FILE}.tmp"));
    let mut file = disk.create(&temporary)?;
    writeln!(file, "{identity}")?;
    file.sync()?;
    disk.rename(&temporary, &dir.join(FILE))?;
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::Hour,
        spool::{disk::RealDisk, record::Record},
    };

    fn record(key: String) -> Record {
        let (feed, hour) = ("brand".into(), Hour::of_micros(0));
        Record { feed, hour, key, seq: 1, ..Record::default() }
    }

    #[test]
    fn an_identity_stays_and_is_restored_from_keys() {
        let temporary = tempfile::tempdir().unwrap();
        let (dir, disk) = (temporary.path(), RealDisk::new(temporary.path()).unwrap());
        let mut records = Records::open(&disk, dir).unwrap();
        disk.make_dir(&dir.join("records")).unwrap();
        let ask = |records: &Records, known: &[(&str, &str)]| {
            read_or_make(&disk, dir, "fra1", records, known.iter().copied(), false).unwrap()
        };
        let first = ask(&records, &[]);
        assert!(is_spool(&first), "{first}");
        assert_eq!(ask(&records, &[]), first);

        let key = |spool| Maker { feed: "brand", pop: "fra1", spool }.sequence_key(1, "json");
        std::fs::write(dir.join(FILE), "damaged\n").unwrap();
        assert_eq!(read(&disk, dir).unwrap(), None);
        let other = Maker { feed: "brand", pop: "sin1", spool: "otheredg" }.sequence_key(1, "json");
        assert_eq!(ask(&records, &[("brand", &key("inoutbox")), ("brand", &other)]), "inoutbox");

        records.add(&disk, &[record(key("recorded"))]).unwrap();
        assert_eq!(ask(&records, &[]), "inoutbox", "a file that is whole is believed");
        std::fs::remove_file(dir.join(FILE)).unwrap();
        assert_eq!(ask(&records, &[]), "recorded");
        assert_eq!(read(&disk, dir).unwrap().as_deref(), Some("recorded"));

        let records = Records::open(&disk, &dir.join("empty")).unwrap();
        let new = read_or_make(&disk, dir, "fra1", &records, [].into_iter(), true).unwrap();
        assert_ne!(new, "recorded", "its numbers would repeat");
    }

    #[test]
    fn a_key_of_the_previous_release_has_no_identity() {
        let temporary = tempfile::tempdir().unwrap();
        let (dir, disk) = (temporary.path(), RealDisk::new(temporary.path()).unwrap());
        let records = Records::open(&disk, dir).unwrap();
        let first = "01a2085b-d4e1-7645-b01b-77c6bdce7f10";
        // The end of the edge's name looks like an identity.
        let key = format!("dt=2026-11-23/hour=09/brand-fra1-frankfrt-{first}-00000001.ndjson.gz");
        let made = read_or_make(&disk, dir, "fra1-frankfrt", &records, [("brand", key.as_str())].into_iter(), false);
        let made = made.unwrap();
        assert_ne!(made, "frankfrt");
        assert_ne!(new(), new());
    }
}
