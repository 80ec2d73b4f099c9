//! Accuracy of browser, system and device on lists of real agent strings: `cargo bench --features full --bench agents
//! -- LIST...`, where the lists are files that the caller has gathered.
//!
//! A list has a case a line, its fields separated by tabs:
//!
//! ```text
//! agent string, browser, system, device, and any of name=value
//! ```
//! Browser and system are slugs, with a version after a space where the list has one; a device is a name of the schema.
//! `-` means that the list has no value, and is not counted. The names: `weight` (a share of real traffic; 1 when
//! absent), and the client hints in the form of their headers: `brands`, `platform`, `platform-version`,
//! `form-factors`, `mobile`, `requested-with`.
//!
//! Prints, for each list, the number of strings that are detected as bots (without more about them; see
//! `bench/accuracy.rs`), of the others the share of right answers by weight, and the most frequent disagreements of all
//! lists, each with one of its strings. A number before the lists sets how many.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
};

use clickedge::{
    event::{Device, Named},
    visitor::agent::{
        AgentFacts,
        hints::{Hints, overlay},
        parse,
    },
};

/// Disagreements that are printed for each field.
const SHOWN: usize = 40;

const FIELDS: [&str; 5] = ["browser", "its version", "system", "its version", "device"];

/// Weights of one field: right answers, and values in the list.
type Score = [(f64, f64); FIELDS.len()];

/// By field, expected and found value: weight, count, a string.
type Misses = HashMap<(usize, String, String), (f64, u32, String)>;

fn main() {
    let mut args: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let shown = args.first().and_then(|arg| arg.parse().ok()).inspect(|_| drop(args.remove(0))).unwrap_or(SHOWN);
    let mut misses = Misses::new();
    println!("{:28} {:>7} {:>5} {}", "list", "strings", "bots", FIELDS.map(|field| format!("{field:>11}")).concat());
    for path in &args {
        let list = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut score = Score::default();
        let bots = list.lines().filter(|line| !score_line(line, &mut score, &mut misses)).count();
        let share = |(right, all): (f64, f64)| if all > 0.0 { 100.0 * right / all } else { f64::NAN };
        let shares = score.map(|score| format!("{:>9.2} %", share(score)).replace("NaN %", "-  "));
        let name = path.rsplit('/').next().unwrap_or(path);
        println!("{name:28} {:>7} {bots:>5} {}", list.lines().count(), shares.concat());
    }
    print(misses, shown);
}

/// False for a bot.
fn score_line(line: &str, score: &mut Score, misses: &mut Misses) -> bool {
    let mut fields = line.split('\t');
    let mut field = || fields.next().unwrap_or("-");
    let (agent, browser, os, device) = (field(), field(), field(), field());
    let more: BTreeMap<&str, &str> = fields.filter_map(|field| field.split_once('=')).collect();
    let text = |name| more.get(name).map_or(&b""[..], |text| text.as_bytes());
    let hints = Hints {
        brands: text("brands"),
        platform: text("platform"),
        platform_version: text("platform-version"),
        form_factors: text("form-factors"),
        mobile: match text("mobile") {
            b"?1" => Some(true),
            b"?0" => Some(false),
            _ => None,
        },
        requested_with: text("requested-with"),
    };
    let facts = overlay(&parse(agent), &hints);
    if facts.bot.is_some() {
        return false;
    }
    let weight = more.get("weight").map_or(1.0, |weight| weight.parse().unwrap());
    let mut count = |field: usize, expected: &str, found: &str, right: bool| {
        score[field].1 += weight;
        if right {
            score[field].0 += weight;
        } else {
            let miss = misses.entry((field, expected.to_owned(), found.to_owned())).or_default();
            *miss = (miss.0 + weight, miss.1 + 1, line.to_owned());
        }
    };
    for (field, expected, found) in [(0, browser, named(facts.browser.as_ref())), (2, os, named(facts.os.as_ref()))] {
        let (name, version) = expected.split_once(' ').unwrap_or((expected, ""));
        if name != "-" {
            count(field, name, &found.0, name == found.0);
        }
        if !version.is_empty() && name == found.0 {
            count(field + 1, name, &found.1, same(version, &found.1));
        }
    }
    if device != "-" {
        let found = device_name(&facts);
        count(4, device, &found, device == found);
    }
    true
}

fn named(named: Option<&Named>) -> (String, String) {
    named.map_or(("-".into(), String::new()), |named| {
        (named.name.to_string(), named.version.clone().unwrap_or_default())
    })
}

fn device_name(facts: &AgentFacts) -> String {
    facts.device.map_or("-", Device::name).to_owned()
}

/// Lists shorten versions in different ways: the shorter one must be a prefix of the longer one, zeros left out.
fn same(expected: &str, found: &str) -> bool {
    let parts = |version: &str| version.trim_end_matches(".0").split('.').map(str::to_owned).collect::<Vec<_>>();
    !found.is_empty() && parts(expected).iter().zip(parts(found)).all(|(a, b)| *a == b)
}

fn print(misses: Misses, shown: usize) {
    let mut sorted: Vec<_> = misses.into_iter().collect();
    sorted.sort_by(|a, b| b.1.0.total_cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
    for (number, field) in FIELDS.iter().enumerate() {
        println!(
            "\n{field}{}: expected, found, weight, strings, one of them",
            if number % 2 == 1 { format!(" of the {}", FIELDS[number - 1]) } else { String::new() }
        );
        for ((_, expected, found), (weight, count, agent)) in
            sorted.iter().filter(|miss| miss.0.0 == number).take(shown)
        {
            println!("{expected:22} {found:22} {weight:9.4} {count:5}  {agent}");
        }
    }
}
