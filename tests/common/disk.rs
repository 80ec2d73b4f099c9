//! Disks that fail on demand. All of them need root; where they are not available, a test prints the reason and skips.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// Runs a command. An error is what it printed.
fn run(program: &str, arguments: &[&str], path: &Path) -> Result<(), String> {
    match Command::new(program).args(arguments).arg(path).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

/// A small file system in memory, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(at: &Path, kib: usize) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"], at)?;
        Ok(Self(at.to_owned()))
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut ballast = File::create(self.0.join("ballast")).unwrap();
        let full = io::copy(&mut io::repeat(0), &mut ballast).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    pub fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = fs::remove_file(self.0.join("ballast"));
            let copy = self.0.with_extension("kept");
            let _ = Command::new("cp").arg("-a").args([&self.0, &copy]).status();
        }
        unmount(&self.0);
    }
}

/// Unmounts, and removes the folder that could not be removed as long as it was a disk.
fn unmount(at: &Path) {
    let _ = run("umount", &["--lazy"], at);
    // Neither is removed unless it is empty.
    let _ = fs::remove_dir(at);
    let _ = at.parent().map(fs::remove_dir);
}

/// Folders in which nothing can be made, renamed or removed, whatever the rights of the process. Files that are open
/// can still be written.
pub struct Frozen(PathBuf);

impl Frozen {
    /// Freezes a folder and all below it.
    pub fn freeze(dir: &Path) -> Result<Self, String> {
        let frozen = Self(dir.to_owned());
        frozen.set("+i")?;
        Ok(frozen)
    }

    fn set(&self, attribute: &str) -> Result<(), String> {
        folders_below(&self.0).iter().try_for_each(|dir| run("chattr", &[attribute], dir))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = self.set("-i");
    }
}

fn folders_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    let below = entries.filter(|path| path.is_dir() && !path.is_symlink()).flat_map(|path| folders_below(&path));
    std::iter::once(dir.to_owned()).chain(below).collect()
}

/// A real file system on an image file, which turns read-only under its users as after an error of the disk.
pub struct Volume {
    image: PathBuf,
    at: PathBuf,
}

impl Volume {
    pub fn mount(image: &Path, at: &Path, mib: u64) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        File::create(image).and_then(|file| file.set_len(mib << 20)).map_err(|error| error.to_string())?;
        run("mkfs.ext4", &["-q", "-F"], image)?;
        let volume = Self { image: image.to_owned(), at: at.to_owned() };
        volume.attach()?;
        Ok(volume)
    }

    fn attach(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", &self.image.display().to_string()], &self.at)
    }

    /// Aborts the file system: every write fails from now on, also through files that are open.
    pub fn abort(&self) -> Result<(), String> {
        run("mount", &["-o", "remount,abort"], &self.at)
    }

    /// Checks and mounts it again, after its last user has gone.
    pub fn repair(&self) -> Result<(), String> {
        run("umount", &[], &self.at)?;
        // It exits with 1 when it has repaired something.
        let _ = run("e2fsck", &["-fy"], &self.image);
        self.attach()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_file(&self.image);
        }
        unmount(&self.at);
    }
}
