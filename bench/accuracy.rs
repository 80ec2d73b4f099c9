//! Accuracy of the bot detection, on lists of agent strings, one a line:
//!
//! ```text
//! cargo bench --features full --bench accuracy -- --bots FILE... --humans FILE... [--crawlers JSON] [--misses]
//! ```
//! Prints the recall on each list of bots and the false positives on each list of humans, next to those of woothee
//! alone, and of the operator's file (`--crawlers`) alone. `--misses` prints the strings that were misclassified.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::{collections::BTreeMap, fs, path::PathBuf, process::ExitCode, time::Instant};

use clickedge::visitor::bot::CrawlerLists;
use woothee::parser::Parser;

#[derive(Default)]
struct Arguments {
    bots: Vec<PathBuf>,
    humans: Vec<PathBuf>,
    crawlers: Option<PathBuf>,
    misses: bool,
}

/// A function that decides whether an agent string is a bot's.
type Detector<'a> = (&'static str, Box<dyn Fn(&str) -> bool + 'a>);

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("usage: accuracy --bots FILE... --humans FILE... [--crawlers JSON] [--misses]");
        return ExitCode::SUCCESS;
    };
    let builtin = CrawlerLists::default();
    let with_file = arguments.crawlers.as_ref().map(|file| CrawlerLists::read(Some(file), &[]).unwrap());
    let mut detectors: Vec<Detector<'_>> = vec![
        ("built in", Box::new(|agent| builtin.from_agent(agent).is_some())),
        (
            "woothee",
            Box::new(|agent| {
                Parser::new()
                    .parse(agent)
                    .is_some_and(|parsed| parsed.category == "crawler" || parsed.name == "HTTP Library")
            }),
        ),
    ];
    if let Some(lists) = &with_file {
        detectors.push(("with file", Box::new(|agent| lists.from_agent(agent).is_some())));
        detectors.push((
            "file alone",
            Box::new(|agent| lists.community().is_some_and(|list| list.detect(agent).is_some())),
        ));
    }
    for (what, files, expected) in [("recall", &arguments.bots, true), ("false positives", &arguments.humans, false)]
    {
        print!("{what:<34} {:>7}", "strings");
        for (name, _) in &detectors {
            print!(" {name:>12}");
        }
        println!();
        let mut total = (0, vec![0; detectors.len()]);
        for file in files {
            let text = fs::read_to_string(file).unwrap();
            let agents: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let counts: Vec<usize> =
                detectors.iter().map(|(_, is_bot)| agents.iter().filter(|agent| is_bot(agent)).count()).collect();
            row(&file.file_name().unwrap().to_string_lossy(), agents.len(), &counts);
            total.0 += agents.len();
            total.1.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            if arguments.misses {
                agents
                    .iter()
                    .filter(|agent| detectors[0].1(agent) != expected)
                    .for_each(|agent| println!("  | {agent}"));
            }
        }
        row("all", total.0, &total.1);
    }
    speed(&arguments, &detectors);
    ExitCode::SUCCESS
}

fn row(name: &str, agents: usize, counts: &[usize]) {
    print!("{name:<34} {agents:>7}");
    for &count in counts {
        print!(" {:>10.2} %", 100.0 * count as f64 / agents.max(1) as f64);
    }
    println!();
}

/// Cost of an agent string for each detector; those of humans matter, as they are the common ones.
fn speed(arguments: &Arguments, detectors: &[Detector<'_>]) {
    let texts: Vec<_> = arguments.humans.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let agents: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
    let mut times = BTreeMap::new();
    for (name, is_bot) in detectors {
        let began = Instant::now();
        std::hint::black_box(agents.iter().filter(|agent| is_bot(agent)).count());
        times.insert(name, began.elapsed().as_nanos() / agents.len().max(1) as u128);
    }
    println!("nanoseconds an agent string of humans: {times:?}");
}

fn arguments() -> Option<Arguments> {
    let mut arguments = Arguments::default();
    let mut kind = "";
    // `cargo bench` adds `--bench` of its own.
    let given: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    for argument in &given {
        match argument.as_str() {
            "--misses" => arguments.misses = true,
            flag if flag.starts_with("--") => kind = flag,
            file => match kind {
                "--bots" => arguments.bots.push(file.into()),
                "--humans" => arguments.humans.push(file.into()),
                "--crawlers" => arguments.crawlers = Some(file.into()),
                _ => return None,
            },
        }
    }
    (!arguments.bots.is_empty() || !arguments.humans.is_empty()).then_some(arguments)
}
