//! What is known of the network that an address belongs to.

/// Networks that few people browse from directly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Network {
    /// A data centre, where servers are: hosting and cloud providers.
    Hosting,
    /// An anonymising network, with people behind it: exits of Tor, VPN providers, public proxies.
    Anonymizer,
}
