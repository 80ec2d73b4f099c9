//! The clock, and the age of databases.

use super::Case;
use crate::{
    doctor::{Finding, facts::Clock},
    files::mmdb::OLD_DAYS,
};

pub(super) fn clock(case: &Case) -> Option<Finding> {
    const CHECK: &str = "clock";
    Some(match &case.facts.clock {
        Clock::Synchronised(by) => Finding::ok(CHECK, format!("synchronised, says {by}")),
        Clock::Drifting(by) => Finding::problem(
            CHECK,
            format!("not synchronised, says {by}: stores reject requests of a wrong time, and events carry it"),
            "run `timedatectl set-ntp true`, or start chrony; open UDP port 123 to its servers",
        ),
        Clock::Unknown => Finding::warning(
            CHECK,
            "no time service was found: stores reject requests that are minutes off, and events carry the time",
            "install chrony or systemd-timesyncd; in a container, check the host",
        ),
    })
}

pub(super) fn databases(case: &Case) -> Option<Finding> {
    const CHECK: &str = "databases";
    let (key, days) = case.facts.databases.iter().max_by_key(|(_, days)| days)?;
    Some(if *days > OLD_DAYS {
        Finding::warning(
            CHECK,
            format!("`{key}` is {days} days old, and addresses move"),
            "download the current one, and run `clickedge reload`",
        )
    } else {
        Finding::ok(CHECK, format!("the oldest has {days} days"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::fixture::each_is;
    use crate::doctor::{
        Level::{Ok, Problem, Warning},
        facts::Clock,
    };

    #[test]
    fn a_clock_without_a_time_service_and_an_old_database_are_found() {
        each_is(&[
            ("clock", Ok, "says chrony", |_| ()),
            ("clock", Problem, "set-ntp true", |case| case.facts.clock = Clock::Drifting("chrony")),
            ("clock", Warning, "install chrony", |case| case.facts.clock = Clock::Unknown),
            ("databases", Ok, "10 days", |_| ()),
            ("databases", Warning, "`enrich.asn_file` is 61 days", |case| {
                case.facts.databases.push(("enrich.asn_file", 61));
            }),
        ]);
    }
}
