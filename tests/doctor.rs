//! `clickedge doctor`: the real binary on this machine. What it finds of the machine differs from one to the next, so
//! these tests arrange what they look for; the rest is tested with made-up machines next to the checks.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::common::{Edge, cli::clickedge, link};

/// A folder with a configuration whose rings are in memory and whose spool is next to it.
struct Site {
    folder: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), memory: tempfile::tempdir_in("/dev/shm").unwrap() };
        site.write(&site.memory.path().join("rings"), &site.folder.path().join("spool"));
        site
    }

    fn write(&self, rings: &Path, spool: &Path) {
        let text = format!(
            "[edge]\nthreads = 1\n[capture]\ndir = {:?}\n[spool]\ndir = {:?}\n\
             [enrich]\nworkers = 1\n[catalog]\nfile = \"links.ndjson\"\n\
             [[listeners]]\naddress = \"127.0.0.1:8080\"\n\
             [[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"out\"\n",
            rings.display().to_string(),
            spool.display().to_string(),
        );
        fs::write(self.folder.path().join("clickedge.toml"), text).unwrap();
        let link = link("go.brand.com", "spring", "https://www.example.com/");
        fs::write(self.folder.path().join("links.ndjson"), format!("{link}\n")).unwrap();
    }

    fn config(&self) -> String {
        self.folder.path().join("clickedge.toml").display().to_string()
    }

    /// The findings, in a shell that has set its limits.
    fn examine(&self, limits: &str, arguments: &str) -> (Option<i32>, Value) {
        let binary = env!("CARGO_BIN_EXE_clickedge");
        let command = format!("{limits}; exec {binary} doctor --json --config {} {arguments}", self.config());
        let Output { status, stdout, stderr } = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
        (status.code(), serde_json::from_slice(&stdout).unwrap())
    }
}

/// What a check has found: level, message and remedy.
#[track_caller]
fn finding<'a>(report: &'a Value, check: &str) -> (&'a str, &'a str, &'a str) {
    let found = report["checks"].as_array().unwrap().iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("{check} has found nothing: {report:#}"));
    (
        found["level"].as_str().unwrap(),
        found["message"].as_str().unwrap(),
        found["remedy"].as_str().unwrap_or_default(),
    )
}

/// Whether this machine has the service: then its limits count, and not those of the shell.
fn has_unit() -> bool {
    let folders = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
    folders.iter().any(|folder| Path::new(folder).join("clickedge.service").exists())
}

#[test]
fn each_check_is_a_line_and_whatever_is_to_be_changed_has_a_remedy() {
    let site = Site::new();
    let (code, report) = site.examine(":", "");
    let checks = report["checks"].as_array().unwrap();
    let of = |level: &str| checks.iter().filter(|finding| finding["level"] == level).count() as u64;
    assert_eq!(report["problems"], of("problem"));
    assert_eq!(report["warnings"], of("warning"));
    assert_eq!(code == Some(0), of("problem") == 0, "{code:?} {report:#}");
    for finding in checks {
        assert_eq!(finding["remedy"].is_string(), finding["level"] != "ok", "{finding}");
    }
    for check in ["unit", "open-files", "threads", "rings", "memory", "spool-disk", "syncs", "clock"] {
        finding(&report, check);
    }

    let printed = clickedge(&["doctor", "--config", &site.config()]);
    let lines: Vec<_> = printed.stdout.lines().collect();
    assert_eq!(lines.len(), checks.len() + 1, "{}", printed.stdout);
    for (line, finding) in lines.iter().zip(checks) {
        let words: Vec<_> = line.split_whitespace().take(2).collect();
        assert_eq!(words[1], finding["check"].as_str().unwrap(), "{line}");
    }
    assert_eq!(fs::read_dir(site.folder.path()).unwrap().count(), 2, "nothing is left behind");
}

#[test]
fn rings_on_a_disk_and_a_spool_in_memory_are_problems() {
    // Not below /tmp, which is in memory on some machines.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let site = Site::new();
    site.write(&disk.path().join("rings"), &site.memory.path().join("spool"));
    let (code, report) = site.examine(":", "");
    assert_eq!(code, Some(78), "the class of the first problem: {report:#}");
    let (level, message, remedy) = finding(&report, "rings");
    assert!(level == "problem" && message.contains("client addresses") && remedy.contains("tmpfs"), "{message}");
    let (level, message, _) = finding(&report, "spool-disk");
    assert!(level == "problem" && message.contains("lost when the machine restarts"), "{message}");
}

#[test]
fn limits_and_sizes_are_compared_with_the_plan() {
    if has_unit() {
        println!("skipped: this machine has clickedge.service, whose limits count");
        return;
    }
    let site = Site::new();
    let (code, report) = site.examine("ulimit -n 512", "");
    let (level, message, remedy) = finding(&report, "open-files");
    assert!(level == "problem" && message.starts_with("512 open files of this shell leave 256 "), "{message}");
    assert!(code == Some(78) && remedy.contains("LimitNOFILE=1048576"), "{remedy}");

    let (_, report) = site.examine("ulimit -n 4096", "--clicks-per-second 10");
    assert_eq!(finding(&report, "open-files").0, "ok");
    assert_eq!(finding(&report, "ring-size").0, "ok");
    let (_, report) = site.examine("ulimit -n 4096", "--clicks-per-second 100000");
    assert_eq!(finding(&report, "open-files").0, "warning");
    let (level, _, remedy) = finding(&report, "ring-size");
    assert_eq!((level, remedy), ("warning", "set `capture.ring_bytes` to 2147483648 (2048 MiB)"));
}

#[test]
fn the_limits_of_a_running_edge_count_and_the_edge_does_not_notice() {
    let edge = Edge::builder().through(&["prlimit".into(), "--nofile=2000".into()]).start();
    let config = edge.dir().join("clickedge.toml");
    let before = edge.log();
    let printed = clickedge(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    let report: Value = serde_json::from_str(&printed.stdout).unwrap();
    let (level, message, _) = finding(&report, "open-files");
    let start = format!("2000 open files of the running edge (process {}) leave ", edge.pid());
    assert!(level == "warning" && message.starts_with(&start), "{message}");
    // The control socket answers one at a time: after this, it has seen doctor.
    let reloaded = clickedge(&["reload", "--config", config.to_str().unwrap()]);
    assert_eq!(reloaded.code, 0, "{}", reloaded.stderr);
    let log = edge.log();
    assert!(!log[before.len()..].contains("control socket"), "{log}");
    edge.terminate();
}

#[test]
fn a_configuration_that_is_rejected_is_reported_as_by_check() {
    let site = Site::new();
    fs::write(site.folder.path().join("clickedge.toml"), "[spool]\nmax_byte = 1\n").unwrap();
    let (doctor, check) = (clickedge(&["doctor", "--config", &site.config()]), clickedge(&["check", &site.config()]));
    assert_eq!((doctor.code, doctor.stderr.as_str()), (78, check.stderr.as_str()));
    clickedge(&["doctor", "--config", "/no/such/file.toml"]).fails(66, "/no/such/file.toml");
}

#[test]
fn what_check_rejects_is_a_problem_of_the_same_class() {
    let site = Site::new();
    let (_, sound) = site.examine(":", "");
    assert_ne!(finding(&sound, "configuration").0, "problem", "{sound:#}");
    fs::write(site.folder.path().join("links.ndjson"), "no catalog\n").unwrap();
    let check = clickedge(&["check", &site.config()]);
    let (code, report) = site.examine(":", "");
    assert_eq!((check.code, code), (65, Some(65)), "{report:#}");
    let (level, message, remedy) = finding(&report, "configuration");
    assert!(level == "problem" && message.contains("`clickedge check` rejects"), "{message}");
    assert!(remedy.contains("clickedge check"), "{remedy}");
}

#[test]
fn what_a_user_may_not_see_is_reported() {
    let site = Site::new();
    let memory = site.memory.path();
    let may_enter = fs::Permissions::from_mode(0o755);
    for dir in [memory, site.folder.path()] {
        fs::set_permissions(dir, may_enter.clone()).unwrap();
    }
    fs::create_dir(memory.join("rings")).unwrap();
    fs::set_permissions(memory.join("rings"), fs::Permissions::from_mode(0o700)).unwrap();
    // The binary may be in a folder of root.
    let binary = memory.join("clickedge");
    fs::copy(env!("CARGO_BIN_EXE_clickedge"), &binary).unwrap();
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = Command::new("setpriv");
    command.args(user).arg(&binary).args(["doctor", "--json", "--config"]).arg(site.config());
    let Ok(output) = command.output() else { return eprintln!("skipped: no setpriv here") };
    let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
        return eprintln!("skipped: {}", String::from_utf8_lossy(&output.stderr));
    };
    let (level, message, remedy) = finding(&report, "edge");
    assert!(level == "warning" && message.contains("may not see") && remedy.contains("root"), "{message} {remedy}");
}
