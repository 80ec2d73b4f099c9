//! An S3 server inside the test process: files in a folder, real signature checks, and faults on demand.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use s3s::{
    Body,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::common;

/// The keys in the credentials file.
pub const KEY: &str = "AKIDTEST";
pub const SECRET: &str = "secret/of/the+test";

/// The keys that the token service hands out.
pub const ROLE_KEY: &str = "ASIAROLE";
pub const ROLE_SECRET: &str = "secret/of/the+role";
pub const ROLE_TOKEN: &str = "token-of-the-role";

const LARGEST_BODY: usize = 64 << 20;

/// What is wrong with the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    Healthy,
    /// 503 for everything.
    Unavailable,
    /// 500 for everything.
    Broken,
    /// 403 for bucket and key that contain this.
    Forbidden(String),
    /// Takes requests and never answers.
    Silent,
    /// Stores, and hangs up instead of saying so. Refusals still get through.
    LostAnswer,
}

/// An upload as it came in.
#[derive(Clone, Debug)]
pub struct Put {
    /// `/bucket/key`, decoded.
    pub path: String,
    pub headers: HeaderMap,
    /// What it was answered with; `None` when it was not.
    pub status: Option<u16>,
}

impl Put {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A request for the keys of a role.
#[derive(Clone, Debug)]
pub struct RoleRequest {
    pub headers: HeaderMap,
    /// The form, decoded.
    pub form: Vec<(String, String)>,
}

/// The server. Buckets must be made before they are written to, as everywhere.
pub struct S3 {
    dir: TempDir,
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<tokio::runtime::Runtime>,
}

struct State {
    root: PathBuf,
    service: S3Service,
    fault: Mutex<Fault>,
    puts: Mutex<Vec<Put>>,
    roles: Mutex<Vec<RoleRequest>>,
}

impl S3 {
    /// A healthy server with the bucket `clicks`, and a credentials file that fits.
    pub fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("buckets");
        fs::create_dir(&root).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).unwrap());
        let mut auth = SimpleAuth::from_single(KEY, SECRET);
        auth.register(ROLE_KEY.into(), ROLE_SECRET.into());
        builder.set_auth(auth);
        let state = Arc::new(State {
            root,
            service: builder.build(),
            fault: Mutex::new(Fault::Healthy),
            puts: Mutex::default(),
            roles: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, Arc::clone(&state)));
        let s3 = Self { dir, address, state, runtime: Some(runtime) };
        s3.make_bucket("clicks");
        s3.write_credentials(KEY, SECRET);
        s3
    }

    /// The base address, of the bucket and of the token service.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The sink's part of a feed's configuration: this server's bucket, and more lines of the same table.
    pub fn sink_toml(&self, bucket: &str, more: &str) -> String {
        let (endpoint, credentials) = (self.endpoint(), self.credentials_file());
        format!(
            "[feeds.sink.s3]\nbucket = {bucket:?}\nregion = \"eu-west-1\"\nendpoint = {endpoint:?}\npath_style = true\n\
             credentials_file = '{}'\n{more}\n",
            credentials.display()
        )
    }

    fn credentials_file(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    /// Writes the credentials file anew.
    pub fn write_credentials(&self, key: &str, secret: &str) {
        let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n");
        fs::write(self.credentials_file(), text).unwrap();
    }

    pub fn make_bucket(&self, bucket: &str) {
        fs::create_dir(self.state.root.join(bucket)).unwrap();
    }

    /// Breaks or mends the server, from the next request on.
    pub fn set(&self, fault: Fault) {
        *self.state.fault.lock().unwrap() = fault;
    }

    /// All uploads so far, answered or not.
    pub fn puts(&self) -> Vec<Put> {
        self.state.puts.lock().unwrap().clone()
    }

    /// All requests for the keys of a role so far.
    pub fn role_requests(&self) -> Vec<RoleRequest> {
        self.state.roles.lock().unwrap().clone()
    }

    /// Where the buckets are.
    pub fn root(&self) -> PathBuf {
        self.state.root.clone()
    }

    /// The keys of a bucket's objects, sorted.
    pub fn objects(&self, bucket: &str) -> Vec<String> {
        let root = self.state.root.join(bucket);
        let keys = common::objects_below(&root).into_iter().map(|path| path.strip_prefix(&root).unwrap().to_owned());
        let mut keys: Vec<_> = keys.map(|key| key.to_str().unwrap().to_owned()).collect();
        keys.sort();
        keys
    }

    /// The events in a bucket, in the order of its keys.
    pub fn events(&self, bucket: &str) -> Vec<Value> {
        common::events_below(&self.state.root.join(bucket))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Silent answers would be waited for.
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// An error closes the connection without an answer.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = Body::from(body).store_all_limited(LARGEST_BODY).await.map_err(io::Error::other)?;
    if parts.method == Method::POST && parts.uri.path() == "/" {
        return Ok(state.hand_out_role(parts.headers, &body));
    }
    let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let number = {
        let mut puts = state.puts.lock().unwrap();
        puts.push(Put { path: path.clone(), headers: parts.headers.clone(), status: None });
        puts.len() - 1
    };
    let fault = state.fault.lock().unwrap().clone();
    let bucket = path.split('/').nth(1).unwrap_or_default();
    let response = match &fault {
        Fault::Unavailable => error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Fault::Broken => error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        Fault::Forbidden(part) if path.contains(part) => error(StatusCode::FORBIDDEN, "AccessDenied"),
        Fault::Silent => std::future::pending().await,
        _ if !state.root.join(bucket).is_dir() => error(StatusCode::NOT_FOUND, "NoSuchBucket"),
        _ => {
            let request = Request::from_parts(parts, Body::from(body));
            let response =
                state.service.call(request).await.map_err(|error| io::Error::other(format!("{error:?}")))?;
            if fault == Fault::LostAnswer && response.status().is_success() {
                return Err(io::Error::other("the answer is lost"));
            }
            response
        }
    };
    state.puts.lock().unwrap()[number].status = Some(response.status().as_u16());
    Ok(response)
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    xml(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"))
}

fn xml(status: StatusCode, body: String) -> Response<Body> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
    response.body(Body::from(body)).unwrap()
}

impl State {
    fn hand_out_role(&self, headers: HeaderMap, body: &[u8]) -> Response<Body> {
        let form = url::form_urlencoded::parse(body).into_owned().collect();
        self.roles.lock().unwrap().push(RoleRequest { headers, form });
        let answer = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
             <AccessKeyId>{ROLE_KEY}</AccessKeyId><SecretAccessKey>{ROLE_SECRET}</SecretAccessKey>\
             <SessionToken>{ROLE_TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>\
             </Credentials></AssumeRoleResult></AssumeRoleResponse>"
        );
        xml(StatusCode::OK, answer)
    }
}
