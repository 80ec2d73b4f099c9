//! `clickedge feed retry`: asks the running edge to retry a feed now.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use clap::Args;
use serde::Deserialize;

use super::{Outcome, Which};
use crate::{
    cli::output::{count, failed, print},
    runtime::Class,
};

/// Longest wait for the edge.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an answer that are read.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Arguments of `feed retry`.
#[derive(Args, Debug)]
pub struct Retry {
    #[command(flatten)]
    pub which: Which,
}

/// What the edge answers.
#[derive(Deserialize)]
struct Retried {
    parked: bool,
    waiting: u64,
}

pub(super) fn run(args: &Retry) -> Outcome {
    let config = args.which.load()?;
    let (name, address) = (&args.which.name, reachable(config.admin.address));
    let path: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let (status, body) = post(address, &format!("/v1/feeds/{path}/retry")).map_err(|error| {
        failed(
            Class::Unavailable,
            &format!("no answer from the admin listener on {address}: {error}; is the edge running?"),
        )
    })?;
    match (status, serde_json::from_str::<Retried>(&body)) {
        (200..=299, Ok(Retried { parked, waiting })) => {
            let state = if parked { "was parked" } else { "was not parked" };
            print(&format!("feed {name}: retrying now; it {state}, with {} waiting\n", count(waiting, "object")))?;
            Ok(ExitCode::SUCCESS)
        }
        (404, _) => Err(failed(Class::Usage, &body.trim())),
        _ => Err(failed(Class::Unavailable, &format!("{address} answered {status}: {}", body.trim()))),
    }
}

/// An address on which every listener of this machine answers, for one that listens on all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Status and body of the answer to a `POST` without a body.
fn post(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let parsed = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parsed.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP/1.1"))
}
