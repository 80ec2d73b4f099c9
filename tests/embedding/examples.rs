//! The examples of the chapter on embedding, each run as a program: `cargo run --example own_sink`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{TIMEOUT, get, parameter, try_get};
use crate::common::{events_below, free_address, link};

/// An example that runs, and does not outlive its test.
struct Example {
    program: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    dir: TempDir,
}

impl Example {
    /// Starts an example. Its second argument is `argument`, or a folder for all that it stores.
    fn start(name: &str, argument: impl FnOnce(&Path) -> PathBuf) -> Self {
        // Next to the binary that is tested; `cargo test` builds both.
        let built = Path::new(env!("CARGO_BIN_EXE_clickedge")).with_file_name("examples").join(name);
        assert!(built.exists(), "{} is missing: build it with `cargo build --examples`", built.display());
        let (dir, address) = (tempfile::tempdir_in("/dev/shm").unwrap(), free_address());
        let mut program = Command::new(built)
            .arg(address.to_string())
            .arg(argument(dir.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(program.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let example = Self { program, address, lines, dir };
        example.line("curl -i ");
        super::wait_until("it listens", || std::net::TcpStream::connect(address).is_ok());
        example
    }

    /// The next line that begins so.
    fn line(&self, start: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(TIMEOUT).unwrap_or_else(|_| panic!("no line begins with {start:?}"));
            if line.starts_with(start) {
                return line;
            }
        }
    }

    fn write(&mut self, line: &str) {
        writeln!(self.program.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn status(&self, path: &str) -> u16 {
        get(self.address, path).status
    }

    /// Stops it like Ctrl+C. Its last line, and the events in the folder `bucket`.
    fn stop(mut self) -> (String, Vec<Value>) {
        let pid = self.program.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let last = self.line("");
        let last = std::iter::once(last).chain(self.lines.iter()).last().unwrap();
        assert!(self.program.wait().unwrap().success(), "{last}");
        (last, events_below(&self.dir.path().join("bucket")))
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        _ = self.program.kill();
        _ = self.program.wait();
    }
}

#[test]
fn embed_answers_links_of_a_configuration_file_without_listeners() {
    let example = Example::start("embed", |dir| {
        let text = "[catalog]\nfile = \"links.ndjson\"\n[capture]\ndir = \"rings\"\nring_bytes = 4194304\n\
                    [spool]\ndir = \"spool\"\n\
                    [[feeds]]\nname = \"all\"\nworkspaces = [\"*\"]\nsink.dir.path = \"bucket\"\n";
        fs::write(dir.join("links.ndjson"), link("go.brand.com", "spring", "https://www.example.com/").to_string())
            .unwrap();
        fs::write(dir.join("clickedge.toml"), text).unwrap();
        dir.join("clickedge.toml")
    });
    assert_eq!([example.status("/spring"), example.status("/unknown")], [302, 404]);
    let (last, events) = example.stop();
    assert_eq!(last, "1 clicks answered, 1 events delivered");
    assert_eq!(events[0]["route"]["slashtag"], "spring");
}

#[test]
fn own_sink_prints_each_event() {
    let example = Example::start("own_sink", Path::to_owned);
    assert_eq!(example.status("/spring?utm_term=poster"), 302);
    let event: Value = serde_json::from_str(&example.line("{")).unwrap();
    assert_eq!(event["route"]["slashtag"], "spring");
    assert_eq!(parameter(&event, "utm_term"), Some("poster"));
    assert_eq!(example.status("/spring"), 302);
    let (last, _) = example.stop();
    assert_eq!(last, "2 clicks answered, 2 events delivered");
}

#[test]
fn own_catalog_takes_changes_of_its_database_while_it_runs() {
    let mut example = Example::start("own_catalog", Path::to_owned);
    assert_eq!([example.status("/spring"), example.status("/summer")], [302, 404]);
    example.write("summer https://www.example.com/sale");
    assert_eq!(example.line(""), "changed, revision 1");
    assert_eq!(get(example.address, "/summer").header("location"), Some("https://www.example.com/sale"));
    example.write("spring");
    assert_eq!(example.line(""), "changed, revision 2");
    assert_eq!(example.status("/spring"), 404);
    example.write("autumn example.com");
    assert!(example.line("rejected: ").contains("`destination`"), "the value of the user is rejected");
    example.write("autumn https://www.example.com/autumn");
    example.line("changed");
    example.write("");
    assert_eq!(example.line(""), "replaced");
    assert_eq!(["/spring", "/summer", "/autumn"].map(|path| example.status(path)), [404, 302, 302]);
    let (last, events) = example.stop();
    assert_eq!(last, "4 clicks answered, 4 events delivered");
    let slashtags = events.iter().map(|event| event["route"]["slashtag"].as_str().unwrap());
    let mut slashtags: Vec<_> = slashtags.collect();
    slashtags.sort_unstable();
    assert_eq!(slashtags, ["autumn", "spring", "summer", "summer"]);
}

#[test]
fn own_hook_vetoes_amends_and_names_the_client() {
    let example = Example::start("own_hook", Path::to_owned);
    let answer = get(example.address, "/far");
    assert_eq!((answer.status, &*answer.body), (451, "This link leads elsewhere.\n"));
    assert_eq!((answer.header("server"), answer.header("location")), (Some("my-proxy"), None));
    let answer = try_get(example.address, "/spring", "X-My-Client: 203.0.113.7\r\n").unwrap();
    assert_eq!((answer.status, answer.header("set-cookie")), (302, Some("seen=1; Secure; HttpOnly")));
    let answer = try_get(example.address, "/spring", "X-Forwarded-For: 203.0.113.7\r\n").unwrap();
    assert_eq!(answer.status, 302);
    let (last, events) = example.stop();
    assert_eq!(last, "2 clicks answered, 2 events delivered");
    let mut cities: Vec<_> =
        events.iter().map(|event| event["client"]["location"]["city"].as_str().unwrap()).collect();
    cities.sort_unstable();
    assert_eq!(cities, ["Dublin", "Tokyo"], "the address that the program names, and that of the connection");
}
