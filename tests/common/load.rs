//! Load with a memory: visitors on connections of their own, and a ledger of every click that they sent.
//!
//! A click is written into the ledger before its first byte is sent, and marked when the last byte of its redirect has
//! been read. So the ledger is right at every moment at which the edge may die.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use memchr::memmem;

use super::CHROME;

/// How long an answer may take. A redirect that waits for a disk or a store takes longer.
const ANSWER: Duration = Duration::from_secs(10);

/// What is known of a click.
#[derive(Clone, Copy, Debug)]
pub struct Click {
    /// The round, or the part of a case, in which it was sent.
    pub round: u32,
    /// How long its answer took, in microseconds; `None` if the answer was not read to its end.
    pub micros: Option<u32>,
}

/// All clicks of a case, by nonce.
#[derive(Default)]
pub struct Ledger {
    pub clicks: HashMap<String, Click>,
    /// Answers that were no redirect, and clicks that had none within the time limit.
    pub refused: Vec<String>,
}

impl Ledger {
    pub fn received(&self) -> usize {
        self.clicks.values().filter(|click| click.micros.is_some()).count()
    }

    /// The times of a round's answers, sorted.
    pub fn micros(&self, round: u32) -> Vec<u32> {
        let of = |click: &Click| click.micros.filter(|_| click.round == round);
        let mut micros: Vec<_> = self.clicks.values().filter_map(of).collect();
        micros.sort_unstable();
        micros
    }

    pub fn extend(&mut self, other: Self) {
        self.clicks.extend(other.clicks);
        self.refused.extend(other.refused);
    }

    /// Sends one click on a connection of its own, which must be answered.
    #[track_caller]
    pub fn click(&mut self, address: SocketAddr, nonce: &str, more: &str) {
        let since = Instant::now();
        let answer = Client::connect(address).and_then(|mut client| client.click(nonce, more));
        assert!(matches!(answer, Ok(302)), "click {nonce} got {answer:?}");
        let micros = Some(since.elapsed().as_micros() as u32);
        self.clicks.insert(nonce.to_owned(), Click { round: u32::MAX, micros });
    }
}

/// How much is clicked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub connections: usize,
    /// Between the answer to a click and the next click of the same visitor.
    pub pause: Duration,
    /// Bytes of each query that no compressor makes smaller.
    pub noise: usize,
}

/// As much as a worker of a debug build keeps up with.
pub const BRISK: Pace = Pace { connections: 4, pause: Duration::from_micros(300), noise: 0 };
/// A few hundred clicks a second.
pub const LIGHT: Pace = Pace { connections: 2, pause: Duration::from_millis(4), noise: 0 };

struct Shared {
    address: SocketAddr,
    pace: Pace,
    stop: AtomicBool,
    rest: AtomicBool,
    resting: AtomicUsize,
    round: AtomicU32,
    received: AtomicU64,
}

/// Visitors that click until they are stopped, through all deaths and restarts of the edge.
pub struct Load {
    shared: Arc<Shared>,
    visitors: Vec<JoinHandle<Ledger>>,
}

impl Load {
    /// Nonces begin with `name`.
    pub fn start(address: SocketAddr, name: &str, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            address,
            pace,
            stop: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            resting: AtomicUsize::new(0),
            round: AtomicU32::new(1),
            received: AtomicU64::new(0),
        });
        let visitor = |number| {
            let (shared, name) = (Arc::clone(&shared), format!("{name}-{number}"));
            thread::spawn(move || visit(&shared, &name))
        };
        Self { visitors: (0..pace.connections).map(visitor).collect(), shared }
    }

    /// Clicks from now on belong to this round.
    pub fn round(&self, round: u32) {
        self.shared.round.store(round, Relaxed);
    }

    /// Clicks so far whose redirect was read.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Relaxed)
    }

    /// Waits until so many more clicks were answered: redirects go on.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let (from, until) = (self.received(), Instant::now() + ANSWER);
        while self.received() < from + more {
            assert!(Instant::now() < until, "only {} of {more} clicks were answered", self.received() - from);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets the visitors rest, and returns when none waits for an answer. The edge must be there to answer.
    #[track_caller]
    pub fn rest(&self) {
        self.shared.rest.store(true, Relaxed);
        let until = Instant::now() + ANSWER;
        while self.shared.resting.load(Relaxed) < self.visitors.len() {
            assert!(Instant::now() < until, "a visitor does not come to rest");
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn resume(&self) {
        self.shared.rest.store(false, Relaxed);
    }

    /// Ends the visits.
    pub fn stop(mut self) -> Ledger {
        self.shared.stop.store(true, Relaxed);
        let mut ledger = Ledger::default();
        for visitor in self.visitors.drain(..) {
            ledger.extend(visitor.join().unwrap());
        }
        ledger
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

fn visit(shared: &Shared, name: &str) -> Ledger {
    let mut ledger = Ledger::default();
    let mut client = None;
    for number in 0_u64.. {
        rest(shared);
        while client.is_none() && !shared.stop.load(Relaxed) {
            client = Client::connect(shared.address).ok();
            if client.is_none() {
                thread::sleep(Duration::from_millis(3));
            }
        }
        if shared.stop.load(Relaxed) {
            break;
        }
        let (nonce, more) = (format!("{name}-{number}"), noise(shared.pace.noise));
        let round = shared.round.load(Relaxed);
        ledger.clicks.insert(nonce.clone(), Click { round, micros: None });
        let since = Instant::now();
        match client.as_mut().unwrap().click(&nonce, &more) {
            Ok(302) => {
                let micros = Some(since.elapsed().as_micros() as u32);
                ledger.clicks.insert(nonce, Click { round, micros });
                shared.received.fetch_add(1, Relaxed);
            }
            Ok(status) => ledger.refused.push(format!("{nonce} in round {round} got {status}")),
            Err(error) => {
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                    ledger.refused.push(format!("{nonce} in round {round} got no answer within {ANSWER:?}"));
                }
                client = None;
            }
        }
        thread::sleep(shared.pace.pause);
    }
    ledger
}

fn rest(shared: &Shared) {
    if !shared.rest.load(Relaxed) {
        return;
    }
    shared.resting.fetch_add(1, Relaxed);
    while shared.rest.load(Relaxed) && !shared.stop.load(Relaxed) {
        thread::sleep(Duration::from_millis(1));
    }
    shared.resting.fetch_sub(1, Relaxed);
}

/// A part of a query of so many bytes, from a pool in which no compressor sees a repetition.
fn noise(bytes: usize) -> String {
    static POOL: LazyLock<String> = LazyLock::new(|| (0..1 << 20).map(|_| fastrand::alphanumeric()).collect());
    if bytes == 0 {
        return String::new();
    }
    let from = fastrand::usize(..POOL.len() - bytes);
    format!("&noise={}", &POOL[from..from + bytes])
}

/// A browser that keeps its connection open.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(16 << 10) })
    }

    /// Clicks on `go.brand.com/spring`, with `more` of a query, and returns the status when the answer was read to
    /// its end. An answer that ends the connection is an answer.
    pub fn click(&mut self, nonce: &str, more: &str) -> io::Result<u16> {
        self.send(nonce, more, "")
    }

    /// Like [`Client::click`], with more headers, each with its line end.
    pub fn send(&mut self, nonce: &str, more: &str, headers: &str) -> io::Result<u16> {
        self.get("go.brand.com", &format!("/spring?n={nonce}{more}"), headers)
    }

    /// Requests a target of a host, and returns the status when the head of the answer was read to its end. An answer
    /// with a body leaves a connection that is of no more use.
    pub fn get(&mut self, host: &str, target: &str, headers: &str) -> io::Result<u16> {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {CHROME}\r\nAccept: */*\r\n{headers}\r\n");
        self.stream.write_all(request.as_bytes())?;
        self.read.clear();
        let mut buffer = [0; 4096];
        // A redirect has no body.
        while !self.read.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => self.read.extend_from_slice(&buffer[..read]),
            }
            if memmem::find(&self.read, b"\r\n\r\n").is_some_and(|at| at + 4 < self.read.len()) {
                break;
            }
        }
        let status = self.read.get(9..12).and_then(|status| str::from_utf8(status).ok()?.parse().ok());
        status.ok_or_else(|| ErrorKind::InvalidData.into())
    }

    /// Where the last answer leads to.
    pub fn location(&self) -> Option<&str> {
        let head = str::from_utf8(&self.read).ok()?;
        let mut headers = head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(name, _)| name.eq_ignore_ascii_case("location")).map(|(_, value)| value)
    }
}
