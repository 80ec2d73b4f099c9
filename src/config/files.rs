//! Checks the files and folders that a configuration names.

use std::{fs::File, io, path::Path};

use super::{
    Config, Quality, Sink,
    findings::{Findings, Problem},
    secret::{LEAST, MOST, Secret, SecretError, is_open_to_all},
};
use crate::{
    files::list::ListError,
    quality::blocklist::{Domains, Urls},
    runtime::filesystem,
};

/// Files that a configuration names and that are missing, cannot be read by this user, or are rejected. Paths must be
/// resolved.
pub fn check_files(config: &Config) -> Vec<Problem> {
    let mut findings = Findings::default();
    for (key, path) in input_files(config) {
        if let Err(error) = open(path) {
            findings.unreadable(key, path, &error);
        }
    }
    check_lists(&config.quality, &mut findings);
    for (key, path) in output_folders(config) {
        if path.exists() && !path.is_dir() {
            findings.error(key, format!("names {}, which is not a folder", path.display()), "name a folder");
        }
    }
    let rings = config.capture.dir.as_path();
    if rings.is_dir() && filesystem::is_in_memory(rings).is_ok_and(|in_memory| !in_memory) {
        findings.error(
            "capture.dir",
            format!("names {}, which is not on a tmpfs: client addresses would reach a disk", rings.display()),
            "name a folder below /run or /dev/shm, such as /run/clickedge",
        );
    }
    session_key(config, &mut findings);
    findings.into_problems()
}

/// The secret of the sessions, where there is a file.
fn session_key(config: &Config, findings: &mut Findings) {
    let Some(path) = config.enrich.session_key_file.as_deref().filter(|path| open(path).is_ok()) else { return };
    let key = "enrich.session_key_file";
    if let Err(SecretError::Length { bytes, .. }) = Secret::read(path) {
        findings.error(
            key,
            format!("names {}, which must hold {LEAST} to {MOST} bytes, and has {bytes}", path.display()),
            "put a random secret there: `head -c 32 /dev/urandom | base64` makes one",
        );
    } else if is_open_to_all(path) {
        findings.warning(
            key,
            format!("names {}, which every user of this machine may read", path.display()),
            "make it readable by this service only: chmod 0600",
        );
    }
}

fn input_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = vec![("catalog.file".to_owned(), config.catalog.file.as_path())];
    for (i, listener) in config.listeners.iter().enumerate() {
        for (j, certificate) in listener.tls.iter().enumerate() {
            let key = format!("listeners[{i}].tls[{j}]");
            files.push((format!("{key}.certificate_file"), &certificate.certificate_file));
            files.push((format!("{key}.key_file"), &certificate.key_file));
        }
    }
    let enrich = &config.enrich;
    let enrich = [
        ("enrich.geoip_file", &enrich.geoip_file),
        ("enrich.asn_file", &enrich.asn_file),
        ("enrich.hosting_networks_file", &enrich.hosting_networks_file),
        ("enrich.anonymizer_networks_file", &enrich.anonymizer_networks_file),
        ("enrich.search_engines_file", &enrich.search_engines_file),
        ("enrich.socials_file", &enrich.socials_file),
        ("enrich.ai_assistants_file", &enrich.ai_assistants_file),
        ("enrich.spammers_file", &enrich.spammers_file),
        ("enrich.session_key_file", &enrich.session_key_file),
        ("enrich.crawlers_file", &enrich.crawlers_file),
    ];
    files.extend(enrich.into_iter().filter_map(|(key, path)| path.as_deref().map(|path| (key.to_owned(), path))));
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Sink::S3(s3) = &feed.sink
            && let Some(path) = &s3.credentials_file
        {
            files.push((format!("feeds[{i}].sink.s3.credentials_file"), path));
        }
    }
    files
}

fn output_folders(config: &Config) -> Vec<(String, &Path)> {
    let mut folders = vec![
        ("capture.dir".to_owned(), config.capture.dir.as_path()),
        ("spool.dir".to_owned(), config.spool.dir.as_path()),
    ];
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Sink::Dir(dir) = &feed.sink {
            folders.push((format!("feeds[{i}].sink.dir.path"), &dir.path));
        }
    }
    folders
}

fn check_lists(config: &Quality, findings: &mut Findings) {
    let domains = |file: &Path| Domains::read(file).map(drop);
    let urls = |file: &Path| Urls::read(file).map(drop);
    check_list("quality.blocked_domains_file", config.blocked_domains_file.as_deref(), domains, findings);
    check_list("quality.blocked_urls_file", config.blocked_urls_file.as_deref(), urls, findings);
}

fn check_list(
    key: &str,
    file: Option<&Path>,
    read: impl Fn(&Path) -> Result<(), ListError>,
    findings: &mut Findings,
) {
    let Some(file) = file else { return };
    if let Err(error) = open(file) {
        return findings.unreadable(key, file, &error);
    }
    match read(file) {
        Ok(()) => {}
        Err(ListError::Line { line, problem, remedy, .. }) => {
            let message = format!("names {}, where line {line} is wrong: {problem}", file.display());
            findings.error(key, message, remedy);
        }
        Err(error @ ListError::Read { .. }) => findings.error(key, error.to_string(), "correct the path"),
    }
}

fn open(path: &Path) -> io::Result<()> {
    // Checked before it is opened: opening a pipe would wait for a writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    File::open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{findings::Severity, fixture::sound};

    #[test]
    fn files_must_be_readable_and_folders_must_be_folders() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sound();
        config.resolve_paths(folder.path());
        config.spool.dir = folder.path().join("spool");
        config.capture.dir = folder.path().join("rings");
        let keys: Vec<String> = check_files(&config).into_iter().map(|problem| problem.key).collect();
        assert_eq!(
            keys,
            [
                "catalog.file",
                "listeners[1].tls[0].certificate_file",
                "listeners[1].tls[0].key_file",
                "enrich.geoip_file",
                "feeds[1].sink.s3.credentials_file"
            ]
        );

        for name in ["links.ndjson", "a.pem", "a.key", "city.mmdb", "keys"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(check_files(&config), []);

        config.catalog.file = folder.path().to_owned();
        config.spool.dir = folder.path().join("keys");
        let problems = check_files(&config);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].message.contains("not a regular file"), "{problems:?}");
        assert!(problems[1].message.contains("not a folder"), "{problems:?}");
    }

    #[test]
    fn a_secret_must_be_long_enough_and_should_be_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("session.key");
        let mut config = sound();
        config.enrich.session_key_file = Some(path.clone());
        let found = |config: &Config| {
            let mine = |problem: &Problem| problem.key == "enrich.session_key_file";
            check_files(config).into_iter().find(mine).map(|problem| (problem.severity, problem.message))
        };
        let contains = |found: Option<(Severity, String)>, severity, text: &str| {
            assert!(found.as_ref().is_some_and(|found| found.0 == severity && found.1.contains(text)), "{found:?}");
        };
        contains(found(&config), Severity::Error, "cannot be read");
        for (secret, mode, expected) in [
            ("x".repeat(31), 0o600, Some((Severity::Error, "must hold 32 to 4096 bytes, and has 31"))),
            ("x".repeat(32), 0o644, Some((Severity::Warning, "every user of this machine may read"))),
            ("x".repeat(32), 0o640, None),
        ] {
            std::fs::write(&path, secret).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match expected {
                Some((severity, text)) => contains(found(&config), severity, text),
                None => assert_eq!(found(&config), None),
            }
        }
    }

    #[test]
    fn rings_must_be_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sound();
        config.resolve_paths(folder.path());
        config.spool.dir = folder.path().join("spool");
        let mut found = |dir: &str| {
            config.capture.dir = dir.into();
            let problems = check_files(&config).into_iter().filter(|problem| problem.key == "capture.dir");
            problems.map(|problem| problem.message).collect::<Vec<_>>()
        };
        assert_eq!(found("/dev/shm"), [""; 0]);
        assert_eq!(found("/dev/shm/none-of-this-name"), [""; 0], "it is created at the start");
        assert_eq!(found("/proc"), ["names /proc, which is not on a tmpfs: client addresses would reach a disk"]);
        assert_eq!(found("/dev/null"), ["names /dev/null, which is not a folder"]);
    }
}
