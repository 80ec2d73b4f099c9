//! Duration of syncs, as the journal makes them.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use crate::doctor::facts::Syncs;

/// Bytes that are written before each sync: some clicks.
const BYTES: usize = 32 << 10;
const MOST: usize = 20;
/// A disk that hangs is not asked again.
const LONGEST: Duration = Duration::from_secs(3);

/// Appends to a file in a folder, and syncs it, some times.
pub(super) fn measure(dir: &Path) -> Result<Syncs, String> {
    timed(dir).map_err(|error| format!("{}: {error}", dir.display()))
}

fn timed(dir: &Path) -> io::Result<Syncs> {
    let path = dir.join(format!(".clickedge-doctor-{}", std::process::id()));
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
    // Without a name, nothing is left behind whatever happens.
    fs::remove_file(&path)?;
    let (block, start, mut micros) = (vec![0x5a; BYTES], Instant::now(), Vec::with_capacity(MOST));
    while micros.len() < MOST && start.elapsed() < LONGEST {
        file.write_all(&block)?;
        let before = Instant::now();
        file.sync_data()?;
        micros.push(before.elapsed().as_micros() as u64);
    }
    micros.sort_unstable();
    let (median, longest) = (micros[micros.len() / 2], micros[micros.len() - 1]);
    Ok(Syncs { count: micros.len(), median, longest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_timed_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let syncs = measure(folder.path()).unwrap();
        assert!(syncs.count > 0 && syncs.median <= syncs.longest, "{syncs:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let error = measure(&folder.path().join("missing")).unwrap_err();
        assert!(error.contains("missing: No such file"), "{error}");
    }
}
