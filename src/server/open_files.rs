//! The limit of open files: raised at the start, and divided so that connections leave enough for everything else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Open files that neither connections nor the upstream take: for the journal, the objects, the sinks and the admin
/// listener. Half of all where there are fewer than twice as many.
const RESERVED: usize = 256;

/// As many as the edge asks for, however high the hard limit is.
pub const MOST: u64 = 1 << 20;

/// A request to the upstream has a connection, and leaves one open for the next.
pub const FILES_OF_A_REQUEST: usize = 2;

/// What may be open at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shares {
    /// Connections of clients.
    pub connections: usize,
    /// Requests to the upstream.
    pub requests: usize,
}

/// Raises the soft limit to the hard one: the soft limit suits programs that cannot handle large descriptors.
pub fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(MOST).min(MOST);
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return };
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => tracing::info!(from = current, to = wanted, "limit of open files raised"),
        Err(error) => tracing::warn!(%error, limit = current, "cannot raise the limit of open files"),
    }
}

/// Divides the limit of open files. Logs what the configuration asks for beyond it.
pub fn share(config: &Config) -> Shares {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(MOST) as usize;
    let requests = config.upstream.as_ref().map_or(0, |upstream| upstream.requests);
    let shares = Shares::of(files, config.limits.connections, requests);
    let beyond = |key, configured, used| {
        tracing::warn!(
            key,
            configured,
            used,
            open_files = files,
            remedy = "raise the limit of open files (LimitNOFILE), or configure less",
            "more than the limit of open files allows, of which {RESERVED} are reserved"
        );
    };
    if shares.requests < requests {
        beyond("upstream.requests", requests, shares.requests);
    }
    if shares.connections < config.limits.connections {
        beyond("limits.connections", config.limits.connections, shares.connections);
    }
    shares
}

impl Shares {
    /// What is left of so many open files, with 0 for as many connections as there can be.
    pub fn of(files: usize, connections: usize, requests: usize) -> Self {
        let free = files - RESERVED.min(files / 2);
        let requests = requests.min((free / 2 / FILES_OF_A_REQUEST).max(1));
        let left = free.saturating_sub(requests * FILES_OF_A_REQUEST).max(1);
        Self { connections: if connections == 0 { left } else { connections.min(left) }, requests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_the_upstream_leave_what_is_reserved() {
        let of = |files, connections, requests| {
            let Shares { connections, requests } = Shares::of(files, connections, requests);
            (connections, requests)
        };
        assert_eq!(of(1 << 20, 0, 256), ((1 << 20) - 256 - 512, 256));
        assert_eq!(of(1 << 20, 1_000, 0), (1_000, 0));
        assert_eq!(of(1_024, 0, 256), (384, 192), "the upstream has half of what is free");
        assert_eq!(of(1_024, 10_000, 0), (768, 0));
        assert_eq!(of(512, 0, 0), (256, 0));
        assert_eq!(of(64, 0, 1_000_000), (16, 8));
        for files in [1_usize, 2, 100, 512, 1_000, 20_000] {
            for (connections, requests) in [(0, 0), (0, 1_000_000), (1_000_000, 1_000_000), (5, 5)] {
                let shares = Shares::of(files, connections, requests);
                let used = shares.connections + shares.requests * FILES_OF_A_REQUEST;
                assert!(files < 8 || used + RESERVED.min(files / 2) <= files, "{files}: {shares:?}");
                assert!(shares.connections > 0 && (requests == 0 || shares.requests > 0), "{files}: {shares:?}");
            }
        }
    }
}
