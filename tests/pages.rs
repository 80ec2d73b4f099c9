//! Pages of links in a real browser: it arrives at the destination, whatever the scripts of a link do, and after the
//! right word; and pages fit on a phone. Without `chromium` these tests print `skipped:` and pass.
//!
//! `UPDATE_MANUAL=1` writes the pictures in `src/manual/pages/`.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::common::{Builder, Edge, browser::Browser, link};

/// Of `open sesame`, with argon2id.
const HASH: &str = "$argon2id$v=19$m=256,t=1,p=1$c29tZSBzYWx0IGhlcmU$q7fIkvv0VnSu3xA5NZT7Qdf2xQSxJ+je0JUsVhl0XrU";

/// A browser needs seconds on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The web: destinations, scripts, and a record of who has asked for what.
struct Web {
    address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let paths: Arc<Mutex<Vec<String>>> = Arc::default();
        let all = Arc::clone(&paths);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let all = Arc::clone(&all);
                thread::spawn(move || answer(&stream.unwrap(), address, &all));
            }
        });
        Self { address, paths }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often a path was asked for.
    fn count(&self, path: &str) -> usize {
        self.paths.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    fn wait_for(&self, path: &str) {
        let until = Instant::now() + TIMEOUT;
        while self.count(path) == 0 {
            assert!(Instant::now() < until, "{path} was never asked for: {:?}", self.paths.lock().unwrap());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Answers one request. `/hang.js` gets no answer for as long as the browser waits.
fn answer(stream: &TcpStream, address: SocketAddr, paths: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    for line in &mut lines {
        if line.is_empty() {
            break;
        }
    }
    paths.lock().unwrap().push(path.clone());
    if path == "/hang.js" {
        lines.next();
        return;
    }
    // A script that loads another one, as pixels do.
    let load =
        format!("document.body.appendChild(document.createElement('script')).src='http://{address}/loaded.js'");
    let (kind, body) = match path.as_str() {
        "/run.js" => ("text/javascript", load.as_str()),
        "/throw.js" => ("text/javascript", "throw new Error('thrown')"),
        path if Path::new(path).extension().is_some_and(|end| end == "js") => ("text/javascript", ""),
        _ => ("text/html", "<!DOCTYPE html><title>Arrived</title><h1>Arrived</h1>"),
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = stream;
    let _ = stream.write_all(answer.as_bytes());
}

/// A link to `/arrived` at the web, with these scripts.
fn scripted(web: &Web, slashtag: &str, scripts: &Value) -> Value {
    let mut link = link("go.brand.com", slashtag, &web.url(&format!("/arrived-{slashtag}?a='\"<>&b=1")));
    link["forwardParameters"] = json!(false);
    link["scripts"] = scripts.clone();
    link
}

fn with_scripts(web: &Web) -> Builder {
    let run = json!({"id": "1", "name": "runs", "uri": web.url("/run.js")});
    let loads =
        format!("document.head.appendChild(document.createElement('script')).src='{}'", web.url("/inline.js"));
    let links = [
        scripted(web, "runs", &json!([run, {"id": "2", "name": "inline", "value": loads}])),
        scripted(web, "hangs", &json!([{"id": "2", "uri": web.url("/hang.js")}, run])),
        scripted(
            web,
            "throws",
            &json!([{"id": "2", "uri": web.url("/throw.js")}, {"id": "3", "value": "throw 1"}, {"id": "4", "value": "no code"}, run]),
        ),
        // The port of discards: no connection.
        scripted(web, "blocked", &json!([{"id": "2", "uri": "http://127.0.0.1:9/x.js"}, run])),
        scripted(web, "stops", &json!([run, {"id": "2", "value": "window.stop()"}])),
        scripted(web, "odd", &json!([{"id": "2", "value": "var text = '</script><!-- \u{2028} <script>'"}, run])),
    ];
    links.into_iter().fold(Edge::builder(), Builder::link)
}

#[test]
fn the_scripts_of_a_link_run_and_the_browser_arrives() {
    let web = Web::start();
    let edge = with_scripts(&web).start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    browser.open("http://go.brand.com/runs");
    web.wait_for("/arrived-runs?a=%27%22%3C%3E&b=1");
    for script in ["/run.js", "/loaded.js", "/inline.js"] {
        assert_eq!(web.count(script), 1, "{script}");
    }
    let asked = web.paths.lock().unwrap().clone();
    let arrived = asked.iter().position(|path| path.starts_with("/arrived")).unwrap();
    assert_eq!(arrived, 3, "scripts run first: {asked:?}");
}

#[test]
fn the_browser_arrives_whatever_a_script_does() {
    let web = Web::start();
    let edge = with_scripts(&web).start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    for (number, slashtag) in ["hangs", "throws", "blocked", "stops", "odd"].iter().enumerate() {
        browser.open(&format!("http://go.brand.com/{slashtag}"));
        let arrived = format!("/arrived-{slashtag}?a=%27%22%3C%3E&b=1");
        web.wait_for(&arrived);
        browser.wait_for("document.title === 'Arrived'");
        assert_eq!(web.count(&arrived), 1, "{slashtag}");
        // What stops loading stops the others, too.
        if *slashtag != "stops" {
            assert!(web.count("/run.js") >= (number + 1).min(4), "{slashtag}: the script next to it ran");
        }
    }
}

#[test]
fn a_browser_without_scripts_arrives() {
    let web = Web::start();
    let edge = with_scripts(&web).start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    browser.without_scripts();
    browser.open("http://go.brand.com/hangs");
    web.wait_for("/arrived-hangs?a=%27%22%3C%3E&b=1");
    assert_eq!(web.count("/run.js"), 0);
}

#[test]
fn a_form_with_the_right_word_leads_to_the_destination() {
    let web = Web::start();
    let mut secret = link("go.brand.com", "secret", &web.url("/arrived"));
    secret["passwordHash"] = json!(HASH);
    secret["scripts"] = json!([]);
    let edge = Edge::builder().link(secret).start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    let submit = |browser: &mut Browser, word: &str| {
        browser.wait_for("document.querySelector('input[type=password]')?.matches(':focus') === true");
        browser.evaluate(&format!("document.querySelector('input').value = '{word}'; document.forms[0].submit()"));
    };
    browser.open("http://go.brand.com/secret?utm_term=poster");
    submit(&mut browser, "sesame");
    browser.wait_for("document.querySelector('[role=alert]')?.textContent === 'This password is wrong.'");
    assert_eq!(browser.evaluate("location.href"), json!("http://go.brand.com/secret?utm_term=poster"));
    submit(&mut browser, "open sesame");
    web.wait_for("/arrived?utm_term=poster");
}

/// Each page in light and dark, on a screen and on a phone: nothing is wider than the screen.
#[test]
fn pages_fit_on_a_phone() {
    let web = Web::start();
    let domain = json!({"kind": "domain", "fullName": "go.brand.com", "previewSuffix": "+"});
    let long = format!("https://www.example.com/{}?utm_source=poster&utm_medium=print", "spring/sale-".repeat(9));
    let mut secret = link("go.brand.com", "secret", &web.url("/arrived"));
    secret["passwordHash"] = json!(HASH);
    let mut gone = link("go.brand.com", "gone", "https://www.example.com/");
    gone["status"] = json!("expired");
    let waits = scripted(&web, "scripts", &json!([{"id": "1", "uri": web.url("/hang.js")}]));
    let edge = Edge::builder()
        .section("[redirect]\nscripts_timeout_millis = 10000")
        .link(waits)
        .link(domain)
        .link(secret)
        .link(gone)
        .link(link("go.brand.com", "sale", &long))
        .start();
    let Some(mut browser) = Browser::start(edge.address) else { return };
    let pictures = std::env::var("UPDATE_MANUAL").is_ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/pages");
    let pages = [
        ("not-found", "unknown"),
        ("gone", "gone"),
        ("password", "secret"),
        ("preview", "sale+"),
        ("scripts", "scripts"),
    ];
    for (name, path) in pages {
        browser.open(&format!("http://go.brand.com/{path}"));
        browser.wait_for("document.readyState !== 'loading' && document.querySelector('h1') !== null");
        let color = |browser: &mut Browser| browser.evaluate("getComputedStyle(document.querySelector('h1')).color");
        browser.show_as(320, 480, "light");
        let light = color(&mut browser);
        let fits = browser.evaluate("document.documentElement.scrollWidth <= 320 && innerWidth === 320");
        assert_eq!(fits, json!(true), "{name} is wider than a phone");
        browser.show_as(640, 360, "dark");
        assert_ne!(color(&mut browser), light, "{name} is the same in the dark");
        browser.show_as(640, 360, "light");
        if pictures {
            browser.screenshot(&folder.join(format!("{name}.png")));
        }
    }
}
