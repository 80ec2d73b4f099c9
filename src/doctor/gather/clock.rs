//! Whether the clock is synchronised, as the time service knows. The kernel knows as well, but answers through
//! adjtimex(2) only, for which there is no safe interface.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::doctor::facts::Clock;

/// Until a program must have answered.
const DEADLINE: Duration = Duration::from_secs(3);

pub(super) fn state() -> Clock {
    // timedatectl asks the kernel, whichever service synchronises it.
    if let Some(answer) = answer("timedatectl", &["show", "--property=NTPSynchronized", "--value"]) {
        match answer.trim() {
            "yes" => return Clock::Synchronised("timedatectl"),
            "no" => return Clock::Drifting("timedatectl"),
            _ => {}
        }
    }
    if let Some(answer) = answer("chronyc", &["-c", "tracking"]) {
        return of_chrony(&answer);
    }
    // The file is touched whenever the service has the time.
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Clock::Synchronised("systemd-timesyncd");
    }
    Clock::Unknown
}

/// The last field is the state of leap seconds, or that there is no time.
fn of_chrony(answer: &str) -> Clock {
    match answer.trim().rsplit(',').next() {
        Some("Normal" | "Insert second" | "Delete second") => Clock::Synchronised("chrony"),
        Some("Not synchronised") => Clock::Drifting("chrony"),
        _ => Clock::Unknown,
    }
}

/// What a program prints, if it exists, succeeds, and does so in time.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(10)),
            _ => {
                _ = child.kill();
                _ = child.wait();
                return None;
            }
        }
    };
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    status.success().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chrony_says_whether_it_has_the_time() {
        let line = |leap: &str| of_chrony(&format!("A29FC87B,time.example.org,3,1700000000.1,0.0,0.0,0.0,{leap}\n"));
        assert_eq!(line("Normal"), Clock::Synchronised("chrony"));
        assert_eq!(line("Not synchronised"), Clock::Drifting("chrony"));
        assert_eq!(of_chrony(""), Clock::Unknown);
    }

    #[test]
    fn a_program_that_is_missing_fails_or_hangs_has_no_answer() {
        assert_eq!(answer("echo", &["yes"]).as_deref(), Some("yes\n"));
        assert_eq!(answer("/no/such/program", &[]), None);
        assert_eq!(answer("false", &[]), None);
        let start = Instant::now();
        assert_eq!(answer("sleep", &["60"]), None);
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
