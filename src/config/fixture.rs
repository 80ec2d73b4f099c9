//! A sound configuration for tests, and slips that break it.

use super::{Config, findings::Severity};

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

[feeds.sink.s3.assume_role]
role_arn = "arn:aws:iam::123456789012:role/path/clicks"
external_id = "a:b/c=d"
sts_endpoint = "https://sts.example.com"
"#;

pub(super) fn sound() -> Config {
    toml::from_str(SOUND).unwrap()
}

/// Key and part of the message of the problem, and the change that causes it.
pub(super) type Slip<'a> = (&'a str, &'a str, fn(&mut Config));

pub(super) fn each_is_an_error(slips: &[Slip]) {
    each_is_found(Severity::Error, slips);
}

pub(super) fn each_is_a_warning(slips: &[Slip]) {
    each_is_found(Severity::Warning, slips);
}

/// Each slip gives exactly one problem.
fn each_is_found(severity: Severity, slips: &[Slip]) {
    for (key, message, slip) in slips {
        let mut config = sound();
        slip(&mut config);
        let problems = config.problems();
        let [problem] = &problems[..] else { panic!("{key} {message}: {problems:#?}") };
        assert_eq!((problem.key.as_str(), problem.severity), (*key, severity), "{problem:?}");
        assert!(problem.message.contains(message), "{problem:?} lacks {message:?}");
        assert!(!problem.remedy.is_empty(), "{problem:?}");
    }
}

#[test]
fn the_sound_configuration_has_no_problems() {
    assert_eq!(sound().problems(), []);
}
