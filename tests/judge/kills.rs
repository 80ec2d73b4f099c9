//! Case A: `SIGKILL` at random moments under load, sometimes during a clean stop, and during the recovery from the one
//! before. The same with `SIGTERM` shows that it is the kills that cost something, if anything does. The same in the
//! layout `sequence`: no key is ever added before one that is there already.
//!
//! `JUDGE_KILLS` sets the rounds, `JUDGE_SEED` repeats a run's moments.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    path::PathBuf,
    thread,
    time::Duration,
};

use fastrand::Rng;

use super::{finish, setting, two_feeds, two_feeds_with};
use crate::common::{
    Builder, Edge, Stopped,
    judge::{self, Bucket},
    load::{BRISK, Load},
    s3::{Fault, S3},
};

#[test]
fn kills_at_random_moments_cost_no_click_and_double_none() {
    let s3 = S3::start();
    deaths("KILL", setting("JUDGE_KILLS", 12), &s3, two_feeds(&s3), |_| {});
}

#[test]
fn kills_cost_no_click_of_a_sequence_double_none_and_add_no_key_before_another() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds_with(&s3, "layout = \"sequence\"\nmax_bytes = 4096");
    let mut seen = Arrivals::default();
    deaths("KILL", setting("JUDGE_KILLS", 12), &s3, (builder, buckets.map(Bucket::sequence)), |buckets| {
        seen.look(buckets);
    });
    assert!(seen.0.values().all(|keys| keys.len() > 12), "{:?}", seen.0);
    // Every upload, answered or not: the next begins when the one before is acknowledged.
    let mut sent: Vec<_> = s3.puts().into_iter().map(|put| put.path).filter(|key| !key.contains("/_")).collect();
    let mut known = BTreeSet::new();
    sent.retain(|key| known.insert(key.clone()));
    assert!(sent.is_sorted() && sent.len() > 12, "{sent:?}");
}

#[test]
fn stops_at_random_moments_cost_no_click_and_double_none() {
    let s3 = S3::start();
    deaths("TERM", 4, &s3, two_feeds(&s3), |_| {});
}

/// The keys that were seen in each folder.
#[derive(Default)]
struct Arrivals(BTreeMap<PathBuf, BTreeSet<PathBuf>>);

impl Arrivals {
    /// Looks for new keys, all of which must be behind those that were seen.
    #[track_caller]
    fn look(&mut self, buckets: &[Bucket]) {
        for key in buckets.iter().flat_map(|bucket| judge::objects(&bucket.path)) {
            let keys = self.0.entry(key.parent().unwrap().to_owned()).or_default();
            // In the order of the keys: what was added now is behind, too.
            assert!(keys.contains(&key) || keys.last() < Some(&key), "{} came late", key.display());
            keys.insert(key);
        }
    }
}

fn deaths(
    signal: &str,
    rounds: u32,
    s3: &S3,
    (builder, buckets): (Builder, [Bucket; 2]),
    mut after_round: impl FnMut(&[Bucket]),
) {
    let seed = setting("JUDGE_SEED", fastrand::u64(..));
    println!("{rounds} times SIG{signal}, JUDGE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
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
        after_round(&buckets);
        edge = stopped.restart();
    }
    s3.set(Fault::Healthy);
    load.round(rounds + 1);
    load.wait_for(20);
    let case = format!("{rounds} times SIG{signal}, {in_recovery} more during recovery, seed {seed}");
    finish(&case, edge, load, &buckets).assert_exactly_once();
    after_round(&buckets);
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
