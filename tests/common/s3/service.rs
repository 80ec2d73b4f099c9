//! What the server does with a connection and a request, and how it fails.

use std::{
    io,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use s3s::{
    Body,
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Canned, Fault, KEY, Put, REQUEST_ID, ROLE_KEY, ROLE_SECRET, ROLE_TOKEN, RoleRequest, SECRET, Seen};

const LARGEST_BODY: usize = 64 << 20;

/// What the server knows and keeps.
pub struct State {
    pub root: PathBuf,
    pub service: S3Service,
    pub fault: Mutex<Fault>,
    pub puts: Mutex<Vec<Put>>,
    pub seen: Mutex<Vec<Seen>>,
    pub connections: AtomicUsize,
    /// Uploads that are under way, and the most that ever were.
    pub under_way: (AtomicUsize, AtomicUsize),
    pub roles: Mutex<Vec<RoleRequest>>,
    /// Held while an object is replaced by compare-and-set, or while its ETag is read: the service would mix them up.
    exchange: tokio::sync::RwLock<()>,
}

/// Takes connections, which end with this task.
pub async fn accept(listener: TcpListener, state: Arc<State>) {
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
    let number = state.connections.fetch_add(1, Ordering::Relaxed);
    let socket = socket2::SockRef::from(&stream);
    match state.fault() {
        // So that closing the socket resets the connection.
        Fault::Reset => socket.set_linger(Some(Duration::ZERO)).unwrap(),
        // So that the system does not take it all in our place.
        Fault::Deaf => socket.set_recv_buffer_size(4096).unwrap(),
        _ => {}
    }
    let service = service_fn(move |request| answer(Arc::clone(&state), request, number));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An error closes the connection without an answer.
async fn answer(state: Arc<State>, request: Request<Incoming>, connection: usize) -> io::Result<Response<Body>> {
    let (parts, mut body) = request.into_parts();
    let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy().into_owned();
    let put = (parts.method == Method::PUT).then(|| state.note(&path, &parts.headers, connection));
    let _under_way = put.map(|_| UnderWay::begin(&state));
    let fault = state.fault();
    match fault {
        Fault::Reset => {
            let _ = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            return Err(io::Error::other("reset"));
        }
        Fault::Deaf => return std::future::pending().await,
        _ => {}
    }
    let mut body = Body::from(body).store_all_limited(LARGEST_BODY).await.map_err(io::Error::other)?;
    if parts.method == Method::POST && parts.uri.path() == "/" {
        return Ok(state.hand_out_role(parts.headers, &body));
    }
    if let Some(put) = put {
        state.puts.lock().unwrap()[put].crc32 = crc32(&body);
    }
    let bucket = path.split('/').nth(1).unwrap_or_default();
    state.seen.lock().unwrap().push(Seen {
        method: parts.method.to_string(),
        path: path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.clone(),
    });
    let conditional = [header::IF_NONE_MATCH, header::IF_MATCH].iter().any(|name| parts.headers.contains_key(name));
    let canned = |answers: &[Canned]| {
        let fits = |answer: &&Canned| answer.method.is_empty() || answer.method == parts.method.as_str();
        answers.iter().find(fits).map(|answer| answer.response(&parts.method))
    };
    let response = match &fault {
        Fault::Canned(answers) if canned(answers).is_some() => canned(answers).unwrap(),
        Fault::Unconditional(status) if put.is_some() && conditional => {
            error(StatusCode::from_u16(*status).unwrap(), "NotImplemented")
        }
        Fault::SilentFor(part) if path.contains(part) => std::future::pending().await,
        Fault::Unavailable => error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"),
        Fault::Broken => error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        Fault::Forbidden(part) if path.contains(part) => error(StatusCode::FORBIDDEN, "AccessDenied"),
        Fault::Blind if put.is_none() => error(StatusCode::FORBIDDEN, "AccessDenied"),
        Fault::Unlisted(_) if put.is_none() && !state.root.join(&path[1..]).is_file() => {
            error(StatusCode::FORBIDDEN, "AccessDenied")
        }
        Fault::Silent => std::future::pending().await,
        _ if !state.root.join(bucket).is_dir() => error(StatusCode::NOT_FOUND, "NoSuchBucket"),
        _ => {
            if fault == Fault::Corrupt {
                let mut bytes = body.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                // The service looks at the signed SHA-256 first. Where there is a CRC32, let that be what fails.
                if parts.headers.get("x-amz-checksum-crc32").is_some_and(|crc| *crc != *crc32(&bytes)) {
                    state.answered(put, StatusCode::BAD_REQUEST);
                    return Ok(error(StatusCode::BAD_REQUEST, "BadDigest"));
                }
                body = bytes.into();
            }
            let is_careless = matches!(&fault, Fault::Careless(condition) if parts.headers.contains_key(*condition));
            let mut response = state.call(Request::from_parts(parts, Body::from(body))).await?;
            if is_careless && response.status() == StatusCode::PRECONDITION_FAILED {
                response = Response::builder().header(header::ETAG, "\"careless\"").body(Body::empty()).unwrap();
            }
            let is_lost = match &fault {
                Fault::LostAnswer | Fault::Blind | Fault::Unlisted(true) => true,
                Fault::LostAnswerFor(part) => path.contains(part),
                _ => false,
            };
            if is_lost && put.is_some() && response.status().is_success() {
                return Err(io::Error::other("the answer is lost"));
            }
            response
        }
    };
    state.answered(put, response.status());
    Ok(response)
}

/// An upload that is under way, counted until it is dropped.
struct UnderWay(Arc<State>);

impl UnderWay {
    fn begin(state: &Arc<State>) -> Self {
        let now = state.under_way.0.fetch_add(1, Ordering::Relaxed) + 1;
        state.under_way.1.fetch_max(now, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Canned {
    fn response(&self, method: &Method) -> Response<Body> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(*name, *value);
        }
        let body = if *method == Method::HEAD { "" } else { self.body };
        response.body(Body::from(body.to_owned())).unwrap()
    }
}

fn crc32(bytes: &[u8]) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    aws_smithy_types::base64::encode(crc.sum().to_be_bytes())
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    let mut response = xml(status, format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"));
    response.headers_mut().insert("x-amz-request-id", header::HeaderValue::from_static(REQUEST_ID));
    response
}

fn xml(status: StatusCode, body: String) -> Response<Body> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml");
    response.body(Body::from(body)).unwrap()
}

impl State {
    /// A healthy server over the buckets below `root`.
    pub fn new(root: PathBuf) -> Self {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).unwrap());
        let mut auth = SimpleAuth::from_single(KEY, SECRET);
        auth.register(ROLE_KEY.into(), ROLE_SECRET.into());
        builder.set_auth(auth);
        Self {
            root,
            service: builder.build(),
            fault: Mutex::new(Fault::Healthy),
            puts: Mutex::default(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            under_way: <(AtomicUsize, AtomicUsize)>::default(),
            roles: Mutex::default(),
            exchange: tokio::sync::RwLock::default(),
        }
    }

    /// The service's answer, with what it lacks of conditional requests.
    async fn call(&self, request: Request<Body>) -> io::Result<Response<Body>> {
        let is_exchange = *request.method() == Method::PUT && request.headers().contains_key(header::IF_MATCH);
        let _alone = if is_exchange { Some(self.exchange.write().await) } else { None };
        let _together = if is_exchange { None } else { Some(self.exchange.read().await) };
        let known =
            request.headers().get(header::IF_NONE_MATCH).filter(|_| *request.method() == Method::GET).cloned();
        let response = self.service.call(request).await.map_err(|error| io::Error::other(format!("{error:?}")))?;
        if known.is_some() && response.headers().get(header::ETAG) == known.as_ref() {
            return Ok(Response::builder().status(StatusCode::NOT_MODIFIED).body(Body::empty()).unwrap());
        }
        Ok(response)
    }

    fn fault(&self) -> Fault {
        self.fault.lock().unwrap().clone()
    }

    fn answered(&self, put: Option<usize>, status: StatusCode) {
        if let Some(put) = put {
            self.puts.lock().unwrap()[put].status = Some(status.as_u16());
        }
    }

    /// Keeps an upload, and returns its number.
    fn note(&self, path: &str, headers: &HeaderMap, connection: usize) -> usize {
        let mut puts = self.puts.lock().unwrap();
        let (path, headers) = (path.to_owned(), headers.clone());
        puts.push(Put { path, headers, status: None, crc32: String::new(), connection });
        puts.len() - 1
    }

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
