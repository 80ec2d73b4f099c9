//! Changes while the edge is upgraded: none that was accepted is lost, and one that cannot be made says when to try
//! again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::*;

/// Numbers of changes of one link.
#[derive(Default)]
struct Numbers {
    accepted: AtomicU64,
    asked: AtomicU64,
    /// Answers that a change cannot be made now.
    unavailable: AtomicU64,
    stop: AtomicBool,
}

/// Changes two links by turns, each until it is accepted.
fn change(admin: SocketAddr, token: &str, numbers: &Numbers) {
    for number in 1.. {
        numbers.asked.store(number, SeqCst);
        for slashtag in ["spring", &format!("new-{number}")] {
            let link = body(&format!("https://e.example/{number}")).to_string();
            let path = format!("/v1/links/go.brand.com/{slashtag}");
            loop {
                let answer = ask_at(admin, token, "PUT", &path, &[], &link).expect("an answer");
                match answer.status {
                    200 | 201 => break,
                    503 => assert!(answer.header("retry-after").is_some(), "{answer:?}"),
                    _ => panic!("change {number} got {answer:?}"),
                }
                assert_eq!(problem(&answer).1, "unavailable");
                numbers.unavailable.fetch_add(1, SeqCst);
                thread::sleep(Duration::from_millis(20));
            }
        }
        numbers.accepted.store(number, SeqCst);
        if numbers.stop.load(SeqCst) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Clicks, and is led to the last change that was accepted, or to a later one.
fn visit(address: SocketAddr, numbers: &Numbers) {
    let mut newest = 0;
    while !numbers.stop.load(SeqCst) {
        let least = numbers.accepted.load(SeqCst).max(newest);
        let request = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nConnection: close\r\n\r\n";
        let answer = exchange(connect(None, address).unwrap(), request).expect("an answer");
        let most = numbers.asked.load(SeqCst);
        let location = answer.header("location").unwrap_or_else(|| panic!("{answer:?}"));
        let found = location.strip_prefix("https://e.example/").and_then(|number| number.parse().ok());
        if let Some(found) = found {
            assert!((least..=most).contains(&found), "{found}, not from {least} to {most}");
            newest = found;
        } else {
            assert_eq!(least, 0, "{location}");
        }
        thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn an_upgrade_loses_no_change_that_was_accepted() {
    let (mut edge, tokens) = edge();
    let numbers = Arc::new(Numbers::default());
    let (admin, address) = (edge.admin, edge.address);
    let token = tokens.all.clone();
    let threads = [
        thread::spawn({
            let numbers = Arc::clone(&numbers);
            move || change(admin, &token, &numbers)
        }),
        thread::spawn({
            let numbers = Arc::clone(&numbers);
            move || visit(address, &numbers)
        }),
    ];
    let more = |edge: &Edge| {
        let before = numbers.accepted.load(SeqCst);
        edge.wait_until("changes are accepted", |_| numbers.accepted.load(SeqCst) > before + 10);
    };
    for _ in 0..2 {
        more(&edge);
        let output = edge.upgrade(&[]);
        assert!(output.status.success(), "{output:?}\n{}", edge.log());
    }
    more(&edge);
    // A successor that fails leaves a process that takes changes.
    let output = edge.upgrade(&["--binary", "/nonexistent"]);
    assert!(!output.status.success(), "{output:?}");
    more(&edge);
    numbers.stop.store(true, SeqCst);
    for thread in threads {
        thread.join().unwrap();
    }
    edge.await_predecessors();
    let (accepted, unavailable) = (numbers.accepted.load(SeqCst), numbers.unavailable.load(SeqCst));
    println!("{accepted} changes, {unavailable} times not now");
    assert!(unavailable > 0, "an upgrade takes no changes for a while");
    let all_are_there = |edge: &Edge| {
        assert_eq!(leads_to(edge, "/spring"), Some(format!("https://e.example/{accepted}")));
        for number in 1..=accepted {
            assert_eq!(leads_to(edge, &format!("/new-{number}")), Some(format!("https://e.example/{number}")));
        }
    };
    all_are_there(&edge);
    let edge = edge.kill().restart();
    all_are_there(&edge);
}
