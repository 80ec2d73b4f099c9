//! Canaries: client addresses that must be found nowhere afterwards, one for each thing that is done, so that a find
//! names what leaked it.
//!
//! They are made of bytes above 127 wherever their network allows: such bytes stand in no text by chance, and numbers
//! made of them are not small.

use std::net::{IpAddr, Ipv6Addr};

/// The network that the edge trusts to name a client.
pub const TRUSTED: &str = "127.192.0.0/10";

/// An address, and what it was used for.
#[derive(Clone, Debug)]
pub struct Canary {
    pub used_for: String,
    pub address: IpAddr,
}

/// All canaries of a test.
#[derive(Default)]
pub struct Cast(Vec<Canary>);

impl Cast {
    /// A client that comes itself and is trusted with nothing.
    pub fn client(&mut self, path: &str) -> IpAddr {
        let [a, b, c] = self.mixed();
        self.add(path, "client", [127, 0x80 | a & 0x3f, b | 0x80, c | 0x80].into())
    }

    /// A trusted proxy.
    pub fn proxy(&mut self, path: &str) -> IpAddr {
        let [a, b, c] = self.mixed();
        self.add(path, "proxy", [127, 0xc0 | a, b | 0x80, c | 0x80].into())
    }

    /// What a trusted proxy names, or what another client claims.
    pub fn v4(&mut self, path: &str, role: &str) -> IpAddr {
        let [a, b, c] = self.mixed();
        self.add(path, role, [203, a | 0x80, b | 0x80, c | 0x80].into())
    }

    pub fn v6(&mut self, path: &str, role: &str) -> IpAddr {
        let [a, b, c] = self.mixed().map(|byte| byte | 0x80);
        let bytes = [0x20, 0x01, 0x0d, 0xb8, a, c, b, a ^ c, 0xde ^ c, 0xad, a ^ b, 0xc1, 0x80 | b ^ c, 0xcd, c, b];
        self.add(path, role, Ipv6Addr::from(bytes).into())
    }

    pub fn all(&self) -> &[Canary] {
        &self.0
    }

    /// Three bytes that no other canary has, and that look like nothing. The first is below 64.
    fn mixed(&self) -> [u8; 3] {
        // An odd factor: each number below 2^20 is met once.
        let mixed = (self.0.len() as u32 + 1).wrapping_mul(0x9e37_79b1) & 0xf_ffff;
        [(mixed >> 14) as u8, (mixed >> 7) as u8 & 0x7f, mixed as u8 & 0x7f]
    }

    fn add(&mut self, path: &str, role: &str, address: IpAddr) -> IpAddr {
        assert!(self.0.iter().all(|canary| canary.address != address), "{address} is taken");
        self.0.push(Canary { used_for: format!("{path}, {role}"), address });
        address
    }
}
