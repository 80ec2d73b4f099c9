//! Case C: a disk that is full, frozen or read-only, and comes back: redirects continue, clicks wait in the rings, and
//! what does not fit into them is counted.

use std::{thread, time::Duration};

use super::{finish, finish_with, two_feeds};
use crate::common::{
    disk::{Frozen, SmallDisk, Volume},
    judge::Numbers,
    load::{LIGHT, Load, Pace},
    s3::S3,
};

/// The smallest journal that the configuration takes: it has to fit on these disks.
const JOURNAL: &str = "journal_max_bytes = 16777216";

/// How long a disk is away, at least.
const AWAY: Duration = Duration::from_millis(1_500);

/// A disk that is large enough for what a case writes, and fills fast.
const KIB: usize = 64 << 10;

/// Redirects continue for a while.
#[track_caller]
fn redirects_continue(load: &Load) {
    load.wait_for(20);
    thread::sleep(AWAY);
    load.wait_for(20);
}

#[test]
fn a_full_disk_costs_no_click_and_doubles_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let disk = match SmallDisk::mount(&builder.dir().join("spool"), KIB) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.spool(JOURNAL).start();
    let load = Load::start(edge.address, "full", LIGHT);
    load.wait_for(50);
    for round in [2, 4] {
        load.round(round);
        disk.fill();
        redirects_continue(&load);
        load.round(round + 1);
        disk.free();
        redirects_continue(&load);
    }
    assert_eq!(Numbers::of(&edge).dropped(), 0, "nothing is dropped as the rings have room");
    finish("a full disk", edge, load, &buckets).assert_exactly_once();
}

#[test]
fn a_kill_on_a_full_disk_costs_no_click_and_doubles_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let disk = match SmallDisk::mount(&builder.dir().join("spool"), KIB) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.spool(JOURNAL).start();
    let load = Load::start(edge.address, "full-kill", LIGHT);
    load.wait_for(50);
    load.round(2);
    disk.fill();
    redirects_continue(&load);
    let stopped = edge.kill();
    disk.free();
    load.round(3);
    let edge = stopped.restart();
    load.wait_for(50);
    let recovered = Numbers::of(&edge).recovered();
    finish("a kill on a full disk", edge, load, &buckets).assert_exactly_once();
    assert!(recovered >= 40, "what waited in the rings was found there: {recovered}");
}

#[test]
fn rings_that_overflow_count_what_they_cannot_take() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let disk = match SmallDisk::mount(&builder.dir().join("spool"), KIB) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: no small disk can be mounted here: {error}"),
    };
    let edge = builder.spool(JOURNAL).capture("ring_bytes = 1048576").start();
    // A click of 6 kB each: a ring of 1 MiB takes less than 200.
    let pace = Pace { connections: 4, pause: Duration::from_micros(500), noise: 6_000 };
    let load = Load::start(edge.address, "overflow", pace);
    load.wait_for(20);
    load.round(2);
    disk.fill();
    edge.wait_until("the rings are full", |edge| Numbers::of(edge).clicks_dropped("ring_full") > 100);
    load.wait_for(50);
    disk.free();
    load.round(3);
    load.wait_for(50);
    let mut ledger = load.stop();
    // Read, and released: a click more must find room.
    edge.wait_until("the rings are empty", |edge| {
        edge.metric("clickedge_ring_clicks") == 0 && edge.metric("clickedge_ring_held_bytes") == 0
    });
    let numbers = Numbers::of(&edge);
    let dropped = numbers.clicks_dropped("ring_full") as usize;
    assert_eq!(numbers.dropped() as usize, dropped, "nothing is dropped for another reason");
    let verdict = finish_with("rings that overflow", edge, &mut ledger, &buckets);
    verdict.assert_at_most_once();
    for (feed, lost) in &verdict.lost {
        assert_eq!(lost.len(), dropped, "{feed}: every lost click is counted, and no other\n{verdict}");
    }
}

/// Like a disk on which no file can be made or renamed: an open segment of the journal can still be written.
#[test]
fn folders_that_are_frozen_for_a_while_cost_no_click_and_double_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let edge = builder.spool(JOURNAL).start();
    let load = Load::start(edge.address, "frozen", LIGHT);
    load.wait_for(50);
    let spool = edge.dir().join("spool");
    load.round(2);
    let frozen = match Frozen::freeze(&spool) {
        Ok(frozen) => frozen,
        Err(error) => return eprintln!("skipped: no folder can be frozen here: {error}"),
    };
    redirects_continue(&load);
    drop(frozen);
    load.round(3);
    redirects_continue(&load);
    assert_eq!(Numbers::of(&edge).dropped(), 0, "nothing is dropped as the rings have room");
    finish("frozen folders", edge, load, &buckets).assert_exactly_once();
}

/// A file system turns read-only under its open files after an error of its disk. The kernel denies `remount,ro` while
/// files are open for writing, so an ext4 on an image file is aborted; it comes back by another mount, which only a
/// new process sees.
#[test]
fn a_file_system_that_turns_read_only_costs_no_click_and_doubles_none() {
    let s3 = S3::start();
    let (builder, buckets) = two_feeds(&s3);
    let volume = match Volume::mount(&builder.dir().join("image"), &builder.dir().join("spool"), 64) {
        Ok(volume) => volume,
        Err(error) => return eprintln!("skipped: no ext4 image can be mounted here: {error}"),
    };
    let edge = builder.spool(JOURNAL).start();
    let load = Load::start(edge.address, "read-only", LIGHT);
    load.wait_for(50);
    // What was not synced yet goes with the disk, as at a loss of power. So the visitors rest for some syncs.
    load.rest();
    thread::sleep(Duration::from_millis(500));
    if let Err(error) = volume.abort() {
        return eprintln!("skipped: no file system can be aborted here: {error}");
    }
    load.round(2);
    load.resume();
    redirects_continue(&load);
    let stopped = edge.kill();
    if let Err(error) = volume.repair() {
        return eprintln!("skipped: the file system cannot be mounted again: {error}");
    }
    load.round(3);
    let edge = stopped.restart();
    load.wait_for(50);
    finish("a read-only file system", edge, load, &buckets).assert_exactly_once();
}
