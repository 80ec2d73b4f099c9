//! A real certificate authority, Let's Encrypt's `pebble`, in a folder of its own, and a DNS server by which every name
//! leads to this machine.

use std::{
    fs,
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use super::{TIMEOUT, free_address};

/// The server's binary; `None`, and a line that says so, where it is not installed.
pub fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("pebble")).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: pebble is not installed");
    }
    found
}

/// The CA. Killed when dropped.
pub struct Pebble {
    dir: TempDir,
    binary: PathBuf,
    address: SocketAddr,
    dns: SocketAddr,
    process: Option<Child>,
}

/// Where the CA looks for names, and what it issues.
pub struct Settings {
    pub http: SocketAddr,
    pub tls: SocketAddr,
    /// Seconds that a certificate is valid.
    pub validity: u64,
}

impl Pebble {
    /// Prepares a CA that is not running yet.
    pub fn prepare(binary: PathBuf, settings: &Settings) -> Self {
        let (dir, address) = (TempDir::new().unwrap(), free_address());
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        fs::write(dir.path().join("ca.key"), made.signing_key.serialize_pem()).unwrap();
        let config = json!({"pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": "",
            "certificate": dir.path().join("ca.pem"),
            "privateKey": dir.path().join("ca.key"),
            "httpPort": settings.http.port(),
            "tlsPort": settings.tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": settings.validity,
        }});
        fs::write(dir.path().join("pebble.json"), config.to_string()).unwrap();
        Self { dir, binary, address, dns: dns(), process: None }
    }

    /// Starts it, and waits until it answers. It knows nothing of an earlier run.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let process = Command::new(&self.binary)
            .arg("-config")
            .arg(self.dir.path().join("pebble.json"))
            .args(["-dnsserver", &self.dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(process);
        let until = Instant::now() + TIMEOUT;
        while TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < until, "{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// The section of an edge that uses it.
    pub fn section(&self, dir: &Path, more: &str) -> String {
        let (address, root) = (self.address, self.dir.path().join("ca.pem"));
        format!(
            "[acme]\naccept_terms = true\ndirectory_url = \"https://{address}/dir\"\nroot_file = '{}'\n\
             dir = '{}'\n{more}\n",
            root.display(),
            dir.display()
        )
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// Starts a DNS server that ends with the process: every name has the address 127.0.0.1, and nothing else.
fn dns() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query) {
            if let Some(answer) = answer(&query[..length]) {
                _ = socket.send_to(&answer, from);
            }
        }
    });
    address
}

/// The answer to a query with one question.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    const A: [u8; 2] = [0, 1];
    let mut end = 12;
    while *query.get(end)? != 0 {
        end += usize::from(query[end]) + 1;
    }
    let question = query.get(12..end + 5)?;
    let is_a = question.get(end - 11..end - 9)? == A;
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        // The name of the question, A, IN, no time to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}
