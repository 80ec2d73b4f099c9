//! What rules ask about a visitor.

use std::net::IpAddr;

use jiff::Timestamp;

/// The facts of one request, each worked out when it is asked for, and once.
///
/// The methods stand in the order of their cost, and conditions are checked in that order: a rule on the language never
/// looks a location up.
pub trait Asker {
    /// The time of the request.
    fn now(&mut self) -> Timestamp;

    /// The client address, if it is known.
    fn address(&mut self) -> Option<IpAddr>;

    /// The raw query of the short link, without `?`.
    fn query(&mut self) -> &[u8];

    /// `Accept-Language`, unchanged.
    fn accept_language(&mut self) -> &[u8];

    /// Where the visitor came from; `None` when the click is direct.
    fn referrer(&mut self) -> Option<Referrer<'_>>;

    /// Operating system, by its slug in events. Absent where the agent string names a bot, as are device and browser.
    fn os(&mut self) -> Option<&str>;

    /// Kind of device, by its slug in events.
    fn device(&mut self) -> Option<&str>;

    /// Browser or application, by its slug in events.
    fn browser(&mut self) -> Option<&str>;

    /// Whether the request counts as a bot's.
    fn is_bot(&mut self) -> bool;

    /// Whether it is a bot that makes previews of links for a social network or a messenger.
    fn is_social_bot(&mut self) -> bool;

    /// The location of the client address.
    fn place(&mut self) -> Place<'_>;

    /// Whether the visitor has clicked in this workspace before, as far as this edge remembers.
    fn is_returning(&mut self) -> bool;

    /// A hash that recognises the visitor on this link, in all 64 bits; random for a visitor who is not recognised.
    fn visitor(&mut self) -> u64;
}

/// Where a visitor came from, by the slugs of events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Referrer<'a> {
    /// `social`, `search`.
    pub kind: &'a str,
    /// `facebook`; `None` for a place without a name.
    pub network: Option<&'a str>,
    /// Host name as A-label, or the package of an application.
    pub host: &'a str,
}

/// A location, in lower case where it is a code.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Place<'a> {
    /// ISO 3166-1 alpha-2.
    pub country: Option<&'a str>,
    /// ISO 3166-2, without the country.
    pub region: Option<&'a str>,
    /// English name.
    pub city: Option<&'a str>,
}
