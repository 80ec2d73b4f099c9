//! The command line: the real binary, its messages and its exit codes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const SOUND: &str = "\
[[listeners]]
address = \"127.0.0.1:8080\"

[[feeds]]
name = \"all\"
workspaces = [\"*\"]
sink.dir.path = \"out\"
";

/// A link, so that the catalog is not empty.
const LINK: &str = "{\"id\":\"l-1\",\"slashtag\":\"a\",\"destination\":\"https://www.example.com/\",\
                    \"domain\":{\"fullName\":\"go.brand.com\"}}\n";

/// Rings in memory. The folder does not exist, and `check` creates none.
const RINGS: &str = "[capture]\ndir = \"/dev/shm/clickedge-of-the-command-line\"\n";

#[test]
fn a_good_file_is_ok() {
    let folder = Folder::new();
    folder.write("links.ndjson", LINK);
    folder.write("x.toml", &format!("{SOUND}{RINGS}"));
    folder.clickedge(&["check", "x.toml"]).succeeds("x.toml: ok\n");
}

#[test]
fn a_warning_is_printed_and_the_file_is_ok() {
    let folder = Folder::new();
    folder.write("links.ndjson", LINK);
    folder.write("x.toml", &format!("[[listeners]]\naddress = \"127.0.0.1:8080\"\n{RINGS}"));
    folder.clickedge(&["check", "x.toml"]).succeeds(
        "\
x.toml: ok
warning: x.toml:1:1: `feeds` is empty, so clicks are answered and their events go nowhere
  |
1 | [[listeners]]
  | ^ add a section `[[feeds]]`, see `clickedge generate config`
",
    );
}

#[test]
fn a_crawler_list_is_checked_entry_by_entry() {
    let folder = Folder::new();
    folder.write("links.ndjson", LINK);
    folder.write("x.toml", &format!("[enrich]\ncrawlers_file = \"crawlers.json\"\n{SOUND}{RINGS}"));
    let entries: Vec<String> = (0..20).map(|n| format!("{{\"pattern\": \"thing-{n}\"}}")).collect();
    folder.write("crawlers.json", &format!("[{}, {{\"pattern\": \"Mozilla\"}}]", entries.join(", ")));
    let answer = folder.clickedge(&["check", "x.toml"]);
    let out = answer.stdout;
    assert!(answer.code == Some(0) && out.starts_with("x.toml: ok\nwarning: x.toml:2:17: "), "{out}");
    let skipped =
        "crawlers.json: entry 21, pattern \"Mozilla\": it matches a common browser; skipped, fix or remove it\n";
    assert!(out.contains(skipped), "{out}");

    folder.write("crawlers.json", "[{\"pattern\": \"(x\"}]");
    let answer = folder.clickedge(&["check", "x.toml"]);
    let error = answer.stderr;
    assert_eq!(answer.code, Some(65), "{error}");
    assert!(
        error.starts_with("error: x.toml:2:17: `enrich.crawlers_file` is rejected: the crawler list "),
        "{error}"
    );
    assert!(error.contains("is rejected: 1 of 1 entries are bad, and one in ten may be"), "{error}");
    assert!(error.contains("first entry 1, pattern \"(x\""), "{error}");
}

#[test]
fn an_unknown_key_is_rejected() {
    let folder = Folder::new();
    folder.write("x.toml", &format!("{SOUND}max_age_sec = 5\n"));
    folder.clickedge(&["check", "x.toml"]).fails(
        78,
        "\
error: x.toml:8:1: unknown key `max_age_sec` in `feeds[0]`
  |
8 | max_age_sec = 5
  | ^^^^^^^^^^^ did you mean `max_age_secs`? expected `name`, `workspaces`, `only`, `shape`, `format`, `layout`, \
`compression`, `max_age_secs`, `max_bytes`, `min_bytes`, `hold_back_secs`, `manifest_secs`, `rollups`, `fields` or `sink`
",
    );
}

#[test]
fn a_wrong_type_is_rejected() {
    let folder = Folder::new();
    folder.write("x.toml", &format!("{SOUND}max_age_secs = \"60\"\n"));
    folder.clickedge(&["check", "x.toml"]).fails(
        78,
        "\
error: x.toml:8:16: `feeds[0].max_age_secs` must be a whole number from 0, is \"60\"
  |
8 | max_age_secs = \"60\"
  |                ^^^^ write digits without quotes, such as 60
",
    );
}

#[test]
fn two_semantic_errors_are_reported_at_once() {
    let folder = Folder::new();
    folder.write("x.toml", &format!("{SOUND}max_age_secs = 0\n[edge]\npop = \"Ams\"\n"));
    folder.clickedge(&["check", "--without-files", "x.toml"]).fails(
        78,
        "\
error: x.toml:8:16: `feeds[0].max_age_secs` must be between 1 and 3600, is 0
  |
8 | max_age_secs = 0
  |                ^ write how many seconds an event may wait for its object, such as 60

error: x.toml:10:7: `edge.pop` must be 1 to 63 lower-case letters, digits and inner `-`, is \"Ams\"
   |
10 | pop = \"Ams\"
   |       ^^^^^ write it like `ams1`
",
    );
}

#[test]
fn wrong_types_and_broken_rules_are_reported_together() {
    let folder = Folder::new();
    let text = "max_age_secs = 0\nrollups = 1\n[edge]\nthreads = \"4\"\n[redirect]\nkeepalive_secs = 9999\n";
    folder.write("x.toml", &format!("{SOUND}{text}"));
    let answer = folder.clickedge(&["check", "x.toml"]);
    assert_eq!(answer.code, Some(78));
    let errors: Vec<_> = answer.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(
        errors,
        [
            "error: x.toml:8:16: `feeds[0].max_age_secs` must be between 1 and 3600, is 0",
            "error: x.toml:9:11: `feeds[0].rollups` must be true or false, is 1",
            "error: x.toml:11:11: `edge.threads` must be a whole number from 0, is \"4\"",
            "error: x.toml:13:18: `redirect.keepalive_secs` must be between 0 and 3600, is 9999",
        ]
    );
}

#[test]
fn a_missing_file_is_no_input() {
    let folder = Folder::new();
    let message = "error: none.toml: cannot be read: No such file or directory (os error 2)\n";
    folder.clickedge(&["check", "none.toml"]).fails(66, message);
    folder.clickedge(&["serve", "--config", "none.toml"]).fails(66, message);
}

#[test]
fn one_bad_file_among_good_ones_fails_the_check() {
    let folder = Folder::new();
    folder.write("good.toml", SOUND);
    folder.write("bad.toml", &format!("{SOUND}[edge]\nthreads = -1\n"));
    let answer = folder.clickedge(&["check", "--without-files", "none.toml", "bad.toml", "good.toml"]);
    assert_eq!(answer.stdout, "good.toml: ok\n");
    assert_eq!(answer.code, Some(66), "that of the first");
    assert!(answer.stderr.contains("(os error 2)\n\nerror: bad.toml:9:11: "), "{}", answer.stderr);
}

#[test]
fn a_file_that_the_configuration_names_must_be_there() {
    let folder = Folder::new();
    folder.write("x.toml", &format!("{SOUND}[catalog]\nfile = \"none.ndjson\"\n{RINGS}"));
    let answer = folder.clickedge(&["check", "x.toml"]);
    assert_eq!(answer.code, Some(66));
    let message = "error: x.toml:9:8: `catalog.file` is rejected: cannot read the catalog ";
    assert!(answer.stderr.starts_with(message), "{}", answer.stderr);
    folder.clickedge(&["check", "--without-files", "x.toml"]).succeeds("x.toml: ok\n");
}

#[test]
fn rings_on_a_disk_or_in_the_spool_are_rejected() {
    let folder = Folder::new();
    folder.write("links.ndjson", LINK);
    folder.write("x.toml", &format!("{SOUND}[capture]\ndir = \"/proc\"\n"));
    let answer = folder.clickedge(&["check", "x.toml"]);
    assert_eq!(answer.code, Some(78));
    assert!(
        answer.stderr.starts_with("error: x.toml:9:7: `capture.dir` is rejected: /proc is not on a tmpfs")
            && answer.stderr.contains("`docker run --tmpfs`"),
        "{}",
        answer.stderr
    );
    folder.clickedge(&["check", "--without-files", "x.toml"]).succeeds("x.toml: ok\n");

    folder.write("x.toml", &format!("{SOUND}[capture]\ndir = \"x\"\n[spool]\ndir = \"x\"\n"));
    let answer = folder.clickedge(&["check", "--without-files", "x.toml"]);
    assert_eq!(answer.code, Some(78));
    let message = "error: x.toml:11:7: `spool.dir` is the same folder as `capture.dir`\n";
    assert!(answer.stderr.starts_with(message), "{}", answer.stderr);
}

#[test]
fn serve_rejects_a_bad_configuration_with_the_same_message() {
    let folder = Folder::new();
    folder.write("x.toml", &format!("{SOUND}[edge]\nthreads = -1\n"));
    folder.clickedge(&["serve", "--config", "x.toml"]).fails(
        78,
        "\
error: x.toml:9:11: `edge.threads` must be a whole number from 0, is -1
  |
9 | threads = -1
  |           ^^ write digits without quotes, such as 60
",
    );
}

#[test]
fn bad_usage_exits_with_64() {
    let folder = Folder::new();
    for arguments in [
        &["check"][..],
        &["generate"],
        &["generate", "nonsense"],
        &["feed"],
        &["feed", "verify"],
        &["feed", "policy"],
        &["feed", "test"],
        &["feed", "retry", "a", "b"],
        &["serve", "--port", "1"],
        &["fly"],
        &[],
    ] {
        let answer = folder.clickedge(arguments);
        assert_eq!(answer.code, Some(64), "{arguments:?}");
        assert_eq!(answer.stdout, "", "{arguments:?}");
        assert!(answer.stderr.contains("Usage: clickedge"), "{arguments:?}: {}", answer.stderr);
    }
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let answer = Folder::new().clickedge(&["--help"]);
    assert_eq!(answer.code, Some(0));
    for part in [
        "clickedge generate config --profile demo > clickedge.toml",
        "clickedge generate links > links.ndjson",
        "clickedge feed verify s3://",
        "Exit codes:",
        "64   usage: ",
        "78   configuration: ",
    ] {
        assert!(answer.stdout.contains(part), "{part} is missing from {}", answer.stdout);
    }
}

#[test]
fn the_generated_configuration_is_the_shipped_one() {
    Folder::new().clickedge(&["generate", "config"]).succeeds(&fs::read_to_string(conf("clickedge.toml")).unwrap());
}

#[test]
fn each_profile_is_a_shipped_file_and_goes_with_the_first_links() {
    for profile in ["edge", "demo", "kubernetes"] {
        let folder = Folder::new();
        let shipped = fs::read_to_string(conf("profiles").join(format!("{profile}.toml"))).unwrap();
        folder.clickedge(&["generate", "config", "--profile", profile]).succeeds(&shipped);
        let links = fs::read_to_string(conf("profiles/links.ndjson")).unwrap();
        folder.clickedge(&["generate", "links"]).succeeds(&links);
        folder.write("links.ndjson", &links);
        let all = commented_in(&shipped);
        assert!(profile == "demo" || all.contains("sink.s3]\n") && !all.contains("# [feeds"), "{all}");
        folder.write("x.toml", &all);
        let checked = folder.clickedge(&["check", "--without-files", "x.toml"]);
        // The kubelet asks from another address than loopback: it warns that the network is trusted.
        let is_expected = checked.stdout == "x.toml: ok\n" || profile == "kubernetes";
        assert!(checked.code == Some(0) && is_expected, "{}{}", checked.stdout, checked.stderr);
        folder.write("x.toml", &shipped);
        let seen = folder.clickedge(&["lookup", "go.example.com/docs/a", "--config", "x.toml"]);
        assert!(seen.stdout.starts_with("302 https://docs.example.com/a\n"), "{}{}", seen.stdout, seen.stderr);
    }
}

#[test]
fn an_unknown_profile_is_a_usage_error_that_names_the_others() {
    let answer = Folder::new().clickedge(&["generate", "config", "--profile", "nonsense"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (Some(64), ""));
    assert!(answer.stderr.contains("[possible values: edge, demo, kubernetes]"), "{}", answer.stderr);
}

/// The file with its commented sections and keys live. Feeds have names that differ.
fn commented_in(toml: &str) -> String {
    let is_setting = |rest: &&str| {
        rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains([' ', '`']))
    };
    let live = |line: &str| match line.strip_prefix("# ").filter(is_setting) {
        Some(setting) => setting.replace("all-clicks", "another"),
        None => line.to_owned(),
    };
    toml.lines().map(|line| live(line) + "\n").collect()
}

#[test]
fn the_generated_schemas_are_the_shipped_ones() {
    let schema = fs::read_to_string(conf("click-event.schema.json")).unwrap();
    Folder::new().clickedge(&["generate", "schema"]).succeeds(&schema);
    let schema = fs::read_to_string(conf("manifest.schema.json")).unwrap();
    Folder::new().clickedge(&["generate", "manifest-schema"]).succeeds(&schema);
    let schema = fs::read_to_string(conf("rollup.schema.json")).unwrap();
    Folder::new().clickedge(&["generate", "rollup-schema"]).succeeds(&schema);
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let answer = Folder::new().clickedge(&["generate", "completions", shell]);
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(answer.stdout.contains("clickedge") && answer.stdout.contains("without-files"), "{shell}");
        assert!(answer.stdout.contains("principal") && answer.stdout.contains("retry"), "{shell}");
    }
    assert_eq!(Folder::new().clickedge(&["generate", "completions", "tcsh"]).code, Some(64));
}

#[test]
fn man_pages_are_printed_or_written_into_a_folder() {
    let folder = Folder::new();
    let page = folder.clickedge(&["generate", "man"]);
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    assert!(page.stdout.contains(".TH clickedge 1") && page.stdout.contains("Exit codes:"), "{}", page.stdout);
    folder.clickedge(&["generate", "man", "--dir", "share/man1"]).succeeds("");
    for name in [
        "clickedge.1",
        "clickedge-serve.1",
        "clickedge-spool-ls.1",
        "clickedge-feed-verify.1",
        "clickedge-feed-policy.1",
        "clickedge-feed-test.1",
        "clickedge-feed-retry.1",
    ] {
        let page = fs::read_to_string(folder.0.path().join("share/man1").join(name)).unwrap();
        assert!(page.contains(".TH "), "{name}: {page}");
    }
    folder.write("file", "");
    assert_eq!(folder.clickedge(&["generate", "man", "--dir", "file/below"]).code, Some(74));
}

#[test]
fn every_shipped_configuration_is_good() {
    let mut checked = 0;
    for entry in fs::read_dir(conf("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let path = path.to_str().unwrap();
            Folder::new().clickedge(&["check", "--without-files", path]).succeeds(&format!("{path}: ok\n"));
            checked += 1;
        }
    }
    assert!(checked > 0);
}

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

/// A folder of its own, in which the binary runs.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn clickedge(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clickedge"));
        let Output { status, stdout, stderr } = command.args(arguments).current_dir(self.0.path()).output().unwrap();
        Answer {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }
}

struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Answer {
    fn succeeds(&self, stdout: &str) {
        assert_eq!((self.stderr.as_str(), self.code), ("", Some(0)));
        assert_eq!(self.stdout, stdout);
    }

    fn fails(&self, code: i32, stderr: &str) {
        assert_eq!(self.stderr, stderr);
        assert_eq!((self.stdout.as_str(), self.code), ("", Some(code)));
    }
}
