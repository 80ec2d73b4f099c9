//! What an earlier process left open is finished at the start: every whole event in it is kept.
//!
//! An object that was never finished was never delivered, so nothing can come twice. A file that was cut in the
//! middle of a compressed block gives what was decodable before the cut; a line that is no whole JSON is left out and
//! counted in the log.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::Path,
};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use serde::de::IgnoredAny;

use super::{
    FeedSpec, Outbox,
    object::{SALVAGED, Sealed},
};

/// Longest event that is looked for; what is longer is damage.
const MAX_EVENT: usize = 1 << 20;

/// Finishes the open objects of all feeds.
///
/// # Errors
/// Those of the file system. Damage inside a file is none.
pub fn finish_open_objects(outbox: &Outbox, feeds: &[FeedSpec]) -> io::Result<()> {
    for feed in feeds {
        for (path, key) in outbox.left_open(&feed.name)? {
            let salvaged = path.with_extension(SALVAGED);
            if path.extension().is_some_and(|extension| extension == SALVAGED) {
                fs::remove_file(&path)?;
                continue;
            }
            let (events, damaged) = salvage(&path, &salvaged)?;
            if events == 0 {
                fs::remove_file(&salvaged)?;
                fs::remove_file(&path)?;
                tracing::warn!(key, "an object that an earlier process left open holds no whole event");
                continue;
            }
            fs::rename(&salvaged, &path)?;
            let bytes = fs::metadata(&path)?.len();
            outbox.commit(&Sealed { feed: feed.name.clone(), key: key.clone(), path, bytes, events })?;
            tracing::warn!(key, events, damaged, "finished an object that an earlier process left open");
        }
    }
    Ok(())
}

/// Copies the whole events of `from` to `to`. Returns how many there were, and how many lines were none.
fn salvage(from: &Path, to: &Path) -> io::Result<(u64, u64)> {
    let mut input = BufReader::new(GzDecoder::new(BufReader::new(File::open(from)?)));
    let mut output = GzEncoder::new(BufWriter::new(File::create(to)?), Compression::new(3));
    let (mut events, mut damaged) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        // A cut file ends in an error; what was read before it is in `line`.
        let read = io::Read::take(&mut input, MAX_EVENT as u64).read_until(b'\n', &mut line);
        if line.is_empty() {
            break;
        }
        if line.ends_with(b"\n") && serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
            output.write_all(&line)?;
            events += 1;
        } else {
            damaged += 1;
        }
        if read.is_err() {
            break;
        }
    }
    let file = output.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok((events, damaged))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spool::count::count_events;

    fn gzip(lines: usize) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(3));
        for n in 0..lines {
            writeln!(encoder, "{{\"n\":{n},\"noise\":{}}}", fastrand::u64(..)).unwrap();
        }
        encoder.finish().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_cut_or_scrambled_file_gives_whole_events_only(cut in 0_usize..4_000, flip in 0_usize..4_000, bit in 0_u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let (from, to) = (dir.path().join("from"), dir.path().join("to"));
            let mut bytes = gzip(300);
            bytes.truncate(cut.max(1));
            let at = flip % bytes.len();
            bytes[at] ^= 1 << bit;
            fs::write(&from, &bytes).unwrap();
            let (events, _) = salvage(&from, &to).unwrap();
            prop_assert!(events <= 300);
            prop_assert_eq!(count_events(&fs::read(&to).unwrap()).unwrap(), events);
        }
    }

    #[test]
    fn a_whole_file_gives_everything_and_a_cut_one_what_came_before() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let whole = gzip(50_000);
        fs::write(&from, &whole).unwrap();
        assert_eq!(salvage(&from, &to).unwrap(), (50_000, 0));
        fs::write(&from, &whole[..whole.len() / 2]).unwrap();
        let (events, damaged) = salvage(&from, &to).unwrap();
        assert!((10_000..50_000).contains(&events), "{events}");
        assert!(damaged <= 1);
    }
}
