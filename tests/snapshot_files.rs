//! `clickedge catalog build` and what examines snapshots: as an operator runs them.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use clickedge::{
    catalog::{
        Catalog, CatalogStore,
        change::{Change, Condition, Operation},
    },
    config,
};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{
    cli::{Outcome, clickedge},
    link,
};

const DATA: i32 = 65;
const NO_INPUT: i32 = 66;
const IO: i32 = 74;

/// A folder with files, and the command in it.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs `clickedge catalog`. Words that name a file of the folder, or end in one of these names, are paths.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let arguments: Vec<_> = arguments.iter().map(|word| self.argument(word)).collect();
        let arguments: Vec<&str> = ["catalog"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        clickedge(&arguments)
    }

    fn argument(&self, word: &str) -> String {
        let is_file = [".ndjson", ".json", ".gz", ".zst", ".snapshot", ".toml"].iter().any(|end| word.ends_with(end));
        if is_file { self.path(word).display().to_string() } else { word.into() }
    }

    /// Builds a snapshot. Returns what it holds.
    fn build(&self, arguments: &[&str]) -> Value {
        self.run(&[&["build", "--json"], arguments].concat()).json()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<Value> {
    let to = |n| format!("https://www.example.com/{n}");
    numbers.into_iter().map(|n| link(&format!("go{}.brand.com", n % 3), &format!("l{n}"), &to(n))).collect()
}

fn ndjson(links: &[Value]) -> String {
    links.iter().map(|link| format!("{link}\n")).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_of_every_form_become_one_snapshot_that_can_be_examined() {
    let files = Files::new();
    let domain = json!({"kind": "domain", "fullName": "go0.brand.com", "notFound": "https://www.example.com/none"});
    files.write("plain.ndjson", ndjson(&numbered(0..10)));
    files.write("array.json", Value::Array(numbered(10..20)).to_string());
    files.write("a.gz", gzip(&ndjson(&numbered(20..30))));
    files.write("b.zst", zstd::encode_all(format!("{}{domain}\n", ndjson(&numbered(30..40))).as_bytes(), 1).unwrap());
    let inputs = ["plain.ndjson", "array.json", "a.gz", "b.zst"];
    let built = files.build(&[&inputs[..], &["-o", "all.snapshot", "--generation", "7"]].concat());
    assert_eq!(
        (&built["links"], &built["domains"], &built["generation"], &built["lines"], &built["rejected"]),
        (&json!(40), &json!(3), &json!(7), &json!(41), &json!(0))
    );
    let stat = files.run(&["stat", "all.snapshot", "--json"]).json();
    for name in ["hash", "checksum", "links", "activeLinks", "revision", "bytes", "builtAt"] {
        assert_eq!(stat[name], built[name], "{name}");
    }
    assert_eq!(stat["bytes"], fs::metadata(files.path("all.snapshot")).unwrap().len());
    let text = files.run(&["stat", "all.snapshot"]).ok();
    assert!(text.contains("generation   7\n") && text.contains("links        40\n"), "{text}");
    assert_eq!(files.run(&["verify", "all.snapshot", "--json"]).json()["hash"], stat["hash"]);
    for expected in numbered([0, 15, 29, 38]) {
        let (host, slashtag) =
            (expected["domain"]["fullName"].as_str().unwrap(), expected["slashtag"].as_str().unwrap());
        let found = files.run(&["lookup", "all.snapshot", &format!("https://{host}/{slashtag}")]).json();
        assert_eq!(found["destination"], expected["destination"]);
        assert_eq!(found["creator"], expected["creator"]);
        assert_eq!(found["tags"], expected["tags"]);
    }
    files.run(&["lookup", "all.snapshot", "go0.brand.com/none"]).fails(DATA, "has no link go0.brand.com/none");
    files.run(&["lookup", "all.snapshot", "go0.brand.com"]).fails(64, "such as go.brand.com/spring");
}

#[test]
fn the_hash_is_that_of_the_content_whatever_the_order_the_memory_and_the_number_of_files() {
    let files = Files::new();
    let mut links = numbered(0..12_000);
    files.write("in.ndjson", ndjson(&links));
    let hash = |arguments: &[&str]| files.build(arguments)["hash"].clone();
    let whole = hash(&["in.ndjson", "-o", "whole.snapshot"]);
    links.reverse();
    let (first, second) = links.split_at(5_000);
    files.write("first.ndjson", ndjson(first));
    files.write("second.ndjson", ndjson(second));
    // The links have more than 2 MiB.
    let spilled = hash(&["first.ndjson", "second.ndjson", "-o", "spilled.snapshot", "--memory", "1"]);
    assert_eq!(spilled, whole);
    assert_eq!(hash(&["spilled.snapshot", "-o", "again.snapshot"]), whole);
    files.run(&["verify", "spilled.snapshot"]).ok();
    assert_eq!(files.run(&["diff", "whole.snapshot", "spilled.snapshot"]).ok(), "");
    links[3]["destination"] = json!("https://www.example.com/other");
    files.write("in.ndjson", ndjson(&links));
    assert_ne!(hash(&["in.ndjson", "-o", "other.snapshot"]), whole);
    let left: Vec<_> = files.names().into_iter().filter(|name| name.starts_with('.')).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn lines_that_are_left_out_are_in_a_file_with_line_reason_and_text() {
    let files = Files::new();
    let mut bad = link("go0.brand.com", "bad", "ftp://www.example.com/");
    bad["tags"] = json!([]);
    files.write("good.ndjson", format!("\n{}", ndjson(&numbered(0..300))));
    files
        .write("some.ndjson", format!("{}{bad}\n{{\"id\":\n{}", ndjson(&numbered(300..303)), ndjson(&numbered([7]))));
    let built = files.build(&["good.ndjson", "some.ndjson", "-o", "out.snapshot", "--rejects", "rejects.ndjson"]);
    assert_eq!((&built["links"], &built["lines"], &built["rejected"]), (&json!(303), &json!(306), &json!(3)));
    let rejects = files.read("rejects.ndjson");
    let file = files.path("some.ndjson").display().to_string();
    let lines: Vec<_> = rejects.iter().map(|reject| (reject["file"].clone(), reject["line"].as_u64())).collect();
    assert_eq!(lines, [(json!(file), Some(4)), (json!(file), Some(5)), (json!(file), Some(6))]);
    let reason = |number: usize| rejects[number]["reason"].as_str().unwrap();
    assert!(reason(0).contains("`destination`") && reason(2).contains("\"l7\""), "{rejects:?}");
    assert_eq!(rejects[0]["text"], bad.to_string());
    assert_eq!(rejects[1]["text"], "{\"id\":");

    // Without the file they are on standard error.
    let outcome = files.run(&["build", "good.ndjson", "some.ndjson", "-o", "out.snapshot"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("some.ndjson, line 5: "), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("303 links of 3 domains") && outcome.stdout.contains("3 lines rejected"));
}

#[test]
fn a_build_that_fails_leaves_the_former_snapshot_and_no_other_file() {
    let files = Files::new();
    files.write("good.ndjson", ndjson(&numbered(0..10)));
    let before = files.build(&["good.ndjson", "-o", "out.snapshot"]);
    files.write("bad.ndjson", format!("{}{{}}\n", ndjson(&numbered(0..10))));
    files.write("cut.gz", &gzip(&ndjson(&numbered(0..1_000)))[..2_000]);
    files.write("cut.json", "[{\"id\": \"x\"");
    let names = files.names();
    files.run(&["build", "bad.ndjson", "-o", "out.snapshot"]).fails(DATA, "1 of 11 lines are bad");
    files.run(&["build", "bad.ndjson", "-o", "out.snapshot"]).fails(DATA, "bad.ndjson, line 11: ");
    files.run(&["build", "cut.gz", "-o", "out.snapshot"]).fails(DATA, "truncated");
    files.run(&["build", "good.ndjson", "cut.json", "-o", "out.snapshot"]).fails(DATA, "ends");
    files.run(&["build", "none.ndjson", "-o", "out.snapshot"]).fails(NO_INPUT, "none.ndjson");
    files.run(&["build", "good.ndjson", "-o", "none/out.snapshot"]).fails(IO, "none/out.snapshot");
    files.run(&["build", "good.ndjson", "-o", "out.snapshot", "--changes", "none"]).fails(NO_INPUT, "none");
    let empty = tempfile::tempdir().unwrap();
    let state = empty.path().display().to_string();
    files.run(&["build", "good.ndjson", "-o", "out.snapshot", "--changes", &state]).fails(NO_INPUT, "changes.log");
    assert_eq!(files.run(&["stat", "out.snapshot", "--json"]).json()["hash"], before["hash"]);
    assert_eq!(files.names(), names);
}

#[test]
fn damage_is_found_wherever_it_is() {
    let files = Files::new();
    files.write("in.ndjson", ndjson(&numbered(0..50)));
    files.build(&["in.ndjson", "-o", "whole.snapshot"]);
    let whole = fs::read(files.path("whole.snapshot")).unwrap();
    for at in (0..whole.len()).step_by(211).chain([whole.len() - 1]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        files.write("damaged.snapshot", damaged);
        let outcome = files.run(&["verify", "damaged.snapshot"]);
        assert_eq!(outcome.code, DATA, "byte {at}: {outcome:?}");
        assert!(outcome.stderr.contains("damaged.snapshot"), "{}", outcome.stderr);
    }
    for length in [0, 7, 100, 1_023, 1_024, whole.len() - 1] {
        files.write("cut.snapshot", &whole[..length]);
        for command in ["verify", "stat"] {
            assert_eq!(files.run(&[command, "cut.snapshot"]).code, DATA, "{command} of {length} bytes");
        }
    }
    files.run(&["stat", "in.ndjson"]).fails(DATA, "clickedge catalog build");
    files.run(&["verify", "none.snapshot"]).fails(NO_INPUT, "none.snapshot");
}

#[test]
fn a_difference_is_what_was_added_changed_and_removed() {
    let files = Files::new();
    let domain = |to: &str| json!({"kind": "domain", "fullName": "go0.brand.com", "root": to}).to_string();
    let before = numbered(0..6);
    let mut after = numbered(1..8);
    after[2]["tags"] = json!([]);
    files.write("before.ndjson", format!("{}\n{}", domain("https://www.example.com/1"), ndjson(&before)));
    files.write("after.ndjson", format!("{}{}\n", ndjson(&after), domain("https://www.example.com/2")));
    files.build(&["after.ndjson", "-o", "after.snapshot"]);
    let lines = files.run(&["diff", "before.ndjson", "after.snapshot"]).events();
    let of = |change: &str, side: &str| {
        let mut names: Vec<String> = lines
            .iter()
            .filter(|line| line["change"] == change)
            .map(|line| line[side]["slashtag"].as_str().unwrap_or("a domain").to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(of("added", "after"), ["l6", "l7"]);
    assert_eq!(of("removed", "before"), ["l0"]);
    assert_eq!(of("changed", "after"), ["a domain", "l3"]);
    let changed = lines.iter().find(|line| line["after"]["slashtag"] == "l3").unwrap();
    assert_eq!((&changed["before"]["tags"], &changed["after"]["tags"]), (&before[3]["tags"], &Value::Null));
    let counts = files.run(&["diff", "before.ndjson", "after.snapshot", "--counts", "--json"]).json();
    assert_eq!(counts["links"], json!({"added": 2, "changed": 1, "removed": 1}));
    assert_eq!(counts["domains"], json!({"added": 0, "changed": 1, "removed": 0}));
    let text = files.run(&["diff", "after.snapshot", "after.ndjson", "--counts"]).ok();
    assert_eq!(text, "links: 0 added, 0 changed, 0 removed\ndomains: 0 added, 0 changed, 0 removed\n");
}

#[test]
fn changes_of_an_edge_become_part_of_its_next_snapshot() {
    let files = Files::new();
    files.write("in.ndjson", ndjson(&numbered(0..20)));
    files.build(&["in.ndjson", "-o", "base.snapshot"]);
    let state_dir = files.path("state");
    let config = config::Catalog { state_dir: Some(state_dir.clone()), ..config::Catalog::default() };
    let store = Arc::new(CatalogStore::of(Catalog::empty(), &config));
    store.install(&files.path("base.snapshot"), true).unwrap();
    store.open_log().unwrap();
    let mut changed = numbered([3]).remove(0);
    changed["destination"] = json!("https://www.example.com/changed");
    let domain = json!({"kind": "domain", "fullName": "new.brand.com", "root": "https://www.example.com/"});
    let operations = [
        Operation::PutLink { link: changed.to_string() },
        Operation::PutLink { link: link("new.brand.com", "new", "https://www.example.com/new").to_string() },
        Operation::DeleteLink { domain: "go2.brand.com".into(), slashtag: "l5".into() },
        Operation::PutDomain { domain: domain.to_string() },
    ];
    for operation in operations {
        let prepared = store.prepare(&[Change { operation, condition: Condition::Always }]);
        assert!(prepared.outcomes[0].is_ok(), "{:?}", prepared.outcomes);
        store.commit(prepared).unwrap().unwrap();
    }
    let state = state_dir.display().to_string();
    for input in ["base.snapshot", "in.ndjson"] {
        let built = files.build(&[input, "-o", "next.snapshot", "--changes", &state]);
        assert_eq!((built["links"].as_u64(), built["revision"].as_u64()), (Some(20), Some(4)), "{input}");
        assert_eq!(built["hash"], store.position().hash.to_string(), "{input}");
        files.run(&["verify", "next.snapshot"]).ok();
    }
    // An edge that takes it has nothing left to make again.
    store.install(&files.path("next.snapshot"), false).unwrap();
    assert_eq!(store.position().revision, 4);
    // What has no change left in the log is in that snapshot only.
    let lacks = files.run(&["build", "in.ndjson", "-o", "again.snapshot", "--changes", &state]);
    lacks.fails(DATA, "the inputs lack changes of the API, up to number 4");
    files.build(&["in.ndjson", "-o", "plain.snapshot", "--generation", "4000000000"]);
    let state_file = state_dir.join("base.snapshot").display().to_string();
    let before = files.run(&["stat", &state_file, "--json"]).json()["generation"].clone();
    let plain = config::Catalog { file: files.path("plain.snapshot"), ..config.clone() };
    let text = store.read_with(&plain).err().unwrap().to_string();
    assert!(text.contains("lacks changes of the API, up to number 4") && text.contains("--accept"), "{text}");
    assert_eq!(files.run(&["stat", &state_file, "--json"]).json()["generation"], before, "the private copy stays");
    store.set_accept(true);
    assert!(store.read_with(&plain).is_ok(), "an operator can go without them");
    store.set_accept(false);
    let again = files.build(&["next.snapshot", "-o", "again.snapshot", "--changes", &state]);
    assert_eq!((again["revision"].as_u64(), &again["hash"]), (Some(4), &json!(store.position().hash.to_string())));
}

fn piped(files: &Files, text: &str, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clickedge"));
    let arguments: Vec<_> = arguments.iter().map(|word| files.argument(word)).collect();
    let command = command.args(["catalog", "build", "-", "--json"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A build that fails closes the pipe.
    _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_pipe_is_an_input_like_any_other_and_need_not_be_kept_if_domains_come_first() {
    let files = Files::new();
    let domain = json!({"kind": "domain", "fullName": "go0.brand.com", "case": "insensitive"}).to_string() + "\n";
    let links = ndjson(&numbered(0..1_000));
    let last = piped(&files, &(links.clone() + &domain), &["-o", "last.snapshot"]).json();
    let first = piped(&files, &(domain.clone() + &links), &["-o", "first.snapshot", "--domains-first"]).json();
    assert_eq!(last["hash"], first["hash"]);
    let late = piped(&files, &(links + &domain), &["-o", "late.snapshot", "--domains-first"]);
    late.fails(DATA, "without --domains-first");
    assert!(!files.path("late.snapshot").exists() && Path::new("/dev/stdin").exists());
}

#[test]
fn loops_are_reported_and_switched_off_where_the_configuration_says_so() {
    let files = Files::new();
    let loop_of = |from: &str, to: &str| link("go0.brand.com", from, &format!("https://go0.brand.com/{to}"));
    files.write("in.ndjson", ndjson(&[loop_of("a", "b"), loop_of("b", "a"), loop_of("c", "d")]));
    let built = files.run(&["build", "in.ndjson", "-o", "kept.snapshot", "--json"]);
    assert!(built.stderr.contains("go0.brand.com/a -> "), "{}", built.stderr);
    assert!(built.stdout.contains("browsers give up"), "{}", built.stdout);
    let feed = "[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"feeds\"\n";
    let listener = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";
    files.write("edge.toml", format!("{listener}[catalog]\nfile = \"in.ndjson\"\nloops = \"disable\"\n{feed}"));
    let built = files.run(&["build", "in.ndjson", "-o", "off.snapshot", "--json", "--config", "edge.toml"]);
    assert!(built.stdout.contains("switched off"), "{}", built.stdout);
    files.run(&["verify", "off.snapshot"]).ok();
}

#[test]
fn a_snapshot_of_a_snapshot_folds_slashtags_as_the_first_one() {
    let files = Files::new();
    let feed = "[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"feeds\"\n";
    let listener = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";
    let domain = "[catalog.domains.\"go0.brand.com\"]\ncase = \"insensitive\"\n";
    files.write("edge.toml", format!("{listener}{domain}{feed}"));
    files.write("in.ndjson", ndjson(&[link("go0.brand.com", "Spring", "https://www.example.com/")]));
    let built = files.build(&["in.ndjson", "-o", "first.snapshot", "--config", "edge.toml"]);
    for option in [&[][..], &["--domains-first"]] {
        let again = files.build(&[&["first.snapshot", "-o", "again.snapshot"], option].concat());
        assert_eq!(again["hash"], built["hash"]);
        let found = files.run(&["lookup", "again.snapshot", "go0.brand.com/SPRING"]).json();
        assert_eq!(found["slashtag"], "Spring");
    }
}

#[test]
fn a_domain_without_links_has_none_of_another_domain() {
    let files = Files::new();
    let domain = |host: &str| json!({"kind": "domain", "fullName": host}).to_string();
    let [first, last] = [domain("a.brand.com"), domain("z.brand.com")];
    let spring = link("go0.brand.com", "spring", "https://www.example.com/");
    files.write("in.ndjson", format!("{first}\n{spring}\n{last}\n"));
    files.build(&["in.ndjson", "-o", "out.snapshot"]);
    assert_eq!(files.run(&["lookup", "out.snapshot", "go0.brand.com/spring"]).json()["slashtag"], "spring");
    for host in ["a.brand.com", "z.brand.com"] {
        files.run(&["lookup", "out.snapshot", &format!("{host}/spring")]).fails(DATA, "has no link");
    }
}

#[test]
fn a_build_writes_over_nothing_that_it_reads() {
    let files = Files::new();
    let text = ndjson(&numbered(0..3));
    files.write("in.ndjson", &text);
    files.build(&["in.ndjson", "-o", "old.snapshot"]);
    let old = fs::read(files.path("old.snapshot")).unwrap();
    std::os::unix::fs::symlink(files.path("in.ndjson"), files.path("link.ndjson")).unwrap();
    let state = files.path("state");
    fs::create_dir(&state).unwrap();
    fs::write(state.join("changes.log"), "").unwrap();
    let (state, log) = (state.display().to_string(), state.join("changes.log").display().to_string());
    let cases: [&[&str]; 6] = [
        &["in.ndjson", "-o", "in.ndjson"],
        &["link.ndjson", "-o", "in.ndjson"],
        &["old.snapshot", "in.ndjson", "-o", "old.snapshot"],
        &["in.ndjson", "-o", "new.snapshot", "--rejects", "link.ndjson"],
        &["in.ndjson", "-o", &log, "--changes", &state],
        &["in.ndjson", "-o", "new.snapshot", "--rejects", "new.snapshot"],
    ];
    for arguments in cases {
        files.run(&[&["build"], arguments].concat()).fails(64, "name another file");
    }
    assert_eq!(fs::read_to_string(files.path("in.ndjson")).unwrap(), text);
    assert!(fs::read(files.path("old.snapshot")).unwrap() == old && !files.path("new.snapshot").exists());
    files.build(&["in.ndjson", "-o", "old.snapshot", "--rejects", "rejects.ndjson"]);
}
