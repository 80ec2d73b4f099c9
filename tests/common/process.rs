//! The process of an edge: a child of the test, or one that has succeeded it.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
};

/// A process that does not outlive its test.
pub enum Process {
    Child(Child),
    /// A successor: the child of one that has ended.
    Successor(u32),
}

impl Process {
    pub fn id(&self) -> u32 {
        match self {
            Self::Child(child) => child.id(),
            Self::Successor(pid) => *pid,
        }
    }

    /// How it has ended, as far as that is known of a successor.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        match self {
            Self::Child(child) => child.try_wait().unwrap(),
            Self::Successor(pid) => has_ended(*pid).then(|| ExitStatus::from_raw(0)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        match self {
            Self::Child(child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            Self::Successor(pid) if !has_ended(*pid) => {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            Self::Successor(_) => {}
        }
    }
}

/// Whether a process that is not our child has ended. A zombie is still listed, and while threads of it end, its files
/// are still open.
pub fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| {
        let fields: Vec<_> = rest.split(' ').collect();
        fields[0] == "Z" && matches!(fields.get(17), None | Some(&("0" | "1")))
    })
}
