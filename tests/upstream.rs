//! What is behind this edge: who it thinks the client is, and what happens when it does not answer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::common::{Edge, TIMEOUT, connect};

/// A server that remembers the heads of its requests. It answers each with 201, or never.
struct Upstream {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let all = Arc::clone(&all);
                thread::spawn(move || serve(BufReader::new(stream.unwrap()), &all, answers));
            }
        });
        Self { address, heads }
    }

    fn section(&self) -> String {
        format!("[upstream]\naddress = \"{}\"\n", self.address)
    }
}

fn serve(mut stream: BufReader<TcpStream>, heads: &Mutex<Vec<String>>, answers: bool) {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        heads.lock().unwrap().push(head);
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return;
        }
        if answers {
            let answer = format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.get_mut().write_all(&[answer.as_bytes(), &body].concat()).unwrap();
        }
    }
}

#[test]
fn the_upstream_learns_who_the_client_is_from_this_edge_alone() {
    let upstream = Upstream::start(true);
    let trusted = "[client_address]\ntrusted_proxies = [\"127.0.0.9/32\"]\n";
    let edge = Edge::builder().section(&upstream.section()).section(trusted).start();
    let headers = [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Real-IP", "203.0.113.7"),
        ("X_Real_IP", "203.0.113.7"),
        ("True-Client-IP", "203.0.113.7"),
        ("CF-Connecting-IP", "203.0.113.7"),
        ("Forwarded", "for=203.0.113.7"),
    ];
    for source in ["127.0.0.2", "127.0.0.9"] {
        let answer = edge.request_from(Some(source.parse().unwrap()), "GET", "www.brand.com", "/", &headers);
        assert_eq!(answer.status, 201);
    }
    let heads = upstream.heads.lock().unwrap();
    let lines = |head: &str| {
        let mut lines: Vec<String> = head.lines().map(str::to_ascii_lowercase).collect();
        lines.retain(|line| ["forwarded", "real", "client", "connecting"].iter().any(|name| line.contains(name)));
        lines.sort();
        lines
    };
    assert_eq!(
        lines(&heads[0]),
        ["forwarded: for=127.0.0.2;proto=http", "x-forwarded-for: 127.0.0.2", "x-forwarded-proto: http"]
    );
    assert_eq!(
        lines(&heads[1]),
        [
            "cf-connecting-ip: 203.0.113.7",
            "forwarded: for=203.0.113.7, for=127.0.0.9;proto=http",
            "true-client-ip: 203.0.113.7",
            "x-forwarded-for: 203.0.113.7, 127.0.0.9",
            "x-forwarded-proto: https",
            "x-real-ip: 203.0.113.7",
            "x_real_ip: 203.0.113.7",
        ]
    );
}

#[test]
fn requests_to_the_upstream_and_clicks_share_a_connection_in_order() {
    let upstream = Upstream::start(true);
    let edge = Edge::builder().section(&upstream.section()).start();
    let mut stream = connect(None, edge.address).unwrap();
    // The body of the first looks like a request, and what follows it is one.
    let body = "GET /nothing HTTP/1.1\r\nHost: go.brand.com\r\n\r\n";
    let length = body.len();
    let requests = format!(
        "POST /a HTTP/1.1\r\nHost: www.brand.com\r\nContent-Length: {length}\r\n\r\n{body}\
         GET /spring?b HTTP/1.1\r\nHost: go.brand.com\r\n\r\n\
         GET /c HTTP/1.1\r\nHost: www.brand.com\r\n\r\n\
         GET /spring?d HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(requests.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let text = text.replace(body, "(body)");
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["201", "302", "201", "302"], "{text}");
    assert!(text.contains("\r\n\r\n(body)HTTP/1.1 302"), "{text}");
    assert_eq!(upstream.heads.lock().unwrap().len(), 2);
}

/// A server that answers one request with `answer`, then whatever it reads with the same.
fn echo(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
            thread::spawn(move || {
                let _ = stream.get_mut().write_all(answer);
                let mut buffer = [0; 1_024];
                while let Ok(read) = stream.read(&mut buffer)
                    && read > 0
                {
                    let _ = stream.get_mut().write_all(&buffer[..read]);
                }
            });
        }
    });
    address
}

#[test]
fn another_protocol_passes_through_both_ways() {
    let upstream = echo(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let section = format!("[upstream]\naddress = \"{upstream}\"\nresponse_secs = 1");
    let edge = Edge::builder().section(&section).start();
    let mut stream = connect(None, edge.address).unwrap();
    let request = "GET /a HTTP/1.1\r\nHost: www.brand.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    for message in ["GET /spring HTTP/1.1\r\n\r\n".to_owned(), "x".repeat(100_000)] {
        // Silence is longer than an answer of the upstream may take.
        thread::sleep(Duration::from_millis(1_500));
        stream.write_all(message.as_bytes()).unwrap();
        let mut back = vec![0; message.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == message.as_bytes());
    }
}

#[test]
fn the_last_answer_of_a_connection_says_so() {
    let upstream = Upstream::start(true);
    let section = format!("{}[limits]\nrequests_per_connection = 2", upstream.section());
    let edge = Edge::builder().section(&section).start();
    let mut stream = connect(None, edge.address).unwrap();
    stream.write_all(&b"GET /a HTTP/1.1\r\nHost: www.brand.com\r\n\r\n".repeat(3)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let text = text.to_ascii_lowercase();
    assert_eq!(text.matches("http/1.1 201").count(), 2, "{text}");
    assert_eq!(text.matches("connection: close").count(), 1, "{text}");
    assert!(text.rfind("connection: close") > text.rfind("http/1.1 201"), "{text}");
}

#[test]
fn a_client_that_closes_its_side_gets_its_answer() {
    let upstream = Upstream::start(true);
    let edge = Edge::builder().section(&upstream.section()).start();
    let mut stream = connect(None, edge.address).unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: www.brand.com\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
}

#[test]
fn a_client_that_does_not_read_or_send_gives_its_place_back() {
    let upstream = Upstream::start(true);
    let edge = Edge::builder().section(&format!("{}requests = 1\n", upstream.section())).start();
    // A body that never comes.
    let mut stuck = connect(None, edge.address).unwrap();
    stuck.write_all(b"POST /a HTTP/1.1\r\nHost: www.brand.com\r\nContent-Length: 9\r\n\r\nx").unwrap();
    edge.wait_until("the place is taken", |_| upstream.heads.lock().unwrap().len() == 1);
    assert_eq!(edge.get("www.brand.com", "/").status, 503);
    edge.wait_until("the place is free", |edge| edge.get("www.brand.com", "/").status == 201);
}

#[test]
fn an_upstream_that_never_answers_holds_no_click_up() {
    let upstream = Upstream::start(false);
    let section = format!("{}requests = 3\nresponse_secs = 2\n", upstream.section());
    let edge = Edge::builder().section(&section).start();
    thread::scope(|scope| {
        let began = Instant::now();
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| edge.get("www.brand.com", "/").status)).collect();
        edge.wait_until("three requests wait", |_| upstream.heads.lock().unwrap().len() == 3);
        assert_eq!(edge.get("www.brand.com", "/").status, 503, "a fourth is turned away");
        assert_eq!(edge.get("go.brand.com", "/spring").status, 302);
        assert!(began.elapsed() < Duration::from_secs(2), "before the upstream's time is up");
        for waiting in waiting {
            assert!((502..=504).contains(&waiting.join().unwrap()));
        }
    });
    // Their places are free again.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| edge.get("www.brand.com", "/").status);
        edge.wait_until("a fifth request waits", |_| upstream.heads.lock().unwrap().len() >= 4);
        assert!((502..=504).contains(&waiting.join().unwrap()));
    });
}

#[test]
fn an_upstream_that_does_not_accept_costs_the_time_to_connect() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // Its backlog is full then, and the kernel drops what asks for more.
    let fill = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        socket
    };
    let _full: Vec<_> = (0..4).map(|_| fill()).collect();
    let section = format!("[upstream]\naddress = \"{address}\"\nconnect_secs = 1\nrequests = 1\n");
    let edge = Edge::builder().section(&section).start();
    // The second one finds the place free.
    for _ in 0..2 {
        let began = Instant::now();
        assert_eq!(edge.get("www.brand.com", "/").status, 502);
        assert!((900..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}

#[test]
fn an_upstream_that_stops_in_the_middle_of_an_answer_gives_its_place_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc").unwrap();
            held.push(stream);
        }
    });
    let section = format!("[upstream]\naddress = \"{address}\"\nresponse_secs = 1\nrequests = 1\n");
    let edge = Edge::builder().section(&section).start();
    let ask = || {
        let began = Instant::now();
        let mut stream = connect(None, edge.address).unwrap();
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: www.brand.com\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        (began, text)
    };
    let until = Instant::now() + TIMEOUT;
    for _ in 0..2 {
        let (mut began, mut text) = ask();
        // The client may see the end of its answer a moment before the place is free.
        while text.starts_with("HTTP/1.1 503 ") && Instant::now() < until {
            (began, text) = ask();
        }
        assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nabc"), "closed, not completed: {text}");
        assert!((900..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
}
