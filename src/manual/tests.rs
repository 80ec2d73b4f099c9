//! Holds the manual to the code: examples load, generated tables are current, links lead somewhere.

use std::{collections::BTreeSet, env, fs, path::Path};

use crate::{
    admin::{Readiness, links::ApiMetrics},
    config::diagnostics,
    doctor::sizing,
    event::{BotClass, BotReason, Invalid, JSON_SCHEMA, Reason, Verdict},
    link::rule,
    listener::front::metrics::FrontMetrics,
    pipeline,
    redirect::click_limits::ClickLimitMetrics,
    runtime::Class,
    server::otlp::OtlpMetrics,
    tls::Acme,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manual");

/// What a fragment leaves out and a configuration needs.
const REQUIRED: &str = r#"
listeners = [{ address = "127.0.0.1:8080" }]
feeds = [{ name = "all", workspaces = ["*"], sink = { dir = { path = "feeds" } } }]
"#;

#[test]
fn every_toml_example_is_a_valid_configuration() {
    let mut examples = 0;
    for (name, text) in chapters() {
        for (line, block) in blocks(&text, "toml") {
            let fragment: toml::Table = block.parse().unwrap_or_else(|error| panic!("{name}:{line}: {error}"));
            let mut whole: toml::Table = REQUIRED.parse().unwrap();
            whole.extend(fragment);
            let whole = toml::to_string(&whole).unwrap();
            if let Err(error) = diagnostics::from_str(&whole, Path::new("/etc/clickedge/clickedge.toml")) {
                panic!("{name}:{line}: {error}");
            }
            examples += 1;
        }
    }
    assert!(examples > 10, "only {examples} examples were found");
}

#[test]
fn every_json_example_parses() {
    for (name, text) in chapters() {
        for (line, block) in blocks(&text, "json") {
            for value in serde_json::Deserializer::from_str(block).into_iter::<serde_json::Value>() {
                value.unwrap_or_else(|error| panic!("{name}:{line}: {error}"));
            }
        }
    }
}

#[test]
fn generated_tables_are_current() {
    let tables = [
        ("quality.md", "reasons", reasons()),
        ("quality.md", "invalid", invalid()),
        ("quality.md", "bots", bots()),
        ("quality.md", "bot-classes", bot_classes()),
        ("rules.md", "slugs", slugs()),
        ("operations.md", "exit-codes", exit_codes()),
        ("operations.md", "metrics", metrics()),
        ("tuning.md", "figures", table(&["what", "figure", "measured by"], sizing::figures())),
        ("tuning.md", "settings", table(&sizing::SETTINGS, sizing::settings())),
        ("tuning.md", "outages", table(&sizing::OUTAGES, sizing::outages())),
    ];
    let marked: usize = chapters().iter().map(|(_, text)| text.matches("<!-- generated: ").count()).sum();
    assert_eq!(marked, tables.len(), "tables that are marked as generated");
    let mut outdated = Vec::new();
    for (chapter, name, table) in tables {
        let file = Path::new(FOLDER).join(chapter);
        let text = fs::read_to_string(&file).unwrap();
        let current = with_table(&text, name, &table);
        if current == text {
            continue;
        }
        if env::var_os("UPDATE_MANUAL").is_some() {
            // Whole at any moment: other tests read it.
            let draft = file.with_extension("md.new");
            fs::write(&draft, current).unwrap();
            fs::rename(&draft, &file).unwrap();
        } else {
            outdated.push(format!("{name} in {chapter}"));
        }
    }
    assert!(outdated.is_empty(), "out of date: {outdated:?}; run `make manual`");
}

#[test]
fn every_reason_of_the_schema_has_a_class_with_its_source() {
    let text = fs::read_to_string(Path::new(FOLDER).join("quality.md")).unwrap();
    let table = text.split("<!-- generated: invalid -->").nth(1).unwrap().split("<!-- end -->").next().unwrap();
    let schema: serde_json::Value = serde_json::from_str(JSON_SCHEMA).unwrap();
    let lists = [
        ("", "/properties/quality/properties/reasons/items/examples"),
        ("bot: ", "/properties/client/properties/agent/properties/bot/properties/reason/examples"),
    ];
    for (kind, list) in lists {
        for reason in schema.pointer(list).unwrap().as_array().unwrap() {
            let start = format!("| {kind}`{}`", reason.as_str().unwrap());
            let row = table.lines().find(|row| row.starts_with(&start)).unwrap_or_else(|| panic!("no row {start}"));
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            assert!(["general", "sophisticated", ""].contains(&cells[2]) && !cells[3].is_empty(), "{row}");
        }
    }
}

#[test]
fn every_drop_reason_is_explained() {
    let text = fs::read_to_string(Path::new(FOLDER).join("operations.md")).unwrap();
    let exposition = exposition();
    let reasons = exposition
        .lines()
        .filter(|line| line.starts_with("clickedge_clicks_dropped_total{"))
        .filter_map(|line| line.split('"').nth(1));
    let mut count = 0;
    for reason in reasons {
        assert!(text.contains(&format!("\n| `{reason}` | ")), "no row for `{reason}` in operations.md");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn every_metric_that_is_named_exists() {
    let exposition = exposition();
    for (name, text) in chapters() {
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if let Some(metric) = word.strip_prefix("clickedge_")
                // Packages have the version behind the name.
                && metric.starts_with(|c: char| c.is_ascii_lowercase())
            {
                let parts = ["_bucket", "_count", "_sum"].iter().filter_map(|part| word.strip_suffix(part));
                let has = |kind: &str, name: &str| exposition.contains(&format!("# TYPE {name} {kind}"));
                let exists = has("", word) || parts.into_iter().any(|family| has("histogram", family));
                assert!(exists, "{name}: there is no metric {word}");
            }
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<_> = ["README.md", "CHANGELOG.md", "tests/README.md", "bench/README.md"]
        .into_iter()
        .chain([".github/CONTRIBUTING.md", ".github/SECURITY.md"])
        .map(|name| root.join(name))
        .collect();
    documents.extend(chapters().into_iter().map(|(name, _)| Path::new(FOLDER).join(name)));
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let shown = document.display();
            assert!(path.exists(), "{shown}: {target} is missing");
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&path).unwrap());
                assert!(anchors.contains(anchor), "{shown}: no heading for {target} among {anchors:?}");
            }
        }
    }
}

/// Name and text of each chapter.
fn chapters() -> Vec<(String, String)> {
    let mut chapters: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    chapters.sort();
    chapters
}

/// The fenced blocks of a language, each with the line that it begins in.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, &'a str)> {
    let fence = format!("```{language}\n");
    let starts = text.match_indices(&fence);
    starts
        .map(|(at, _)| {
            let block = &text[at + fence.len()..];
            let end = block.find("\n```").expect("the block ends");
            (text[..at].lines().count() + 1, &block[..=end])
        })
        .collect()
}

/// Anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
                .collect::<String>()
                .replace(' ', "-")
        })
        .collect()
}

fn with_table(text: &str, name: &str, table: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("no place for the table {name}")) + begin.len();
    let end = start + text[start..].find("<!-- end -->").expect("the table ends");
    format!("{}\n{table}\n{}", &text[..start], &text[end..])
}

fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut out = line(head) + &format!("|{}\n", "---|".repeat(head.len()));
    for row in rows {
        assert_eq!(row.len(), head.len());
        out += &line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
    out
}

fn reasons() -> String {
    let rows = Reason::ALL.into_iter().map(|reason| {
        let verdict = match reason.verdict_at_high_confidence() {
            Verdict::Clean => "clean",
            Verdict::Suspicious => "suspicious",
            Verdict::Malicious => "malicious",
        };
        vec![format!("`{}`", reason.slug()), verdict.to_owned(), reason.meaning().to_owned()]
    });
    table(&["reason", "verdict", "meaning"], rows)
}

fn invalid() -> String {
    let of_reasons = Reason::ALL.into_iter().map(|reason| {
        let class = reason.invalid_at_high_confidence().map_or("", Invalid::name);
        vec![format!("`{}`", reason.slug()), class.to_owned(), reason.invalid_source().to_owned()]
    });
    let of_bots = BotReason::ALL.into_iter().flat_map(|bot| {
        let row = |how: &str, is_declared| {
            let (class, source) = (bot.invalid(is_declared), bot.invalid_source(is_declared));
            vec![format!("bot: `{}`{how}", bot.name()), class.name().to_owned(), source.to_owned()]
        };
        if bot.invalid(true) == bot.invalid(false) {
            vec![row("", true)]
        } else {
            vec![row("", true), row(", posing as a browser", false)]
        }
    });
    table(&["reason", "invalid", "source"], of_reasons.chain(of_bots))
}

fn slugs() -> String {
    let row = |(condition, slugs): (&str, &[&str])| {
        let slugs: Vec<_> = slugs.iter().map(|slug| format!("`{slug}`")).collect();
        vec![format!("`{condition}`"), slugs.join(", ")]
    };
    table(&["condition", "slugs"], rule::slugs().into_iter().map(row))
}

fn bots() -> String {
    let rows = BotReason::ALL.into_iter().map(|bot| vec![format!("`{}`", bot.name()), bot.meaning().to_owned()]);
    table(&["`agent.bot.reason`", "evidence"], rows)
}

fn bot_classes() -> String {
    let rows = BotClass::ALL.into_iter().map(|bot| vec![format!("`{}`", bot.name()), bot.meaning().to_owned()]);
    table(&["`agent.bot.class`", "meaning"], rows)
}

fn exit_codes() -> String {
    let done = vec!["0".to_owned(), "done".to_owned()];
    let classes =
        Class::ALL.map(|class| vec![class.exit_code().to_string(), format!("{}: {}", class.name(), class.meaning())]);
    table(&["code", "meaning"], [done].into_iter().chain(classes))
}

/// All metrics of an edge that has just started.
fn exposition() -> String {
    pipeline::exposition(|registry| {
        FrontMetrics::new(registry);
        ClickLimitMetrics::new(registry);
        Acme::new(registry, || None);
        ApiMetrics::new(registry);
        Readiness::new(registry);
        OtlpMetrics::new(registry);
    })
}

fn metrics() -> String {
    let exposition = exposition();
    let mut rows = Vec::new();
    let mut help = "";
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            rows.push(vec![
                format!("`{name}`"),
                kind.to_owned(),
                labels(&exposition, name),
                help.replace('|', "\\|"),
            ]);
        }
    }
    table(&["metric", "type", "labels", "meaning"], rows)
}

/// Names of the labels of the first sample, without the bounds of a histogram.
fn labels(exposition: &str, name: &str) -> String {
    // The samples of a histogram have names of their own.
    let starts = [format!("{name}{{"), format!("{name}_bucket{{")];
    let start = starts.iter().find(|start| exposition.lines().any(|line| line.starts_with(start.as_str())));
    let Some(start) = start else { return String::new() };
    let Some(sample) = exposition.lines().find_map(|line| line.strip_prefix(start.as_str())) else {
        return String::new();
    };
    let labels = sample.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
    let labels = labels.filter(|label| label.trim_start_matches(',') != "le");
    labels.map(|label| format!("`{}`", label.trim_start_matches(','))).collect::<Vec<_>>().join(", ")
}
