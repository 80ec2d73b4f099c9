//! Inputs that are nearly right: a corpus, changed at random. No input may make a parser panic or take long; a request
//! is answered alike on both ways, and never is one taken for two. `FUZZ_SECS` says how long each target runs.

mod mutate;
mod parsers;
mod requests;

use std::{
    fs::File,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    time::{Duration, Instant},
};

use fastrand::Rng;

/// Longest time for one input, on a slow machine that does other things.
const SLOW: Duration = Duration::from_secs(20);

/// How long a target runs.
fn time() -> Duration {
    let secs = std::env::var("FUZZ_SECS").map_or(1.0, |secs| secs.parse().unwrap());
    Duration::from_secs_f64(secs)
}

/// A new seed for each run; `FUZZ_SEED` repeats one.
fn random(target: &str) -> Rng {
    let seed = std::env::var("FUZZ_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("fuzz: {target}, FUZZ_SEED={seed}");
    Rng::with_seed(seed)
}

/// Runs a target on changed inputs until its time is over. The input with which it fails is printed.
fn fuzz(target: &str, corpus: &[Vec<u8>], words: &[&[u8]], mut case: impl FnMut(&[u8])) {
    let (mut random, until, mut cases) = (random(target), Instant::now() + time(), 0_u64);
    // The corpus itself first.
    for input in corpus {
        run(target, input, &mut case);
    }
    while Instant::now() < until {
        run(target, &mutate::mutated(&mut random, corpus, words), &mut case);
        cases += 1;
    }
    println!("fuzz: {target}: {cases} cases");
}

fn run(target: &str, input: &[u8], case: &mut impl FnMut(&[u8])) {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| case(input)));
    let took = began.elapsed();
    if result.is_err() || took > SLOW {
        let path = std::env::temp_dir().join(format!("clickedge-fuzz-{target}"));
        let _ = File::create(&path).and_then(|mut file| file.write_all(input));
        let start = &input[..input.len().min(4_096)];
        eprintln!("fuzz: {target} after {took:?}, whole in {}: {}", path.display(), start.escape_ascii());
    }
    match result {
        Ok(()) => assert!(took <= SLOW, "{took:?}"),
        Err(panic) => resume_unwind(panic),
    }
}
