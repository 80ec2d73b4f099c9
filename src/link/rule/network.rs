//! The condition `network`: ranges of client addresses. An IPv4 address that is mapped into IPv6 counts as IPv4.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{super::field::Field, MAX_VALUES};

/// Bits before an IPv4 address that is mapped into IPv6.
const MAPPED: u8 = 96;

/// Ranges by their first and last address, sorted, none touching another.
#[derive(Clone, Debug)]
pub(super) struct Networks(Box<[(IpAddr, IpAddr)]>);

impl Networks {
    pub(super) fn read(field: &Field<'_>) -> Result<Self, String> {
        const REMEDY: &str = "write addresses or networks, such as \"192.0.2.7\" or \"192.0.2.0/24\"";
        let network = |field: Field<'_>| field.value().as_str().and_then(range).ok_or_else(|| field.is_bad(REMEDY));
        let ranges = field.values(MAX_VALUES, REMEDY)?.into_iter().map(network);
        let mut ranges: Vec<(IpAddr, IpAddr)> = ranges.collect::<Result<_, _>>()?;
        ranges.sort_unstable();
        ranges.dedup_by(|next, former| {
            let overlaps = next.0 <= former.1;
            if overlaps {
                former.1 = former.1.max(next.1);
            }
            overlaps
        });
        Ok(Self(ranges.into()))
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

fn range(text: &str) -> Option<(IpAddr, IpAddr)> {
    let text = text.trim();
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let network = unmapped(network).unwrap_or(network);
    Some((network.network(), network.broadcast()))
}

/// `::ffff:192.0.2.0/120` is 192.0.2.0/24.
fn unmapped(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(network) = network else { return None };
    let prefix = network.prefix_len().checked_sub(MAPPED)?;
    Some(Ipv4Net::new(network.addr().to_ipv4_mapped()?, prefix).ok()?.into())
}
