//! A receiver of webhooks inside the test process, as a customer would write it after the specification: it verifies
//! signatures with the specification's own library and stores each `webhook-id` once. It fails on demand, and notes
//! whatever a sender must not do.

use std::{
    collections::HashMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What is wrong with the receiver.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    Healthy,
    /// Answers with a status and headers, and stores nothing.
    Answer(u16, &'static [(&'static str, &'static str)]),
    /// Stores so many requests from now on, and answers 500 to the others.
    Only(usize),
    /// Takes requests and never answers.
    Silent,
    /// Resets the connection after the first part of the body.
    Reset,
    /// Stores, and hangs up instead of answering.
    LostAnswer,
    /// Stores, and answers with 200 and a megabyte of noise.
    Garbage,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub id: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What it was answered with; `None` when it was not.
    pub status: Option<u16>,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

struct State {
    root: PathBuf,
    fault: Mutex<Fault>,
    /// Most events of a request; 413 for more.
    limit: AtomicUsize,
    secrets: Mutex<Vec<String>>,
    requests: Mutex<Vec<Received>>,
    /// The bodies of every id that came in.
    bodies: Mutex<HashMap<String, Bytes>>,
    /// Ids that are stored.
    stored: Mutex<Vec<String>>,
    violations: Mutex<Vec<String>>,
}

/// The receiver.
pub struct Receiver {
    dir: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Receiver {
    /// A healthy receiver, and a secret that fits.
    pub fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("stored");
        fs::create_dir(&root).unwrap();
        let state = Arc::new(State {
            root,
            fault: Mutex::new(Fault::Healthy),
            limit: AtomicUsize::new(usize::MAX),
            secrets: Mutex::default(),
            requests: Mutex::default(),
            bodies: Mutex::default(),
            stored: Mutex::default(),
            violations: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, Arc::clone(&state)));
        let receiver = Self { dir, address, state, runtime: Some(runtime) };
        let secret = receiver.write_secret("secret");
        receiver.accept_secrets(&[&secret]);
        receiver
    }

    /// Writes a new secret into a file of this name, and returns it.
    pub fn write_secret(&self, name: &str) -> String {
        let bytes: Vec<u8> = (0..32).map(|_| fastrand::u8(..)).collect();
        let secret = format!("whsec_{}", aws_smithy_types::base64::encode(bytes));
        fs::write(self.secret_file(name), format!("{secret}\n")).unwrap();
        secret
    }

    pub fn secret_file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Answers 413 to requests with more events, whatever else is wrong.
    pub fn accept_at_most(&self, events: usize) {
        self.state.limit.store(events, Ordering::Relaxed);
    }

    /// Only requests with a signature of one of these are accepted from now on; others get 401.
    pub fn accept_secrets(&self, secrets: &[&str]) {
        *self.state.secrets.lock().unwrap() = secrets.iter().map(ToString::to_string).collect();
    }

    /// The sink's part of a feed's configuration: this receiver, and more lines of the same table.
    pub fn sink_toml(&self, more: &str) -> String {
        let (url, secret) = (self.url(), self.secret_file("secret"));
        format!("[feeds.sink.webhook]\nurl = \"{url}\"\nsecret_files = ['{}']\n{more}\n", secret.display())
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks/clicks?token=t0ken", self.address)
    }

    /// Sets the fault, or none, from the next request on.
    pub fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// All requests so far, answered or not.
    pub fn requests(&self) -> Vec<Received> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The folder of what is stored: a file for each id, in the partition of its events.
    pub fn root(&self) -> &Path {
        &self.state.root
    }

    /// The events that are stored, in the order in which they came.
    pub fn events(&self) -> Vec<Value> {
        let requests = self.requests();
        let body = |id: &String| requests.iter().find(|request| request.id == *id).unwrap().json();
        let stored = self.state.stored.lock().unwrap().clone();
        stored.iter().flat_map(|id| body(id)["data"].as_array().unwrap().clone()).collect()
    }

    /// Nothing came in that a sender must not send.
    #[track_caller]
    pub fn assert_sound(&self) {
        let violations = self.state.violations.lock().unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Silent answers would be waited for.
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(serve(stream, Arc::clone(&state)));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    if state.fault() == Fault::Reset {
        // So that closing the socket resets the connection.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let service = service_fn(move |request| answer(Arc::clone(&state), request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error closes the connection without an answer.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, mut body) = request.into_parts();
    let fault = state.fault();
    if fault == Fault::Reset {
        let _ = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        return Err(io::Error::other("reset"));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    if head.method == Method::HEAD {
        return Ok(response(405, &[]));
    }
    let id = head.headers.get("webhook-id").map_or("", |id| id.to_str().unwrap()).to_owned();
    let number = state.note(&id, &head.headers, &body);
    if head.method != Method::POST || head.uri.path() != "/hooks/clicks" || head.uri.query() != Some("token=t0ken") {
        state.violation(format!("{} {}", head.method, head.uri));
    }
    let answer = match &fault {
        Fault::Silent => return std::future::pending().await,
        Fault::Answer(status, headers) => response(*status, headers),
        _ if !state.is_signed(&head.headers, &body) => response(401, &[]),
        _ if events(&body).len() > state.limit.load(Ordering::Relaxed) => response(413, &[]),
        Fault::Only(0) => response(500, &[]),
        _ => {
            if let Fault::Only(left) = fault {
                *state.fault.lock().unwrap() = Fault::Only(left - 1);
            }
            state.store(&id, &body);
            match fault {
                Fault::LostAnswer => return Err(io::Error::other("the answer is lost")),
                Fault::Garbage => {
                    let noise: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
                    Response::new(Full::new(noise.into()))
                }
                _ => response(200, &[]),
            }
        }
    };
    state.requests.lock().unwrap()[number].status = Some(answer.status().as_u16());
    Ok(answer)
}

fn response(status: u16, headers: &[(&str, &str)]) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"ok\":false}")));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(hyper::header::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    response
}

fn events(body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["data"].as_array().cloned().unwrap_or_default()
}

impl State {
    fn fault(&self) -> Fault {
        self.fault.lock().unwrap().clone()
    }

    fn violation(&self, violation: String) {
        self.violations.lock().unwrap().push(violation);
    }

    /// Notes a request, and whether its id came with other bytes before.
    fn note(&self, id: &str, headers: &HeaderMap, body: &Bytes) -> usize {
        if id.is_empty() || id.len() > 64 || id.contains('.') {
            self.violation(format!("an id that is no id: {id:?}"));
        }
        if self.bodies.lock().unwrap().entry(id.to_owned()).or_insert_with(|| body.clone()) != body {
            self.violation(format!("{id} has two bodies"));
        }
        let (at, id, headers, body) = (Instant::now(), id.to_owned(), headers.clone(), body.clone());
        let mut requests = self.requests.lock().unwrap();
        requests.push(Received { at, id, headers, body, status: None });
        requests.len() - 1
    }

    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let secrets = self.secrets.lock().unwrap();
        secrets.iter().any(|secret| standardwebhooks::Webhook::new(secret).unwrap().verify(body, headers).is_ok())
    }

    /// Stores a request, once. Its events are of one hour, as those of an object.
    fn store(&self, id: &str, body: &[u8]) {
        let mut stored = self.stored.lock().unwrap();
        if stored.iter().any(|other| other == id) {
            return;
        }
        let events = events(body);
        if let Some(timestamp) = events.first().and_then(|event| event["timestamp"].as_str()) {
            let folder = self.root.join(format!("dt={}/hour={}", &timestamp[..10], &timestamp[11..13]));
            fs::create_dir_all(&folder).unwrap();
            let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
            let draft = folder.join(format!(".{id}.tmp"));
            fs::write(&draft, lines).unwrap();
            fs::rename(draft, folder.join(format!("{id}.ndjson"))).unwrap();
        }
        stored.push(id.to_owned());
    }
}
