//! The main job, end to end: a click on a branded link becomes a delivered event.

use std::{
    fs,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::common::{Edge, TIMEOUT, connect, events_below, exchange, free_address};

#[test]
fn a_click_is_answered_and_its_event_is_delivered() {
    let edge = Edge::builder().feed("all", &["*"]).start();
    let answer = edge.get("go.brand.com", "/spring?utm_term=poster");
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://www.example.com/spring?utm_source=go&utm_term=poster"));
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    edge.wait_until("delivered", |edge| edge.metric("clickedge_events_delivered_total{feed=\"all\"}") == 1);
    let stopped = edge.stop();
    assert!(stopped.status.success());
    let events = stopped.events("all");
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["route"]["slashtag"], "spring");
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn the_commands_of_the_readme_deliver_a_click() {
    let readme = include_str!("../README.md");
    let block = readme.split("```sh\n").find(|block| block.contains("generate links")).expect("the commands");
    let commands: Vec<_> = block.split("```").next().unwrap().lines().collect();
    let [config, links, serve] = commands[..] else { panic!("three commands: {commands:?}") };

    let folder = tempfile::tempdir().unwrap();
    let rings = tempfile::tempdir_in("/dev/shm").unwrap();
    let shell = |command: &str| {
        let binary = format!("clickedge() {{ exec {} \"$@\"; }}; {command}", env!("CARGO_BIN_EXE_clickedge"));
        let mut shell = Command::new("sh");
        shell.args(["-ec", &binary]).current_dir(folder.path());
        shell
    };
    // In a subshell: the function replaces its process.
    for command in [config, links] {
        assert!(shell(&format!("({command}\n)")).status().unwrap().success(), "{command}");
    }
    // Other tests use the same addresses, and the same folder.
    let file = folder.path().join("clickedge.toml");
    let (address, admin) = (free_address(), free_address());
    let text = fs::read_to_string(&file).unwrap();
    let moved = text
        .replace("127.0.0.1:8080", &address.to_string())
        .replace("/dev/shm/clickedge-demo", rings.path().join("rings").to_str().unwrap());
    assert!(
        moved.matches(&address.to_string()).count() == 1 && !moved.contains("/dev/shm/clickedge-demo"),
        "{moved}"
    );
    fs::write(&file, format!("{moved}\n[admin]\naddress = \"{admin}\"\n")).unwrap();

    let mut process = Running(shell(serve).spawn().unwrap());
    let until = Instant::now() + TIMEOUT;
    let pause = || sleep(Duration::from_millis(20));
    let mut answer = None;
    while answer.is_none() {
        pause();
        assert!(Instant::now() < until && process.0.try_wait().unwrap().is_none(), "no answer");
        let request = b"GET /hello?utm_source=readme HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        answer = connect(None, address).ok().and_then(|stream| exchange(stream, request));
    }
    let answer = answer.unwrap();
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("location"), Some("https://www.example.com/welcome?utm_source=readme"));
    let mut events = Vec::new();
    while events.is_empty() {
        pause();
        assert!(Instant::now() < until, "no event");
        events = events_below(&folder.path().join("bucket"));
    }
    assert_eq!(events[0]["route"]["slashtag"], "hello");
}
