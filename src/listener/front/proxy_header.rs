//! The PROXY protocol, versions 1 and 2: the header in which a load balancer names the client, before anything else.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use ppp::{HeaderResult, v1, v2};
use tokio::net::TcpStream;

use super::metrics::Ended;

/// Longest header that is read: version 1 has at most 107 bytes, version 2 as many as its sender adds.
const MAX_BYTES: usize = 1_024;

/// Longest line of version 1.
const MAX_LINE: usize = 107;

/// Reads the header, and not one byte more: what follows may be TLS. `None` for a connection of the load balancer's
/// own, such as a health check.
///
/// # Errors
/// When it is missing or malformed.
pub async fn read(tcp: &TcpStream) -> Result<Option<SocketAddr>, Ended> {
    let mut bytes = [0; MAX_BYTES];
    let mut seen = 0;
    let (address, length) = loop {
        tcp.readable().await.map_err(|_| Ended::Closed)?;
        let there = match tcp.peek(&mut bytes).await {
            Ok(0) | Err(_) => return Err(Ended::Closed),
            Ok(there) => there,
        };
        if let Some(found) = parse(&bytes[..there])? {
            break found;
        }
        if there == bytes.len() {
            return Err(Ended::ProxyHeader);
        }
        if there == seen {
            // The rest is on its way, and readiness does not say when it arrives.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        seen = there;
    };
    let mut left = length;
    while left > 0 {
        match tcp.try_read(&mut bytes[..left]) {
            Ok(0) => return Err(Ended::Closed),
            Ok(read) => left -= read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tcp.readable().await.map_err(|_| Ended::Closed)?;
            }
            Err(_) => return Err(Ended::Closed),
        }
    }
    Ok(address)
}

/// The client and the length of the header; `None` for a part of one.
fn parse(bytes: &[u8]) -> Result<Option<(Option<SocketAddr>, usize)>, Ended> {
    // Of a line that is not there as a whole nothing can be said yet.
    let start = &bytes[..bytes.len().min(5)];
    if b"PROXY".starts_with(start) && bytes.len() < MAX_LINE && memchr::memchr(b'\n', bytes).is_none() {
        return Ok(None);
    }
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(header)) => {
            let address = match header.addresses {
                v1::Addresses::Tcp4(of) => Some((IpAddr::V4(of.source_address), of.source_port).into()),
                v1::Addresses::Tcp6(of) => Some((IpAddr::V6(of.source_address), of.source_port).into()),
                v1::Addresses::Unknown => None,
            };
            Ok(Some((address, header.header.len())))
        }
        HeaderResult::V2(Ok(header)) => {
            let address = match (header.command, header.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(of)) => {
                    Some((IpAddr::V4(of.source_address), of.source_port).into())
                }
                (v2::Command::Proxy, v2::Addresses::IPv6(of)) => {
                    Some((IpAddr::V6(of.source_address), of.source_port).into())
                }
                _ => None,
            };
            Ok(Some((address, header.len())))
        }
        HeaderResult::V2(Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..))) => Ok(None),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err(Ended::ProxyHeader),
    }
}
