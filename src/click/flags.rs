//! What a request shows of its sender, one bit per fact.

/// A set of facts about a request, as 32 bits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Flags(u32);

impl Flags {
    /// The request was a `HEAD`.
    pub const HEAD: Self = Self(1);
    /// The browser announced a prefetch.
    pub const PREFETCH: Self = Self(1 << 1);
    /// The client announced a preview.
    pub const PREVIEW: Self = Self(1 << 2);
    /// The visitor sent `Sec-GPC: 1` or `DNT: 1`. Which of them, [`Self::GPC`] and [`Self::DNT`] say.
    pub const OPTED_OUT: Self = Self(1 << 3);
    /// There was an `Accept` header.
    pub const ACCEPT: Self = Self(1 << 4);
    /// There was an `Accept-Encoding` header.
    pub const ACCEPT_ENCODING: Self = Self(1 << 5);
    /// There was a `Sec-Fetch-Mode` header, which browsers send over TLS.
    pub const FETCH_METADATA: Self = Self(1 << 6);
    /// `Sec-Fetch-Mode` was `navigate`: a person follows a link.
    pub const NAVIGATE: Self = Self(1 << 7);
    /// The request came over TLS that ends here. Never set behind a trusted proxy, whose connection says nothing about
    /// the visitor's.
    pub const TLS: Self = Self(1 << 8);
    // Bits 9 and 10 are free: earlier clicks had the protocol there.
    /// `Sec-CH-UA-Mobile: ?1`.
    pub const MOBILE: Self = Self(1 << 11);
    /// `Sec-CH-UA-Mobile: ?0`.
    pub const NOT_MOBILE: Self = Self(1 << 12);
    /// The client has recently requested many unknown slashtags.
    pub const ENUMERATION: Self = Self(1 << 13);
    /// It came through a trusted proxy, which may have changed its headers.
    pub const PROXIED: Self = Self(1 << 14);
    /// The visitor sent `Sec-GPC: 1`.
    pub const GPC: Self = Self(1 << 16);
    /// The visitor sent `DNT: 1`.
    pub const DNT: Self = Self(1 << 17);

    /// Whether all of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Sets these if `condition` holds.
    pub fn set(&mut self, flags: Self, condition: bool) {
        self.0 |= if condition { flags.0 } else { 0 };
    }

    /// Clears these.
    pub fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }

    pub(super) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }
}
