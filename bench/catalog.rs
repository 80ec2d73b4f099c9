//! A catalog of any size: makes links, and measures what a snapshot of them costs to open and to look up.
//! `bench/catalog.sh` runs both.
//!
//! `cargo bench --features full --bench catalog -- links COUNT` prints links as NDJSON.
//! `cargo bench --features full --bench catalog -- measure FILE COUNT` measures a snapshot of them.
#![allow(clippy::unwrap_used)]

#[path = "catalog/links.rs"]
mod links;

use std::{
    env, fs,
    hint::black_box,
    io::{self, BufWriter, Read, Write},
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
    read_memory(file);
    let before = Instant::now();
    let catalog = open_snapshot(file, &config::Catalog::default()).unwrap();
    println!("open                        {:>9.2} ms", before.elapsed().as_secs_f64() * 1e3);
    println!("links                       {:>9}", catalog.links());
    let hosts: Vec<Host> = (0..links::DOMAINS).map(|n| Host::parse(host(n).as_bytes()).unwrap()).collect();
    let any = |n| mixed(n ^ 1 << 50) % count;
    let present = queries(&hosts, any, |slashtag| slashtag);
    let popular = queries(&hosts, |n| popular(n, count), |slashtag| slashtag);
    let absent = queries(&hosts, any, |slashtag| format!("{slashtag}-"));
    for (what, queries, expected) in
        [("any link", &present, LOOKUPS), ("a popular link", &popular, LOOKUPS), ("a missing link", &absent, 0)]
    {
        // The first round has the page faults.
        rounds(&format!("look-up of {what}"), || {
            let found = queries.iter().filter(|(host, path)| is_found(&catalog, host, path)).count();
            assert_eq!(found as u64, expected, "{what}");
        });
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().filter(|line| line.starts_with("Rss")).for_each(|line| println!("{line}"));
}

/// Reads bytes at random places of the file's first gigabyte in memory, each of which depends on the one before: what
/// the machine's memory takes at this time, next to which look-ups are to be seen.
fn read_memory(file: &Path) {
    let mut bytes = Vec::new();
    fs::File::open(file).unwrap().take(1 << 30).read_to_end(&mut bytes).unwrap();
    let mut place = 0;
    rounds("random read of memory", || {
        for n in 0..LOOKUPS {
            place = mixed(n ^ u64::from(bytes[(place % bytes.len() as u64) as usize]));
        }
    });
    black_box(place);
}

/// Prints nanoseconds of processor time, of which a million times `work` is one round.
fn rounds(what: &str, mut work: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let before = cpu_nanos();
            work();
            (cpu_nanos() - before) as f64 / LOOKUPS as f64
        })
        .collect();
    let first = rounds[0];
    rounds.sort_by(f64::total_cmp);
    println!("{what:<28} {:>9.0} ns (median {:.0}, first {first:.0})", rounds[0], rounds[ROUNDS / 2]);
}

/// Nanoseconds that this thread has run.
fn cpu_nanos() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    status.split(' ').next().unwrap().parse().unwrap()
}

/// A link by its popularity: the one of rank r gets 1/r of the clicks of the first one.
fn popular(n: u64, count: u64) -> u64 {
    let share = (mixed(n ^ 1 << 51) >> 11) as f64 / (1_u64 << 53) as f64;
    mixed((share * (count as f64).ln()).exp() as u64) % count
}

fn queries(hosts: &[Host], choose: impl Fn(u64) -> u64, spell: impl Fn(String) -> String) -> Vec<(&Host, String)> {
    let random = (0..LOOKUPS).map(|n| address(choose(n)));
    random.map(|Address { domain, slashtag }| (&hosts[domain as usize], format!("/{}", spell(slashtag)))).collect()
}

fn is_found(catalog: &Catalog, host: &Host, path: &str) -> bool {
    match catalog.find(host, path.as_bytes()) {
        Ok(Lookup::Found(link, _)) => !black_box(link.destination_bytes()).is_empty(),
        _ => false,
    }
}
