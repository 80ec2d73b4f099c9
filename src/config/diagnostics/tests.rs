//! The messages, word for word.

use super::*;

/// Sound, except for what a test adds at its end.
const SOUND: &str = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n\n[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\n\
                     sink.dir.path = \"out\"\n";

fn whole_rejection(text: &str) -> String {
    let file = Path::new("conf/x.toml");
    let read = Parsed::new(text, file, &folder(file), User::Serve).and_then(Parsed::config);
    read.unwrap_err().to_string()
}

/// Without the findings on missing listeners and feeds.
fn rejection(text: &str) -> String {
    let whole = whole_rejection(text);
    let blocks = whole.split("\n\n").filter(|block| !block.contains("` is empty, so "));
    blocks.collect::<Vec<_>>().join("\n\n")
}

fn rejection_after_sound(end: &str) -> String {
    rejection(&format!("{SOUND}{end}"))
}

#[test]
fn a_value_out_of_range_is_shown_with_caret_and_remedy() {
    assert_eq!(
        rejection_after_sound("compression.gzip.level = 3\n\nmax_age_secs = 0\n"),
        "\
error: conf/x.toml:10:16: `feeds[0].max_age_secs` must be between 1 and 3600, is 0
   |
10 | max_age_secs = 0
   |                ^ write how many seconds an event may wait for its object, such as 60"
    );
}

#[test]
fn all_findings_come_at_once_in_the_order_of_the_file() {
    assert_eq!(
        rejection_after_sound("max_bytes = 5\n[catalog]\nmax_bad_ratio = 1.5\nfile = 7\n[edge]\nthreds = 2\n"),
        "\
error: conf/x.toml:8:13: `feeds[0].max_bytes` must be between 1024 and 1073741824, is 5
  |
8 | max_bytes = 5
  |             ^ write how large an object may grow, such as 16777216 (16 MiB)

error: conf/x.toml:10:17: `catalog.max_bad_ratio` must be between 0 and 1, is 1.5
   |
10 | max_bad_ratio = 1.5
   |                 ^^^ write a share, such as 0.05 for five in a hundred

error: conf/x.toml:11:8: `catalog.file` must be a text, is 7
   |
11 | file = 7
   |        ^ put it in double quotes

error: conf/x.toml:13:1: unknown key `threds` in `edge`
   |
13 | threds = 2
   | ^^^^^^ did you mean `threads`? expected `pop`, `threads` or `fast_lane`"
    );
}

fn places_and_messages(text: &str) -> Vec<(usize, String)> {
    let Err(ConfigError::Invalid(found)) = from_str(text, Path::new("x.toml")) else { panic!("not rejected") };
    found.into_iter().map(|found| (found.line, found.message)).collect()
}

#[test]
fn what_follows_from_a_value_of_a_wrong_type_is_not_reported() {
    // Each of these keys is needed, and the rest of the feed cannot be read without it.
    for end in ["name = 5\nworkspaces = []\nsink.dir.path = 'x'", "name = 'x'\nworkspaces = []\nsink.dir.path = 5"] {
        let found = places_and_messages(&format!("{SOUND}[[feeds]]\n{end}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.ends_with("must be a text, is 5"), "{found:?}");
    }
    let nested = "[[feeds]]\nname = 'x'\nworkspaces = ['*']\n[feeds.sink.s3]\nbucket = 'abc'\nregion = 5\n";
    let found = places_and_messages(&format!("{SOUND}{nested}"));
    assert_eq!(found, [(13, "`feeds[1].sink.s3.region` must be a text, is 5".to_owned())]);
    // Nor is a key missing that has a typing error.
    let found = places_and_messages("[[listeners]]\nadress = '127.0.0.1:8080'\n");
    let errors: Vec<_> = found.iter().filter(|(_, message)| !message.contains("`feeds`")).collect();
    assert_eq!(errors, [&(2, "unknown key `adress` in `listeners[0]`".to_owned())]);
}

#[test]
fn every_item_of_a_list_is_read() {
    let text = "[[listeners]]\naddress = 1\n[[listeners]]\n[[listeners]]\naddress = '127.0.0.1:8080'\ntls = [{}]\n";
    let found = places_and_messages(text);
    let messages: Vec<_> = found.iter().map(|(line, message)| (*line, message.as_str())).collect();
    assert_eq!(
        &messages[..3],
        [
            (2, "`listeners[0].address` must be an IP address and a port, is 1"),
            (3, "`listeners[1]` lacks `address`"),
            (6, "`listeners[2].tls[0]` lacks `certificate_file`"),
        ]
    );
}

#[test]
fn rules_do_not_apply_to_values_that_could_not_be_read() {
    let text = format!(
        "{SOUND}[capture]\ndir = 1\n[spool]\ndir = '/run/clickedge'\n\
         [quality]\nblock = ['spam-referrer']\n[enrich]\nspammers_file = 1\n\
         [stats]\nhours_days = 'x'\ndays = 5\n[admin]\naddress = '127.0.0.1:8080'\n"
    );
    let found: Vec<_> = places_and_messages(&text).into_iter().map(|(line, _)| line).collect();
    assert_eq!(found, [9, 15, 17, 20], "three types, and the address of the admin listener");
}

#[test]
fn an_unknown_key_is_answered_with_the_nearest_known_one() {
    assert_eq!(
        rejection("[edge]\nthreds = 4\n"),
        "\
error: conf/x.toml:2:1: unknown key `threds` in `edge`
  |
2 | threds = 4
  | ^^^^^^ did you mean `threads`? expected `pop`, `threads` or `fast_lane`"
    );
}

#[test]
fn an_unknown_key_without_a_near_one_gets_the_list() {
    assert_eq!(
        rejection("[[listeners]]\naddress = \"127.0.0.1:1\"\nkeepalive = 4\n"),
        "\
error: conf/x.toml:3:1: unknown key `keepalive` in `listeners[0]`
  |
3 | keepalive = 4
  | ^^^^^^^^^ expected `address`, `tls`, `certificates_dir`, `acme`, `alpn`, `proxy_protocol` or `redirect_to_https`"
    );
}

#[test]
fn an_unknown_key_of_a_choice_is_rejected_like_any_other() {
    assert_eq!(
        rejection_after_sound("compression = { gzip = { level = 3, levle = 4 } }\n"),
        "\
error: conf/x.toml:8:37: unknown key `levle` in `feeds[0].compression.gzip`
  |
8 | compression = { gzip = { level = 3, levle = 4 } }
  |                                     ^^^^^ expected `level`"
    );
}

#[test]
fn a_wrong_type_names_the_right_one() {
    assert_eq!(
        rejection("[edge]\nthreads = \"four\"\n"),
        "\
error: conf/x.toml:2:11: `edge.threads` must be a whole number from 0, is \"four\"
  |
2 | threads = \"four\"
  |           ^^^^^^ write digits without quotes, such as 60"
    );
}

#[test]
fn an_unknown_choice_gets_the_choices() {
    assert_eq!(
        rejection("telemetry = { log_level = \"wran\" }"),
        "\
error: conf/x.toml:1:27: `telemetry.log_level` cannot be \"wran\"
  |
1 | telemetry = { log_level = \"wran\" }
  |                           ^^^^^^ expected `error`, `warn`, `info`, `debug` or `trace`"
    );
}

#[test]
fn a_missing_key_is_reported_at_its_section() {
    assert_eq!(
        rejection("[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\n\n[feeds.sink.s3]\nregion = \"eu-west-1\"\n"),
        "\
error: conf/x.toml:5:1: `feeds[0].sink.s3` lacks `bucket`
  |
5 | [feeds.sink.s3]
  | ^^^^^^^^^^^^^^^ add `bucket = ...` here"
    );
}

#[test]
fn a_missing_section_is_reported_at_the_start_of_the_file() {
    assert_eq!(
        whole_rejection("[edge]\n[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"out\"\n"),
        "\
error: conf/x.toml:1:1: `listeners` is empty, so nothing would answer clicks
  |
1 | [edge]
  | ^ add a section `[[listeners]]` with `address = \"0.0.0.0:8080\"`"
    );
}

#[test]
fn an_address_is_explained() {
    assert_eq!(
        rejection("[admin]\naddress = \"localhost:9180\"\n"),
        "\
error: conf/x.toml:2:11: `admin.address` must be an IP address and a port, is \"localhost:9180\"
  |
2 | address = \"localhost:9180\"
  |           ^^^^^^^^^^^^^^^^ write it like `127.0.0.1:8080` or `[::1]:8080`"
    );
}

#[test]
fn broken_syntax_is_shown_where_it_breaks() {
    assert_eq!(
        rejection("[edge]\npop = ams1\n"),
        "\
error: conf/x.toml:2:7: this is not TOML: string values must be quoted, expected literal string
  |
2 | pop = ams1
  |       ^^^^ correct the syntax here"
    );
}

#[test]
fn a_key_that_is_set_twice_is_rejected() {
    assert_eq!(
        rejection("[edge]\npop = \"a\"\npop = \"b\"\n"),
        "\
error: conf/x.toml:3:1: `pop` is set a second time
  |
3 | pop = \"b\"
  | ^^^ keep one of the two"
    );
}

#[test]
fn tabs_and_letters_of_several_bytes_do_not_move_the_caret() {
    assert_eq!(
        rejection("\tedge = { pop = \"zürich\", threads = -1 }\r\n"),
        "\
error: conf/x.toml:1:17: `edge.pop` must be 1 to 63 lower-case letters, digits and inner `-`, is \"zürich\"
  |
1 | \tedge = { pop = \"zürich\", threads = -1 }
  | \t               ^^^^^^^^ write it like `ams1`

error: conf/x.toml:1:37: `edge.threads` must be a whole number from 0, is -1
  |
1 | \tedge = { pop = \"zürich\", threads = -1 }
  | \t                                   ^^ write digits without quotes, such as 60"
    );
}

#[test]
fn warnings_are_shown_after_errors_and_never_reject_alone() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:8080\"\n";
    assert!(from_str(text, Path::new("x.toml")).is_ok());
    assert_eq!(
        whole_rejection(&format!("{text}[edge]\npop = \"Ams\"\n")),
        "\
error: conf/x.toml:4:7: `edge.pop` must be 1 to 63 lower-case letters, digits and inner `-`, is \"Ams\"
  |
4 | pop = \"Ams\"
  |       ^^^^^ write it like `ams1`

warning: conf/x.toml:1:1: `feeds` is empty, so clicks are answered and their events go nowhere
  |
1 | [[listeners]]
  | ^ add a section `[[feeds]]`, see `clickedge generate config`"
    );
}

#[test]
fn paths_are_taken_from_the_folder_of_the_file() {
    let config = from_str(SOUND, Path::new("/etc/clickedge/x.toml")).unwrap();
    assert_eq!(config.catalog.file, Path::new("/etc/clickedge/links.ndjson"));
    assert_eq!(config.spool.dir, Path::new("/var/lib/clickedge/spool"));
    let relative = from_str(SOUND, Path::new("x.toml")).unwrap();
    assert!(relative.catalog.file.is_absolute(), "{}", relative.catalog.file.display());
}

#[test]
fn a_text_is_read_for_a_program_that_has_its_own_listeners_and_sinks() {
    let feed = |sink: &str| format!("[[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\n{sink}\n");
    let own = feed("sink.custom.name = \"archive\"");
    let config = parse(&own, Path::new("/srv/program")).unwrap();
    assert_eq!(config.catalog.file, Path::new("/srv/program/links.ndjson"));
    assert_eq!(config.feeds[0].sink, crate::config::Sink::Custom(crate::config::Custom::new("archive")));
    assert!(parse(&own, Path::new("program")).unwrap().catalog.file.is_absolute());
    let error = parse(&feed("sink.custom.name = \"My sink\""), Path::new("/srv")).unwrap_err().to_string();
    assert!(error.starts_with("error: <text>:4:20: `feeds[0].sink.custom.name` must be 1 to 63 "), "{error}");
    let error = whole_rejection(&format!("[[listeners]]\naddress = \"127.0.0.1:8080\"\n{own}"));
    let expected = "error: conf/x.toml:6:6: `feeds[0].sink.custom` names the sink \"archive\", which only a program that \
                    embeds the pipeline can provide";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_missing_file_is_a_read_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(&folder.path().join("none.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(error.to_string().ends_with("none.toml: cannot be read: No such file or directory (os error 2)"));
}

#[test]
fn a_file_that_is_not_utf_8_is_rejected_at_the_first_bad_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latin1.toml");
    fs::write(&file, b"[edge]\npop = \"z\xfcrich\"\n").unwrap();
    let Err(ConfigError::Invalid(diagnostics)) = load(&file) else { panic!("it was read") };
    assert_eq!((diagnostics[0].line, diagnostics[0].column), (2, 9));
}

#[test]
fn no_prefix_of_a_file_causes_a_panic() {
    let text = crate::config::generate::default_toml() + "é = \"\u{1f600}\"";
    // Every prefix of the first part, and then a sample: parsing them all takes too long.
    for end in (0..600).chain((600..text.len()).step_by(97)) {
        if let Err(error) = from_str(text.get(..end).unwrap_or_default(), Path::new("x.toml")) {
            assert!(!error.to_string().is_empty());
        }
    }
}
