//! Case A: `SIGKILL` at random moments under load, sometimes during a clean stop, and during the recovery from the one
//! before. The same with `SIGTERM` shows that it is the kills that cost something, if anything does.
//!
//! `JUDGE_KILLS` sets the rounds, `JUDGE_SEED` repeats a run's moments.

use std::{ops::Range, thread, time::Duration};

use fastrand::Rng;

use super::{finish, setting, two_feeds};
use crate::common::{
    Edge, Stopped,
    load::{BRISK, Load},
    s3::{Fault, S3},
};

#[test]
fn kills_at_random_moments_cost_no_click_and_double_none() {
    deaths("KILL", setting("JUDGE_KILLS", 12));
}

#[test]
fn stops_at_random_moments_cost_no_click_and_double_none() {
    deaths("TERM", 4);
}

fn deaths(signal: &str, rounds: u32) {
    let seed = setting("JUDGE_SEED", fastrand::u64(..));
    println!("{rounds} times SIG{signal}, JUDGE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let mut edge = builder.section("[shutdown]\ngrace_secs = 1\ndrain_secs = 2").start();
    let load = Load::start(edge.address, signal, BRISK);
    let mut in_recovery = 0;
    for round in 1..=rounds {
        load.round(round);
        // A store in trouble leaves uploads half done.
        s3.set(match random.u8(..8) {
            0 => Fault::Unavailable,
            1 => Fault::LostAnswer,
            _ => Fault::Healthy,
        });
        let mut stopped = death(edge, signal, round, 20..700, &mut random);
        while random.u8(..4) == 0 {
            in_recovery += 1;
            stopped = death(stopped.spawn(&[]), signal, round, 20..150, &mut random);
        }
        edge = stopped.restart();
    }
    s3.set(Fault::Healthy);
    load.round(rounds + 1);
    load.wait_for(20);
    let case = format!("{rounds} times SIG{signal}, {in_recovery} more during recovery, seed {seed}");
    finish(&case, edge, load, &buckets).assert_exactly_once();
}

/// Ends the edge after a moment.
pub fn death(edge: Edge, signal: &str, round: u32, millis: Range<u64>, random: &mut Rng) -> Stopped {
    let alive = Duration::from_millis(random.u64(millis));
    thread::sleep(alive);
    if random.u8(..5) == 0 {
        // Like a service manager whose stop timeout has passed.
        edge.signal("TERM");
        thread::sleep(Duration::from_millis(random.u64(..300)));
    }
    edge.note(&format!("round {round}: SIG{signal} after {alive:?}"));
    edge.signal(signal);
    edge.wait()
}
