//! A catalog of any size: makes links, and measures what a snapshot of them costs to open and to look up.
//! `bench/catalog.sh` runs both.
//!
//! `cargo bench --bench catalog -- links COUNT` prints links as NDJSON.
//! `cargo bench --bench catalog -- measure FILE COUNT` measures a snapshot of them.
#![allow(clippy::unwrap_used)]

#[path = "catalog/links.rs"]
mod links;

use std::{
    env, fs,
    hint::black_box,
    io::{self, BufWriter, Write},
    path::Path,
    time::Instant,
};

use clickedge::{
    catalog::{Catalog, Lookup, build::open_snapshot},
    config,
    link::Host,
};
use links::{Address, address, host, mixed};

const ROUNDS: usize = 7;
const LOOKUPS: u64 = 1_000_000;

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["links", count] => {
            let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
            let count = count.parse().unwrap();
            (0..count).try_for_each(|n| links::write(n, &mut out)).and_then(|()| out.flush()).unwrap();
        }
        ["measure", file, count] => measure(Path::new(file), count.parse().unwrap()),
        _ => println!("arguments: links COUNT | measure FILE COUNT"),
    }
}

fn measure(file: &Path, count: u64) {
    let before = Instant::now();
    let catalog = open_snapshot(file, &config::Catalog::default()).unwrap();
    println!("open                        {:>9.2} ms", before.elapsed().as_secs_f64() * 1e3);
    println!("links                       {:>9}", catalog.links());
    let hosts: Vec<Host> = (0..links::DOMAINS).map(|n| Host::parse(host(n).as_bytes()).unwrap()).collect();
    let present = queries(count, &hosts, |slashtag| slashtag);
    let absent = queries(count, &hosts, |slashtag| format!("{slashtag}-"));
    // The first round has the page faults.
    for (what, queries, expected) in [("present", &present, LOOKUPS), ("missing", &absent, 0)] {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let before = Instant::now();
                let found = queries.iter().filter(|(host, path)| is_found(&catalog, host, path)).count();
                assert_eq!(found as u64, expected, "{what}");
                before.elapsed().as_nanos() as f64 / LOOKUPS as f64
            })
            .collect();
        let first = rounds[0];
        rounds.sort_by(f64::total_cmp);
        let (least, median) = (rounds[0], rounds[ROUNDS / 2]);
        println!("look-up of a {what} link   {least:>9.0} ns (median {median:.0}, first {first:.0})");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|line| line.starts_with("Rss")).for_each(|line| println!("{line}"));
}

fn queries(count: u64, hosts: &[Host], spell: impl Fn(String) -> String) -> Vec<(&Host, String)> {
    let random = (0..LOOKUPS).map(|n| address(mixed(n ^ 1 << 50) % count));
    random.map(|Address { domain, slashtag }| (&hosts[domain as usize], format!("/{}", spell(slashtag)))).collect()
}

fn is_found(catalog: &Catalog, host: &Host, path: &str) -> bool {
    match catalog.find(host, path.as_bytes()) {
        Ok(Lookup::Found(link, _)) => !black_box(link.destination_bytes()).is_empty(),
        _ => false,
    }
}
