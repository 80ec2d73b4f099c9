//! Case A over the other sinks: `SIGKILL` at random moments, with a folder, a webhook and a NATS stream as feeds. The
//! receiver stores each `webhook-id` once, as the specification asks of it, and the stream drops messages whose id it
//! knows; a consumer that does no more sees each event exactly once. The NATS server is killed, too.
//!
//! `JUDGE_KILLS` sets the rounds, `JUDGE_SEED` repeats a run's moments.

use fastrand::Rng;

use super::{finish_with, kills::death, setting};
use crate::common::{
    Edge,
    judge::{self, Bucket},
    load::{BRISK, Load},
    nats::Nats,
    webhook::{Fault, Receiver},
};

#[test]
fn kills_cost_no_click_of_a_webhook_or_a_stream_and_double_none() {
    let seed = setting("JUDGE_SEED", fastrand::u64(..));
    let rounds = setting("JUDGE_KILLS", 12);
    println!("{rounds} times SIGKILL, webhook and NATS, JUDGE_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let receiver = Receiver::start();
    // Every request is split at first, in the same places each time.
    receiver.accept_at_most(7);
    let mut nats = Nats::start("");
    let builder = Edge::builder();
    let dir = format!("manifest_secs = 2\nsink.dir.path = '{}'", builder.bucket("dir").display());
    let (copied, dir_bucket) = (builder.dir().join("stream"), Bucket::new("dir", builder.bucket("dir")));
    let mut buckets = vec![dir_bucket, Bucket::of_events("hook", receiver.root())];
    let hook = receiver.sink_toml("request_timeout_secs = 2\nmax_events = 20");
    let mut builder = builder.feed_into("dir", &["*"], &dir).feed_into("hook", &["*"], &hook);
    if let Some(nats) = &nats {
        nats.make_stream(|_| {});
        builder = builder.feed_into("nats", &["*"], &nats.sink_toml("ack_timeout_secs = 2"));
        buckets.push(Bucket::of_events("nats", &copied));
    }
    let mut edge = builder.section("[shutdown]\ngrace_secs = 1\ndrain_secs = 2").start();
    let load = Load::start(edge.address, "hooks", BRISK);
    let mut in_recovery = 0;
    for round in 1..=rounds {
        load.round(round);
        receiver.set(match random.u8(..8) {
            0 => Fault::Answer(503, &[]),
            1 => Fault::LostAnswer,
            2 => Fault::Only(random.usize(..4)),
            _ => Fault::Healthy,
        });
        if let Some(nats) = &mut nats
            && random.u8(..4) == 0
        {
            nats.kill();
            nats.restart();
        }
        let mut stopped = death(edge, "KILL", round, 20..700, &mut random);
        while random.u8(..4) == 0 {
            in_recovery += 1;
            stopped = death(stopped.spawn(&[]), "KILL", round, 20..150, &mut random);
        }
        edge = stopped.restart();
    }
    receiver.set(Fault::Healthy);
    load.round(rounds + 1);
    load.wait_for(20);
    let mut ledger = load.stop();
    let copy = nats.as_ref().map(|nats| nats.copy_into(&copied));
    judge::settle(&edge, &mut ledger, &buckets);
    if let Some(copy) = &copy {
        copy.catch_up();
    }
    let case = format!("{rounds} times SIGKILL over other sinks, {in_recovery} more during recovery, seed {seed}");
    finish_with(&case, edge, &mut ledger, &buckets).assert_exactly_once();
    receiver.assert_sound();
}
