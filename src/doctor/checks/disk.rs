//! The disk of the spool: its kind, its space, its speed.

use super::Case;
use crate::{
    config::Sink,
    doctor::{
        Finding, sizing,
        words::{bytes, millis, secs},
    },
    runtime::Class,
};

/// File systems whose syncs and renames are as the spool needs them.
const SOUND: [&str; 7] = ["ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "ext3"];

/// Mount options with which a sync does not reach the disk.
const UNSAFE: [&str; 3] = ["nobarrier", "barrier=0", "unsafe_io"];

/// A sync of a disk that is slower than this, in microseconds, is worth a remark: a disk that turns, or a busy one.
const SLOW_MICROS: u64 = 20_000;

pub(super) fn file_system(case: &Case) -> Option<Finding> {
    const CHECK: &str = "spool-disk";
    let folder = case.facts.spool.as_ref()?;
    let (path, kind) = (folder.path.display(), folder.kind.as_str());
    Some(if folder.is_in_memory() {
        Finding::problem(
            CHECK,
            format!("`spool.dir` is in memory ({path}): events are lost when the machine restarts"),
            "name a folder on a disk, such as /var/lib/clickedge/spool",
        )
    } else if folder.has("ro") {
        Finding::problem(
            CHECK,
            format!("{path} is mounted read-only: no event reaches the disk, and clicks are dropped"),
            format!("run `mount -o remount,rw {path}`; if the kernel made it so, check the disk (`dmesg`)"),
        )
        .of_class(Class::Io)
    } else if let Some(option) = UNSAFE.iter().find(|option| folder.has(option)) {
        Finding::problem(
            CHECK,
            format!("{path} is mounted with `{option}`: a loss of power loses what was synced"),
            format!("remove `{option}` from /etc/fstab, and mount again"),
        )
    } else if kind == "overlay" {
        Finding::warning(
            CHECK,
            format!("{path} is a layer of a container, and ends with it: what waits for delivery is lost"),
            "mount a volume at `spool.dir`",
        )
    } else if SOUND.contains(&kind) {
        Finding::ok(CHECK, format!("{kind} ({path})"))
    } else {
        Finding::warning(
            CHECK,
            format!("{path} is on {kind}: whether its syncs and renames survive a loss of power is not known"),
            "use a local disk with ext4 or XFS",
        )
    })
}

pub(super) fn space(case: &Case) -> Option<Finding> {
    const CHECK: &str = "spool-space";
    /// Below this, in seconds of clicks, the disk is about to be full.
    const SHORT: u64 = 3_600;
    let folder = case.facts.spool.as_ref()?;
    let spool = &case.config.spool;
    let (room, quota) = (folder.free + folder.used, spool.max_bytes + spool.journal_max_bytes);
    let feeds = sizing::copies(&case.config.feeds).max(1);
    let left = folder.free / (case.plan.clicks_per_second.max(1) * sizing::OBJECT_BYTES * feeds);
    let message = format!(
        "journal and outbox may take {}, and the disk has {}, of which {} are free",
        bytes(quota),
        bytes(room),
        bytes(folder.free)
    );
    Some(if left < SHORT && folder.used < quota {
        let message = format!("{message}: {} of an outage", secs(left));
        Finding::problem(CHECK, message, "free space, or give the spool a disk of its own").of_class(Class::Io)
    } else if room < quota {
        // A disk that is full stops all feeds; a quota that is reached, only the one whose sink is down.
        let fits = room.saturating_sub(spool.journal_max_bytes) / 10 * 9;
        let message = format!("{message}: it is full before the quota is reached, and then all feeds wait");
        let remedy = format!("set `spool.max_bytes` to {fits} ({}) or less, or use a larger disk", bytes(fits));
        Finding::warning(CHECK, message, remedy)
    } else {
        Finding::ok(CHECK, message)
    })
}

pub(super) fn outage(case: &Case) -> Option<Finding> {
    const CHECK: &str = "outage";
    let copies = sizing::copies(&case.config.feeds);
    if copies == 0 || case.config.feeds.iter().all(|feed| matches!(feed.sink, Sink::Dir(_))) {
        return None;
    }
    let (rate, hours) = (case.plan.clicks_per_second.max(1), case.plan.outage_hours);
    let (have, want) = (case.config.spool.max_bytes, case.plan.outbox(copies));
    let lasts = secs(have / (rate * copies * sizing::OBJECT_BYTES));
    let message = format!("{} of waiting objects are {lasts} of {rate} clicks a second", bytes(have));
    Some(if have >= want {
        Finding::ok(CHECK, message)
    } else {
        Finding::warning(
            CHECK,
            format!("{message}; {hours} hours need {}", bytes(want)),
            format!("set `spool.max_bytes` to {}, and see that the disk has it", want.div_ceil(1 << 30) << 30),
        )
    })
}

pub(super) fn journal(case: &Case) -> Option<Finding> {
    const CHECK: &str = "journal";
    if case.config.feeds.is_empty() {
        return None;
    }
    let (have, wait) = (case.config.spool.journal_max_bytes, sizing::wait_secs(&case.config.feeds));
    let want = case.plan.journal(wait);
    let rate = case.plan.clicks_per_second;
    let message = format!("{} for events that wait up to {} for their object", bytes(have), secs(wait));
    Some(if have >= want {
        Finding::ok(CHECK, message)
    } else {
        Finding::warning(
            CHECK,
            format!("{message}; at {rate} clicks a second, objects are made earlier and smaller"),
            format!(
                "set `spool.journal_max_bytes` to {}, or lower `hold_back_secs` of the feeds",
                want.div_ceil(1 << 30) << 30
            ),
        )
    })
}

pub(super) fn syncs(case: &Case) -> Option<Finding> {
    const CHECK: &str = "syncs";
    let syncs = match case.facts.syncs.as_ref()? {
        Ok(syncs) => syncs,
        Err(error) => {
            return Some(Finding::warning(
                CHECK,
                format!("cannot try the disk: {error}"),
                "run this as root, or as the user of the service",
            ));
        }
    };
    let interval = case.config.spool.sync_interval_millis * 1_000;
    let message = format!("median {}, longest {} of {}", millis(syncs.median), millis(syncs.longest), syncs.count);
    Some(if syncs.median > interval {
        Finding::warning(
            CHECK,
            format!(
                "{message}: the journal cannot be synced each `spool.sync_interval_millis`; clicks wait in the rings"
            ),
            format!(
                "give the spool a faster disk, or set `spool.sync_interval_millis` to {}",
                (syncs.median * 2).div_ceil(1_000)
            ),
        )
    } else if syncs.median > SLOW_MICROS {
        Finding::warning(
            CHECK,
            format!("{message}: a slow or a busy disk"),
            "give the spool a disk of its own, best an SSD with protection from power loss",
        )
    } else {
        Finding::ok(CHECK, message)
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{each_is, finding};
    use crate::{
        doctor::{
            Level::{Ok, Problem, Warning},
            facts::{Folder, Syncs},
        },
        runtime::Class,
    };

    fn spool(case: &mut super::super::fixture::Machine) -> &mut Folder {
        case.facts.spool.as_mut().unwrap()
    }

    #[test]
    fn file_systems_that_lose_events_are_problems() {
        each_is(&[
            ("spool-disk", Ok, "ext4 (/var/lib/clickedge/spool)", |_| ()),
            ("spool-disk", Problem, "in memory", |case| spool(case).kind = "tmpfs".into()),
            ("spool-disk", Problem, "remount,rw", |case| spool(case).options.push("ro".into())),
            ("spool-disk", Problem, "`nobarrier`", |case| spool(case).options.push("nobarrier".into())),
            ("spool-disk", Warning, "mount a volume", |case| spool(case).kind = "overlay".into()),
            ("spool-disk", Warning, "is on nfs4", |case| spool(case).kind = "nfs4".into()),
        ]);
        let read_only = finding("spool-disk", |case| spool(case).options.push("ro".into()));
        assert_eq!(read_only.class, Class::Io);
    }

    #[test]
    fn space_is_compared_with_the_quotas() {
        each_is(&[
            ("spool-space", Ok, "100 GiB are free", |_| ()),
            ("spool-space", Warning, "or use a larger disk", |case| spool(case).free = 10 << 30),
            ("spool-space", Problem, "7 seconds of an outage", |case| spool(case).free = 1_000_000),
            ("spool-space", Ok, "are free", |case| (spool(case).free, spool(case).used) = (10 << 30, 20 << 30)),
        ]);
    }

    #[test]
    fn quotas_are_compared_with_the_plan() {
        each_is(&[
            ("outage", Ok, "1000 clicks a second", |_| ()),
            ("outage", Warning, "48 hours need", |case| case.plan.outage_hours = 48),
            ("journal", Ok, "wait up to 5 minutes", |_| ()),
            ("journal", Warning, "earlier and smaller", |case| case.plan.clicks_per_second = 20_000),
        ]);
    }

    #[test]
    fn slow_syncs_are_found() {
        let with = |median, longest| {
            finding("syncs", |case| case.facts.syncs = Some(Result::Ok(Syncs { count: 20, median, longest })))
        };
        assert_eq!(with(900, 5_000).message, "median 0.9 ms, longest 5.0 ms of 20");
        assert_eq!(
            [with(900, 5_000), with(25_000, 30_000), with(150_000, 1)].map(|found| found.level),
            [Ok, Warning, Warning]
        );
        assert!(with(150_000, 1).remedy.unwrap().contains("`spool.sync_interval_millis` to 300"));
        let denied = finding("syncs", |case| case.facts.syncs = Some(Err("permission denied".into())));
        assert_eq!(denied.level, Warning);
    }
}
