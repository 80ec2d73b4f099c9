//! A collector inside the test process: takes requests over HTTP/1.1, one a connection, and answers as it is asked.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    thread,
};

use crate::common::TIMEOUT;

/// A request as it came in. Names of headers are in lower case.
#[derive(Clone, Debug)]
pub struct Received {
    pub line: String,
    pub headers: Vec<(String, String)>,
    /// Decompressed.
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone, Default)]
pub struct Collector(Arc<State>);

#[derive(Default)]
struct State {
    /// 0 for 200.
    status: AtomicU16,
    requests: Mutex<Vec<Received>>,
}

impl Collector {
    /// A collector, and where it listens until the test process ends.
    pub fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = Self::default();
        let shared = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        (collector, address)
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.0.status.store(status, Relaxed);
    }

    pub fn requests(&self) -> Vec<Received> {
        self.0.requests.lock().unwrap().clone()
    }

    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let mut headers = Vec::new();
        loop {
            let mut field = String::new();
            reader.read_line(&mut field).ok()?;
            let Some((name, value)) = field.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        let mut compressed = vec![0; length];
        reader.read_exact(&mut compressed).ok()?;
        let mut body = Vec::new();
        flate2::read::GzDecoder::new(&*compressed).read_to_end(&mut body).ok()?;
        let received = Received { line: line.trim_end().to_owned(), headers, body };
        self.0.requests.lock().unwrap().push(received);
        let status = match self.0.status.load(Relaxed) {
            0 => 200,
            status => status,
        };
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
        stream.write_all(answer.as_bytes()).ok()
    }
}
