//! When certificates are due: a third of their life before they end, and up to a twelfth earlier, by a number that
//! follows from the name. So thousands of them that were obtained on one day are not due on one day, and all edges know
//! the same moment.

use std::collections::BTreeSet;

use super::ledger::Ledger;

/// Start and end of a certificate's validity, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub from: u64,
    pub to: u64,
}

/// What is to be ordered next.
#[derive(Debug, Eq, PartialEq)]
pub struct Next {
    pub name: Box<str>,
    /// Seconds since the Unix epoch.
    pub at: u64,
    pub is_renewal: bool,
}

/// When the certificate of a name is renewed.
pub fn renewal(name: &str, Validity { from, to }: Validity) -> u64 {
    let life = to.saturating_sub(from);
    let hash = blake3::hash(name.as_bytes());
    let part = hash.as_bytes().iter().take(4).fold(0, |number, byte| number << 8 | u64::from(*byte));
    to.saturating_sub(life / 3).saturating_sub((life / 12).saturating_mul(part) >> 32)
}

/// The next order. Renewals come first, the one that ends first before others: a large new catalog must not make a
/// certificate expire.
pub fn next(
    wanted: &BTreeSet<Box<str>>,
    validity: impl Fn(&str) -> Option<Validity>,
    ledger: &Ledger,
    now: u64,
) -> Option<Next> {
    let all = wanted.iter().map(|name| {
        let validity = validity(name);
        let due = validity.map_or(0, |validity| renewal(name, validity));
        let at = due.max(ledger.retry_at(name)).max(now);
        let end = validity.map_or(u64::MAX, |validity| validity.to);
        (at, end, name)
    });
    let (at, end, name) = all.min()?;
    Some(Next { name: name.clone(), at, is_renewal: end < u64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_certificate_is_renewed_with_a_third_of_its_life_left_at_a_time_of_its_own() {
        let validity = Validity { from: 1_000 * DAY, to: 1_090 * DAY };
        let due: BTreeSet<_> = (0..1_000).map(|n| renewal(&format!("d{n}.example"), validity)).collect();
        let (first, last) = (due.first().unwrap(), due.last().unwrap());
        assert!(*first >= 1_052 * DAY && *last <= 1_060 * DAY, "{first} {last}");
        assert!(due.len() > 900 && last - first > 7 * DAY, "spread");
        assert_eq!(renewal("d1.example", validity), renewal("d1.example", validity));
    }

    #[test]
    fn renewals_come_before_new_names_and_failures_wait() {
        let wanted: BTreeSet<Box<str>> = ["a.example", "b.example", "c.example"].map(Into::into).into();
        let now = 2_000 * DAY;
        let validity = |name: &str| match name {
            "b.example" => Some(Validity { from: now - 80 * DAY, to: now + 10 * DAY }),
            "c.example" => Some(Validity { from: now - 81 * DAY, to: now + 9 * DAY }),
            _ => None,
        };
        let mut ledger = Ledger::default();
        let name = |ledger: &Ledger| next(&wanted, validity, ledger, now).unwrap().name;
        assert_eq!(&*name(&ledger), "c.example");
        ledger.failed("c.example", now, None);
        assert_eq!(&*name(&ledger), "b.example");
        ledger.failed("b.example", now, None);
        assert_eq!(
            next(&wanted, validity, &ledger, now),
            Some(Next { name: "a.example".into(), at: now, is_renewal: false })
        );
        let at = ledger.failed("a.example", now, Some(50));
        assert!(next(&wanted, validity, &ledger, now).unwrap().at <= at);
        assert_eq!(next(&BTreeSet::new(), validity, &ledger, now), None);
    }
}
