//! Every rule, broken once.

use super::*;
use crate::config::{Compression, S3, feeds::Encryption};

const SOUND: &str = r#"
[[listeners]]
address = "0.0.0.0:80"

[[listeners]]
address = "[::]:443"
tls = [{ certificate_file = "a.pem", key_file = "a.key" }]

[catalog.domains."go.example.com"]
case = "insensitive"

[upstream]
address = "10.0.0.1:443"
tls = true
server_name = "www.example.com"

[enrich]
geoip_file = "city.mmdb"

[[feeds]]
name = "all-clicks"
workspaces = ["*"]
sink.dir.path = "out"

[[feeds]]
name = "brand-1"
workspaces = ["ws_1", "ws_2"]

[feeds.sink.s3]
bucket = "example.clicks-1"
prefix = "clicks/brand"
region = "eu-west-1"
endpoint = "http://127.0.0.1:9000"
credentials_file = "keys"
profile = "clicks"
encryption = { kms = { key_id = "alias/clicks" } }
assume_role = { role_arn = "arn:aws:iam::123456789012:role/path/clicks", external_id = "a:b/c=d", sts_endpoint = "https://sts.example.com" }
"#;

fn sound() -> Config {
    toml::from_str(SOUND).unwrap()
}

fn bucket(config: &mut Config) -> &mut S3 {
    let Sink::S3(s3) = &mut config.feeds[1].sink else { panic!("the second feed goes to a bucket") };
    s3
}

fn role(config: &mut Config) -> &mut crate::config::feeds::AssumeRole {
    bucket(config).assume_role.as_mut().unwrap()
}

type Slip = fn(&mut Config);

/// Each slip gives exactly one problem, of this severity, at this key, with this in its message.
fn each_is_found(severity: Severity, slips: &[(&str, &str, Slip)]) {
    for (key, message, slip) in slips {
        let mut config = sound();
        slip(&mut config);
        let problems = validate(&config);
        let [problem] = &problems[..] else { panic!("{key} {message}: {problems:#?}") };
        assert_eq!((problem.key.as_str(), problem.severity), (*key, severity), "{problem:?}");
        assert!(problem.message.contains(message), "{problem:?} lacks {message:?}");
        assert!(!problem.remedy.is_empty(), "{problem:?}");
    }
}

#[test]
fn a_sound_configuration_has_no_problems() {
    assert_eq!(validate(&sound()), []);
}

#[test]
fn the_edge_and_its_sockets_are_checked() {
    each_is_found(
        Severity::Error,
        &[
            ("edge.pop", "is \"\"", |c| c.edge.pop.clear()),
            ("edge.pop", "is \"AMS\"", |c| c.edge.pop = "AMS".into()),
            ("edge.pop", "is \"-a\"", |c| c.edge.pop = "-a".into()),
            ("edge.pop", "is \"a/b\"", |c| c.edge.pop = "a/b".into()),
            ("edge.pop", "1 to 63", |c| c.edge.pop = "a".repeat(64)),
            ("edge.threads", "between 0 and 1024, is 1025", |c| c.edge.threads = 1025),
            ("listeners", "is empty", |c| c.listeners.clear()),
            ("listeners[1].address", "is 0.0.0.0:80, which `listeners[0].address` takes", |c| {
                c.listeners[1].address = c.listeners[0].address;
            }),
            ("admin.address", "is [::]:443, which `listeners[1].address` takes", |c| {
                c.admin.address = c.listeners[1].address;
            }),
            ("listeners[1].tls[0].certificate_file", "is empty", |c| {
                c.listeners[1].tls[0].certificate_file.clear();
            }),
            ("listeners[1].tls[0].key_file", "is empty", |c| c.listeners[1].tls[0].key_file.clear()),
            ("listeners[0].address", "port 0", |c| c.listeners[0].address.set_port(0)),
            ("upstream.address", "port 0", |c| c.upstream.as_mut().unwrap().address.set_port(0)),
            ("upstream.address", "in circles", |c| {
                c.upstream.as_mut().unwrap().address = c.listeners[0].address;
            }),
            ("upstream.server_name", "no host name", |c| {
                c.upstream.as_mut().unwrap().server_name = Some("https://x".into());
            }),
        ],
    );
}

#[test]
fn the_catalog_and_the_answers_are_checked() {
    each_is_found(
        Severity::Error,
        &[
            ("catalog.file", "is empty", |c| c.catalog.file.clear()),
            ("catalog.max_bad_ratio", "between 0 and 1, is -0.1", |c| c.catalog.max_bad_ratio = -0.1),
            ("catalog.max_bad_ratio", "is NaN", |c| c.catalog.max_bad_ratio = f64::NAN),
            ("catalog.max_shrink_ratio", "is 1.01", |c| c.catalog.max_shrink_ratio = 1.01),
            ("catalog.max_growth_ratio", "more than 0, is 0", |c| c.catalog.max_growth_ratio = 0.0),
            ("catalog.max_growth_ratio", "is NaN", |c| c.catalog.max_growth_ratio = f64::NAN),
            ("catalog.domains.\"https://a.b\"", "no host name", |c| {
                c.catalog.domains.insert("https://a.b".into(), crate::config::Domain::default());
            }),
            ("catalog.domains.\"Go.example.com\"", "no host name", |c| {
                c.catalog.domains.insert("Go.example.com".into(), crate::config::Domain::default());
            }),
            ("catalog.domains.\"\"", "no host name", |c| {
                c.catalog.domains.insert(String::new(), crate::config::Domain::default());
            }),
            ("redirect.permanent_max_age_secs", "is 86401", |c| c.redirect.permanent_max_age_secs = 86_401),
            ("redirect.keepalive_secs", "between 0 and 3600, is 3601", |c| c.redirect.keepalive_secs = 3601),
            ("client_address.header", "is \"\"", |c| c.client_address.header.clear()),
            ("client_address.header", "is \"x forwarded\"", |c| c.client_address.header = "x forwarded".into()),
        ],
    );
}

#[test]
fn the_pipeline_is_checked() {
    each_is_found(
        Severity::Error,
        &[
            ("capture.dir", "is empty", |c| c.capture.dir.clear()),
            ("capture.ring_bytes", "between 1048576 and", |c| c.capture.ring_bytes = (1 << 20) - 1),
            ("enrich.workers", "is 1025", |c| c.enrich.workers = 1025),
            ("enrich.geoip_file", "is empty", |c| c.enrich.geoip_file = Some("".into())),
            ("enrich.crawlers_file", "is empty", |c| c.enrich.crawlers_file = Some("".into())),
            ("enrich.not_crawlers[0]", "must have 3 to 256 bytes, has 1", |c| {
                c.enrich.not_crawlers = vec!["a".into()];
            }),
            ("enrich.session_idle_secs", "between 1 and 86400, is 0", |c| c.enrich.session_idle_secs = 0),
            ("enrich.session_visitors", "is 0", |c| c.enrich.session_visitors = 0),
            ("enrich.session_rotation_hour", "between 0 and 23, is 24", |c| c.enrich.session_rotation_hour = 24),
            ("enrich.session_key_file", "is empty", |c| c.enrich.session_key_file = Some("".into())),
            ("spool.dir", "is empty", |c| c.spool.dir.clear()),
            ("spool.dir", "the same folder as `capture.dir`", |c| c.spool.dir = c.capture.dir.clone()),
            ("spool.journal_max_bytes", "between 16777216 and", |c| c.spool.journal_max_bytes = 1),
            ("spool.sync_interval_millis", "between 1 and 10000, is 0", |c| c.spool.sync_interval_millis = 0),
            ("spool.retain_secs", "between 0 and 31536000", |c| c.spool.retain_secs = 31_536_001),
            ("spool.max_bytes", "at least 1048576 (1 MiB), is 1048575", |c| c.spool.max_bytes = (1 << 20) - 1),
            ("spool.max_bytes", "is 2097152, less than one object of feed \"brand-1\" (4194304)", |c| {
                c.spool.max_bytes = 2 << 20;
                c.feeds[0].max_bytes = 1 << 20;
                c.feeds[1].max_bytes = 4 << 20;
            }),
            ("stats.hours_days", "between 3 and 366, is 2", |c| c.stats.hours_days = 2),
            ("stats.days", "between 40 and 3660, is 39", |c| c.stats.days = 39),
            ("feeds[1].rollups", "`stats.enabled` is false", |c| {
                c.stats.enabled = false;
                c.feeds[1].rollups = true;
            }),
            ("shutdown.grace_secs", "is 3601", |c| c.shutdown.grace_secs = 3601),
            ("shutdown.drain_secs", "is 3601", |c| c.shutdown.drain_secs = 3601),
        ],
    );
}

#[test]
fn feeds_are_checked() {
    each_is_found(
        Severity::Error,
        &[
            ("feeds[0].name", "is \"All\"", |c| c.feeds[0].name = "All".into()),
            ("feeds[1].name", "the same as `feeds[0].name`", |c| c.feeds[1].name = "all-clicks".into()),
            ("feeds[1].workspaces", "is empty", |c| c.feeds[1].workspaces.clear()),
            ("feeds[1].workspaces", "mixes", |c| c.feeds[1].workspaces.push("*".into())),
            ("feeds[1].workspaces[1]", "is \"a b\"", |c| c.feeds[1].workspaces[1] = "a b".into()),
            ("feeds[1].workspaces[1]", "a second time", |c| c.feeds[1].workspaces[1] = "ws_1".into()),
            ("feeds[0].compression.gzip.level", "between 1 and 9, is 0", |c| {
                c.feeds[0].compression = Compression::Gzip { level: 0 };
            }),
            ("feeds[0].compression.zstd.level", "between 1 and 19, is 20", |c| {
                c.feeds[0].compression = Compression::Zstd { level: 20 };
            }),
            ("feeds[0].max_age_secs", "between 1 and 3600, is 0", |c| c.feeds[0].max_age_secs = 0),
            ("feeds[0].hold_back_secs", "between 0 and 3600, is 3601", |c| c.feeds[0].hold_back_secs = 3601),
            ("feeds[0].manifest_secs", "between 0 and 86400", |c| c.feeds[0].manifest_secs = 86_401),
            ("feeds[0].max_bytes", "is 1023", |c| c.feeds[0].max_bytes = 1023),
            ("feeds[0].max_bytes", "is 1073741825", |c| c.feeds[0].max_bytes = (1 << 30) + 1),
            ("feeds[0].sink.dir.path", "is empty", |c| {
                c.feeds[0].sink = Sink::Dir(crate::config::Dir { path: "".into() });
            }),
        ],
    );
}

#[test]
fn buckets_are_checked() {
    each_is_found(
        Severity::Error,
        &[
            ("feeds[1].sink.s3.bucket", "is \"ab\"", |c| bucket(c).bucket = "ab".into()),
            ("feeds[1].sink.s3.bucket", "is \"s3://clicks\"", |c| bucket(c).bucket = "s3://clicks".into()),
            ("feeds[1].sink.s3.bucket", "is \"Clicks\"", |c| bucket(c).bucket = "Clicks".into()),
            ("feeds[1].sink.s3.bucket", "is \"a..b\"", |c| bucket(c).bucket = "a..b".into()),
            ("feeds[1].sink.s3.bucket", "is \"10.0.0.1\"", |c| bucket(c).bucket = "10.0.0.1".into()),
            ("feeds[1].sink.s3.bucket", "is \"clicks-\"", |c| bucket(c).bucket = "clicks-".into()),
            ("feeds[1].sink.s3.prefix", "slash", |c| bucket(c).prefix = "/a".into()),
            ("feeds[1].sink.s3.prefix", "slash", |c| bucket(c).prefix = "a/".into()),
            ("feeds[1].sink.s3.prefix", "empty part", |c| bucket(c).prefix = "a//b".into()),
            ("feeds[1].sink.s3.prefix", "`..`", |c| bucket(c).prefix = "a/../b".into()),
            ("feeds[1].sink.s3.prefix", "control character: \"a\\nb\"", |c| bucket(c).prefix = "a\nb".into()),
            ("feeds[1].sink.s3.prefix", "512", |c| bucket(c).prefix = "a".repeat(513)),
            ("feeds[1].sink.s3.region", "is \"\"", |c| bucket(c).region.clear()),
            ("feeds[1].sink.s3.region", "is \"eu/west\"", |c| bucket(c).region = "eu/west".into()),
            ("feeds[1].sink.s3.endpoint", "no address", |c| bucket(c).endpoint = Some("minio".into())),
            ("feeds[1].sink.s3.endpoint", "not ftp:", |c| bucket(c).endpoint = Some("ftp://minio".into())),
            ("feeds[1].sink.s3.endpoint", "user name", |c| bucket(c).endpoint = Some("https://a:b@c".into())),
            ("feeds[1].sink.s3.endpoint", "query", |c| bucket(c).endpoint = Some("https://c/?a".into())),
            ("feeds[1].sink.s3.credentials_file", "is empty", |c| bucket(c).credentials_file = Some("".into())),
            ("feeds[1].sink.s3.profile", "is empty", |c| bucket(c).profile = Some(" ".into())),
            ("feeds[1].sink.s3.encryption.kms.key_id", "is \"\"", |c| {
                bucket(c).encryption = Some(Encryption::Kms { key_id: Some(String::new()) });
            }),
            ("feeds[1].sink.s3.connect_timeout_secs", "is 0", |c| bucket(c).connect_timeout_secs = 0),
            ("feeds[1].sink.s3.attempt_timeout_secs", "is 601", |c| bucket(c).attempt_timeout_secs = 601),
            ("feeds[1].sink.s3.assume_role.role_arn", "is \"clicks\"", |c| role(c).role_arn = "clicks".into()),
            ("feeds[1].sink.s3.assume_role.role_arn", "resource name", |c| {
                role(c).role_arn = "arn:aws:iam::1234:role/clicks".into();
            }),
            ("feeds[1].sink.s3.assume_role.role_arn", "resource name", |c| {
                role(c).role_arn = "arn:aws:iam::123456789012:user/clicks".into();
            }),
            ("feeds[1].sink.s3.assume_role.external_id", "2 to 1224", |c| role(c).external_id = Some("a b".into())),
            ("feeds[1].sink.s3.assume_role.sts_endpoint", "no address", |c| {
                role(c).sts_endpoint = Some("sts".into());
            }),
        ],
    );
}

#[test]
fn roles_of_other_stores_and_partitions_pass() {
    for arn in ["arn:minio:iam:::role/idmp-clicks", "arn:aws-cn:iam::123456789012:role/clicks"] {
        let mut config = sound();
        role(&mut config).role_arn = arn.into();
        assert_eq!(validate(&config), [], "{arn}");
    }
}

#[test]
fn what_is_legal_and_odd_gets_a_warning() {
    each_is_found(
        Severity::Warning,
        &[
            ("feeds", "go nowhere", |c| c.feeds.clear()),
            ("upstream.server_name", "no effect", |c| c.upstream.as_mut().unwrap().tls = false),
            ("client_address.trusted_proxies[0]", "every host", |c| {
                c.client_address.trusted_proxies = vec!["0.0.0.0/0".parse().unwrap()];
            }),
        ],
    );
}

#[test]
fn a_message_never_repeats_a_password() {
    let mut config = sound();
    bucket(&mut config).endpoint = Some("https://me:secret@minio".into());
    assert!(!format!("{:?}", validate(&config)).contains("secret"));
}

#[test]
fn files_must_be_there_and_be_files_and_folders_must_be_folders() {
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
    assert!(problems[0].message.contains("no regular file"), "{problems:?}");
    assert!(problems[1].message.contains("no folder"), "{problems:?}");
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
        ("x".repeat(32), 0o644, Some((Severity::Warning, "everybody on this machine may read"))),
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
    assert_eq!(found("/dev/shm/none-of-this-name"), [""; 0], "it is made at the start");
    assert_eq!(found("/proc"), ["names /proc, which is not on a tmpfs: client addresses would reach a disk"]);
    assert_eq!(found("/dev/null"), ["names /dev/null, which is no folder"]);
}
