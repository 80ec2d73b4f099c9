//! One exchange over HTTP/1.1, and its answer.

use std::{
    io::{BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use super::TIMEOUT;

/// An answer over HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Reads an answer to the end of the connection.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": ")).map(|(n, v)| (n.into(), v.into())).collect();
        Some(Self { status, headers, body: body.into() })
    }
}

/// A connection, from a given source address if need be.
pub fn connect(source: Option<IpAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect_timeout(&to, TIMEOUT)?,
        Some(source) => {
            let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(source, 0).into())?;
            socket.connect(&to.into())?;
            socket.into()
        }
    };
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends bytes and reads the answer until the connection closes.
pub fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Option<Answer> {
    // The other side may reject the request and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut text = Vec::new();
    let _ = BufReader::new(stream).read_to_end(&mut text);
    Answer::parse(&String::from_utf8_lossy(&text))
}
