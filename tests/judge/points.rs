//! Case B: death at each named point of the flow: at its first pass, at a later one, and at the first of the recovery.

use std::{
    thread,
    time::{Duration, Instant},
};

use clickedge::runtime::failpoint::FAIL_POINTS;

use super::{finish, two_feeds};
use crate::common::{
    Edge, Stopped, judge,
    load::{LIGHT, Load},
    s3::S3,
};

/// Every point is passed within seconds.
const SOON: Duration = Duration::from_secs(15);

const DIE_AT: &str = "CLICKEDGE_DIE_AT";

/// Waits until it has died at its point.
#[track_caller]
fn death(mut edge: Edge, trap: &str) -> Stopped {
    let until = Instant::now() + SOON;
    while !edge.has_ended() {
        let log = || judge::last_lines(&edge.log());
        assert!(Instant::now() < until, "it never came to {trap}\n{}", log());
        thread::sleep(Duration::from_millis(5));
    }
    let stopped = edge.wait();
    let signal = std::os::unix::process::ExitStatusExt::signal(&stopped.status);
    assert_eq!(signal, Some(9), "{trap}: {}\n{}", stopped.status, judge::last_lines(&stopped.log()));
    stopped
}

fn die_at(point: &str, later: u32) {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    // A start without a trap, so that the load knows where to go.
    let edge = builder.start();
    let load = Load::start(edge.address, point, LIGHT);
    load.wait_for(10);
    let mut stopped = edge.kill();
    // The first pass of a start is that of the recovery, if this point is on its way, and else that of a fresh click.
    for (round, pass) in [(2, 1), (3, later), (4, 1)] {
        load.round(round);
        let trap = format!("{point}:{pass}");
        let edge = stopped.spawn(&[(DIE_AT, &trap)]);
        edge.note(&format!("round {round}: dies at {trap}"));
        stopped = death(edge, &trap);
    }
    load.round(5);
    let edge = stopped.restart();
    load.wait_for(10);
    finish(&format!("death at {point}"), edge, load, &buckets).assert_exactly_once();
}

macro_rules! deaths {
    ($($test:ident: $point:literal, $later:literal;)*) => {
        $(
            #[test]
            fn $test() {
                die_at($point, $later);
            }
        )*

        #[test]
        fn every_point_has_its_case() {
            assert_eq!([$($point),*], FAIL_POINTS);
        }
    };
}

deaths! {
    death_after_a_capture: "captured", 40;
    death_after_an_enrichment: "enriched", 40;
    death_after_a_write_of_the_journal: "journal_written", 5;
    death_after_a_sync_of_the_journal: "journal_synced", 4;
    death_before_a_commit_of_counts: "counting", 2;
    death_after_a_commit_of_counts: "counted", 2;
    death_after_an_object_is_sealed: "sealed", 3;
    death_after_an_object_is_renamed: "renamed", 3;
    death_after_an_upload_is_sent: "put_sent", 3;
    death_after_an_upload_is_acknowledged: "put_acknowledged", 3;
    death_after_an_object_is_deleted: "deleted", 3;
}
