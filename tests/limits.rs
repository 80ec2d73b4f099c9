//! Links that answer only so many clicks (`maxClicks`): exactly, whatever happens to the process and to its files.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use clickedge::redirect::click_limits::{LinkKey, UsedClicks};
use serde_json::{Value, json};

use crate::common::{Builder, CHROME, Edge, connect, link};

const OVER: &str = "https://www.example.com/over";

fn limited(slashtag: &str, max: u64) -> Value {
    let mut link = link("go.brand.com", slashtag, "https://www.example.com/");
    link["scripts"] = json!([]);
    link["maxClicks"] = json!(max);
    link["fallback"] = json!(OVER);
    link
}

fn with(max: u64) -> Builder {
    Edge::builder().link(limited("few", max))
}

/// Whether a click of a person gets to the link's destination, and not to its fallback.
fn clicks(edge: &Edge) -> bool {
    edge.get("go.brand.com", "/few").header("location") != Some(OVER)
}

fn click_until_over(edge: &Edge) -> usize {
    (0..100_000).take_while(|_| clicks(edge)).count()
}

/// A connection that clicks again and again.
struct Visitor(BufReader<TcpStream>);

impl Visitor {
    fn new(address: SocketAddr) -> Option<Self> {
        connect(None, address).ok().map(BufReader::new).map(Self)
    }

    /// `None` when the connection ends without a whole answer.
    fn clicks(&mut self) -> Option<bool> {
        let head = format!("GET /few HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: {CHROME}\r\n");
        let head = head + "Accept: text/html\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\n\r\n";
        self.0.get_mut().write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            if self.0.read_line(&mut answer).ok()? == 0 {
                return None;
            }
        }
        assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
        Some(!answer.contains(OVER))
    }
}

#[test]
fn a_limit_is_exact_over_threads_and_connections() {
    const MAX: usize = 500;
    let edge = with(MAX as u64).start();
    let address = edge.address;
    let answered: usize = thread::scope(|scope| {
        let visitors = [(); 8].map(|()| {
            scope.spawn(move || {
                let mut visitor = Visitor::new(address).unwrap();
                (0..MAX / 4).filter(|_| visitor.clicks().unwrap()).count()
            })
        });
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum()
    });
    assert_eq!(answered, MAX);
    assert!(!clicks(&edge));
}

#[test]
fn only_people_use_a_limit_up() {
    let edge = with(2).section("[redirect]\nno_track_parameter = \"notrack\"").start();
    let get = |method, target, headers: &[(&str, &str)]| edge.request(method, "go.brand.com", target, headers);
    assert!(clicks(&edge));
    let others = [
        get("GET", "/few", &[("User-Agent", "facebookexternalhit/1.1")]),
        get("GET", "/few", &[("Sec-Purpose", "prefetch")]),
        get("HEAD", "/few", &[]),
        get("GET", "/few?notrack", &[]),
    ];
    assert!(others.iter().all(|answer| answer.header("location") == Some("https://www.example.com/")), "{others:?}");
    let opted_out = get("GET", "/few", &[("Sec-GPC", "1")]);
    assert_eq!(opted_out.header("location"), Some("https://www.example.com/"));
    assert!(!clicks(&edge), "the visitor who opted out is a person");
}

#[test]
fn a_count_outlives_kills_restarts_and_a_reboot_of_the_machine() {
    let edge = with(9).start();
    assert!(clicks(&edge) && clicks(&edge));
    let edge = edge.kill().restart();
    assert!(clicks(&edge) && clicks(&edge));
    let stopped = edge.terminate();
    let edge = stopped.restart();
    assert!(clicks(&edge));
    let stopped = edge.terminate();
    // The rings' tmpfs is empty after a reboot.
    fs::remove_file(stopped.rings().join("click-limits")).unwrap();
    let edge = stopped.restart();
    assert_eq!(click_until_over(&edge), 4);
}

#[test]
fn the_copy_follows_the_count_within_seconds() {
    let edge = with(3).start();
    assert!(clicks(&edge));
    let size = |edge: &Edge| fs::metadata(edge.dir().join("spool/click-limits")).map_or(0, |file| file.len());
    edge.wait_until("copied", |edge| size(edge) > 24);
    let stopped = edge.kill();
    fs::remove_file(stopped.rings().join("click-limits")).unwrap();
    assert_eq!(click_until_over(&stopped.restart()), 2);
}

#[test]
fn an_edge_with_a_damaged_count_answers_and_reports_it() {
    let edge = with(3).start();
    assert!(clicks(&edge));
    let stopped = edge.terminate();
    fs::write(stopped.rings().join("click-limits"), "foreign").unwrap();
    let edge = stopped.restart();
    assert!(edge.log().contains("click limits set aside"), "{}", edge.log());
    assert_eq!(click_until_over(&edge), 2, "by the copy");
    let stopped = edge.terminate();
    for dir in [stopped.rings().to_owned(), stopped.dir().join("spool")] {
        fs::write(dir.join("click-limits"), [7; 5_000]).unwrap();
    }
    assert_eq!(click_until_over(&stopped.restart()), 3, "from the beginning");
}

#[test]
fn two_processes_of_an_upgrade_share_a_limit() {
    let mut edge = with(1 << 40).start();
    let (address, has_upgraded) = (edge.address, AtomicBool::new(false));
    // Answered clicks, and those that the process may have counted and could not answer any more.
    let (answered, uncertain) = thread::scope(|scope| {
        let visitors = [(); 4].map(|()| {
            scope.spawn(|| {
                let (mut answered, mut uncertain) = (0, 0);
                while !has_upgraded.load(Ordering::Acquire) {
                    let Some(mut visitor) = Visitor::new(address) else { continue };
                    for _ in 0..50 {
                        if let Some(is_click) = visitor.clicks() {
                            answered += u64::from(is_click);
                        } else {
                            uncertain += 1;
                            break;
                        }
                    }
                }
                (answered, uncertain)
            })
        });
        let output = edge.upgrade(&[]);
        has_upgraded.store(true, Ordering::Release);
        assert!(output.status.success(), "{output:?}");
        let sums = visitors.into_iter().map(|visitor| visitor.join().unwrap());
        sums.fold((0, 0), |(a, b), (answered, uncertain)| (a + answered, b + uncertain))
    });
    assert!(answered > 0, "clicks were answered meanwhile");
    let used = UsedClicks::read(edge.rings(), &edge.dir().join("spool")).unwrap();
    let used = used.of(LinkKey::new("go.brand.com", b"id-few"));
    assert!((answered..=answered + uncertain).contains(&used), "{used} of {answered}, {uncertain} uncertain");
}

#[test]
fn links_that_a_reload_limits_are_counted() {
    let edge = Edge::builder().start();
    let reloads = |edge: &Edge| edge.metric("clickedge_reloads_total{result=\"ok\",what=\"catalog\"}");
    let before = reloads(&edge);
    let links: Vec<_> = (0..900).map(|n| limited(&format!("one-{n}"), 1)).collect();
    edge.write_links(&links);
    edge.signal("HUP");
    edge.wait_until("reloaded", |edge| reloads(edge) == before + 1);
    let leads = |n: usize| edge.get("go.brand.com", &format!("/one-{n}")).header("location") == Some(OVER);
    for n in (0..900).step_by(30) {
        assert!(!leads(n) && leads(n), "{n}");
    }
    assert_eq!(edge.metric("clickedge_click_limits_uncounted_total"), 0);
}

#[test]
fn unknown_slashtags_are_listed_and_links_are_not() {
    let edge = Edge::builder().start();
    for target in ["/sprng", "/spring", "/sprng", "/favicon.ico", "/a%20%22b"] {
        edge.get("go.brand.com", target);
    }
    let unknown: Value = serde_json::from_str(&edge.admin("/v1/stats/unknown/go.brand.com").body).unwrap();
    let listed: Vec<_> = unknown["slashtags"].as_array().unwrap().iter().map(|of| &of["slashtag"]).collect();
    assert_eq!(listed, ["sprng", "a \"b"]);
    assert_eq!((&unknown["requests"], &unknown["slashtags"][0]["requests"]), (&json!(3), &json!(2)));
}
