//! Memory: room for the rings, and that addresses in it never reach a disk.

use super::{Case, drop_in, service::whose};
use crate::{
    doctor::{Finding, facts::Limit, sizing, words::bytes},
    runtime::Class,
};

pub(super) fn rings(case: &Case) -> Option<Finding> {
    const CHECK: &str = "rings";
    let folder = case.facts.rings.as_ref()?;
    let path = folder.path.display();
    if !folder.is_in_memory() {
        return Some(Finding::problem(
            CHECK,
            format!("`capture.dir` is on {} ({path}), and the rings hold client addresses", folder.kind),
            "name a folder on a tmpfs, such as /run/clickedge",
        ));
    }
    let rings = sizing::ring_bytes(case.config);
    // What is there already, a running edge's or a former one's, makes room for an edge that starts after it.
    let (once, room) = (rings + sizing::session_bytes(case.config), folder.free + folder.used);
    let twice = once + rings;
    let resize = format!(
        "run `mount -o remount,size={} {path}`",
        bytes_for_mount(twice + folder.size - room.min(folder.size))
    );
    Some(if room < once {
        let message = format!("rings and sessions take {}, and the tmpfs has {}", bytes(once), bytes(room));
        let remedy = format!("{resize}, or lower `capture.ring_bytes` or `enrich.session_visitors`");
        Finding::problem(CHECK, message, remedy).of_class(Class::Io)
    } else if room < twice {
        let message = format!(
            "the tmpfs has {} for rings and sessions; an upgrade needs {}, as the next process has rings of its own",
            bytes(room),
            bytes(twice)
        );
        Finding::warning(CHECK, message, resize)
    } else {
        Finding::ok(CHECK, format!("{} of {} on a {}, upgrades included", bytes(twice), bytes(room), folder.kind))
    })
}

fn bytes_for_mount(bytes: u64) -> String {
    format!("{}m", bytes.div_ceil(1 << 20))
}

pub(super) fn ring_size(case: &Case) -> Option<Finding> {
    const CHECK: &str = "ring-size";
    let rate = case.plan.clicks_per_second.max(1);
    let (have, want) = (case.config.capture.ring_bytes, case.plan.rings());
    let secs = have / (rate * sizing::RING_BYTES);
    let message = format!("{} hold {secs} s of {rate} clicks a second while the disk accepts no writes", bytes(have));
    Some(if have >= want {
        Finding::ok(CHECK, message)
    } else {
        let mib = want.div_ceil(1 << 20).next_power_of_two();
        Finding::warning(CHECK, message, format!("set `capture.ring_bytes` to {} ({mib} MiB)", mib << 20))
    })
}

pub(super) fn swap(case: &Case) -> Option<Finding> {
    const CHECK: &str = "swap";
    let swap = case.facts.machine.swap?;
    if swap == 0 {
        return Some(Finding::ok(CHECK, "off"));
    }
    let kept = case.facts.rings.as_ref().is_some_and(|rings| rings.has("noswap"))
        || case.facts.unit.as_ref().is_some_and(|unit| unit.value("MemorySwapMax") == Some("0"));
    let size = bytes(swap);
    Some(if kept {
        Finding::ok(CHECK, format!("{size}, which the service does not use; rings of a service that is stopped may"))
    } else {
        Finding::warning(
            CHECK,
            format!(
                "{size} of swap: what is not locked of requests in progress can reach a disk, with client addresses"
            ),
            format!("run `swapoff -a` and remove it from /etc/fstab; or {}", drop_in("MemorySwapMax=0")),
        )
    })
}

pub(super) fn locked_memory(case: &Case) -> Option<Finding> {
    const CHECK: &str = "locked-memory";
    let limit = case.facts.limits.locked_memory;
    let needed = sizing::ring_bytes(case.config) + sizing::session_bytes(case.config);
    let whose = whose(&case.facts.limits.subject);
    let Limit::At(bound) = limit else {
        return (limit == Limit::Unlimited).then(|| Finding::ok(CHECK, format!("the limit {whose} is off")));
    };
    if !limit.is_below(needed) {
        return Some(Finding::ok(CHECK, format!("{} {whose}, {} are locked", bytes(bound), bytes(needed))));
    }
    let message = format!("{} {whose}, and rings and sessions need {}", bytes(bound), bytes(needed));
    Some(if case.facts.machine.swap == Some(0) {
        let message = format!("{message}: they stay unlocked, which matters once the machine has swap");
        Finding::warning(CHECK, message, drop_in("LimitMEMLOCK=infinity"))
    } else {
        let message = format!("{message}: they can be swapped, and with them client addresses");
        Finding::problem(CHECK, message, drop_in("LimitMEMLOCK=infinity"))
    })
}

pub(super) fn core_dumps(case: &Case) -> Option<Finding> {
    const CHECK: &str = "core-dumps";
    Some(match case.facts.limits.core {
        Limit::Unknown => return None,
        Limit::At(0) => Finding::ok(CHECK, "off"),
        _ => Finding::warning(
            CHECK,
            format!(
                "the limit {} allows them; `clickedge serve` forbids its own, and nothing else would",
                whose(&case.facts.limits.subject)
            ),
            drop_in("LimitCORE=0"),
        ),
    })
}

pub(super) fn crash_kernel(case: &Case) -> Option<Finding> {
    case.facts.machine.crash_kernel.then(|| {
        Finding::warning(
            "kernel-dumps",
            "a kernel that crashes writes its memory to a disk (kdump), with the client addresses in it",
            "run `systemctl disable --now kdump-tools` (kdump.service on other systems)",
        )
    })
}

pub(super) fn total(case: &Case) -> Option<Finding> {
    const CHECK: &str = "memory";
    let machine = &case.facts.machine;
    let have = machine.memory_limit.into_iter().chain(machine.memory).min()?;
    let catalog = case.facts.catalog.map_or(
        0,
        |(size, is_snapshot)| {
            if is_snapshot { size } else { size / 100 * sizing::CATALOG_PERCENT }
        },
    );
    let connections = case.plan.connections(case.config.redirect.keepalive_secs) * sizing::CONNECTION_BYTES;
    let rings = sizing::ring_bytes(case.config);
    // The next process of an upgrade has rings and a catalog of its own, and the connections move to it.
    let needed = sizing::PROCESS_BYTES * 2 + sizing::session_bytes(case.config) + 2 * (rings + catalog) + connections;
    let message = format!(
        "{} are needed, an upgrade included: rings {}, catalog {}, connections {}; there are {}",
        bytes(needed),
        bytes(2 * rings),
        bytes(2 * catalog),
        bytes(connections),
        bytes(have)
    );
    Some(if needed <= have {
        Finding::ok(CHECK, message)
    } else if connections > needed / 2 {
        let remedy = "lower `redirect.keepalive_secs`: connections that wait for another request take the memory";
        Finding::warning(CHECK, message, remedy)
    } else {
        Finding::warning(CHECK, message, "add memory, or raise the limit of the control group (`MemoryMax=`)")
    })
}

pub(super) fn huge_pages(case: &Case) -> Option<Finding> {
    const CHECK: &str = "huge-pages";
    Some(match case.facts.machine.huge_pages.as_deref()? {
        "always" => Finding::warning(
            CHECK,
            "transparent huge pages are always used: memory of connections grows, and allocations wait for free pages",
            "run `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`, and boot with \
             `transparent_hugepage=madvise`",
        ),
        mode => Finding::ok(CHECK, mode),
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{each_is, finding};
    use crate::{
        doctor::{
            Level::{Ok, Problem, Warning},
            facts::Limit,
        },
        runtime::Class,
    };

    #[test]
    fn rings_need_a_tmpfs_with_room_for_two() {
        each_is(&[
            ("rings", Ok, "on a tmpfs", |_| ()),
            ("rings", Problem, "on ext4", |case| case.facts.rings.as_mut().unwrap().kind = "ext4".into()),
            ("rings", Problem, "mount -o remount,size=", |case| case.facts.rings.as_mut().unwrap().free = 100 << 20),
            ("rings", Warning, "an upgrade needs", |case| case.facts.rings.as_mut().unwrap().free = 200 << 20),
            ("rings", Ok, "upgrades included", |case| {
                let rings = case.facts.rings.as_mut().unwrap();
                (rings.free, rings.used) = (200 << 20, 200 << 20);
            }),
        ]);
        let full = finding("rings", |case| case.facts.rings.as_mut().unwrap().free = 0);
        assert_eq!(full.class, Class::Io, "as `serve` would exit");
    }

    #[test]
    fn rings_are_compared_with_the_rate() {
        each_is(&[
            ("ring-size", Ok, "1000 clicks a second", |_| ()),
            ("ring-size", Warning, "set `capture.ring_bytes` to ", |case| case.plan.clicks_per_second = 50_000),
        ]);
    }

    #[test]
    fn memory_that_may_reach_a_disk_is_found() {
        each_is(&[
            ("swap", Ok, "off", |_| ()),
            ("swap", Ok, "does not use", |case| case.facts.machine.swap = Some(1 << 30)),
            ("swap", Warning, "swapoff -a", |case| {
                case.facts.machine.swap = Some(1 << 30);
                case.facts.unit = None;
            }),
            ("locked-memory", Ok, "off", |_| ()),
            ("locked-memory", Ok, "are locked", |case| case.facts.limits.locked_memory = Limit::At(1 << 30)),
            ("locked-memory", Warning, "LimitMEMLOCK", |case| case.facts.limits.locked_memory = Limit::At(8 << 20)),
            ("locked-memory", Problem, "LimitMEMLOCK", |case| {
                case.facts.limits.locked_memory = Limit::At(8 << 20);
                case.facts.machine.swap = Some(1 << 30);
            }),
            ("core-dumps", Ok, "off", |_| ()),
            ("core-dumps", Warning, "LimitCORE=0", |case| case.facts.limits.core = Limit::Unlimited),
            ("kernel-dumps", Warning, "kdump", |case| case.facts.machine.crash_kernel = true),
        ]);
    }

    #[test]
    fn memory_is_compared_with_what_everything_needs() {
        each_is(&[
            ("memory", Ok, "are needed", |_| ()),
            ("memory", Warning, "MemoryMax=", |case| case.facts.catalog = Some((40 << 30, true))),
            ("memory", Warning, "`redirect.keepalive_secs`", |case| {
                case.plan.clicks_per_second = 16_000;
                case.facts.machine.memory_limit = Some(4 << 30);
            }),
            ("huge-pages", Ok, "madvise", |_| ()),
            ("huge-pages", Warning, "madvise >", |case| case.facts.machine.huge_pages = Some("always".into())),
        ]);
    }
}
