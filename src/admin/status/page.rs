//! The status page as HTML. Every text that is not ours goes through [`html::E`].

mod account;
mod html;
mod lists;
mod traffic;

use std::fmt::Write;

use super::{Report, State, Tried};
use html::{E, duration, number};

/// The whole page.
pub fn render(report: &Report, tried: Option<&Tried>) -> String {
    let mut out = String::with_capacity(16 << 10);
    // Writing into a string cannot fail.
    _ = document(&mut out, report, tried);
    out
}

fn document(out: &mut String, report: &Report, tried: Option<&Tried>) -> std::fmt::Result {
    let Report { version, pop, .. } = report;
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{state} - {pop} - clickedge</title>\n<link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"/status.css?v={version}\">\n\
         <script src=\"/status.js?v={version}\" defer></script>\n</head>\n<body>\n\
         <header><h1>clickedge <span>{pop}</span></h1>\n\
         <p id=\"connection\" role=\"status\"></p>\n\
         <noscript><p>The page is live with scripts; without them, reload it.</p></noscript></header>\n\
         <main>\n<div id=\"live\">\n",
        state = report.state.name(),
        pop = E(pop),
        version = E(version),
    )?;
    state(out, report)?;
    lists::problems(out, &report.problems)?;
    traffic::section(out, &report.traffic)?;
    account::section(out, &report.facts.account)?;
    account::spool(out, &report.facts.spool)?;
    lists::feeds(out, &report.facts.feeds)?;
    lists::catalog(out, &report.facts.catalog, report.last_reload.as_ref())?;
    lists::certificates(out, &report.facts.certificates)?;
    lists::databases(out, &report.facts.databases)?;
    lists::top_links(out, &report.top_links)?;
    out.write_str("</div>\n")?;
    lists::try_url(out, tried)?;
    out.write_str(
        "</main>\n<footer><p>The same as JSON: <a href=\"/v1/status\">/v1/status</a>. Metrics: \
         <a href=\"/metrics\">/metrics</a>. Readiness: <a href=\"/readyz\">/readyz</a>.</p></footer>\n</body>\n</html>\n",
    )
}

fn state(out: &mut String, report: &Report) -> std::fmt::Result {
    let class = match report.state {
        State::Ready => "good",
        State::Starting | State::Draining => "warn",
        State::Degraded => "bad",
    };
    let sentence = match (report.state, report.ready) {
        (State::Starting, _) => "Starting: no clicks are accepted yet.".to_owned(),
        (State::Draining, _) => "Draining: the process stops, or another one takes over.".to_owned(),
        (State::Ready, _) => "Ready: clicks are accepted.".to_owned(),
        (State::Degraded, true) => format!("Degraded, and accepts clicks: {}.", reasons(&report.degraded)),
        (State::Degraded, false) => format!("Not ready: {}.", reasons(&report.degraded)),
    };
    let parked = report.facts.feeds.iter().filter(|feed| feed.is_in_trouble()).count();
    writeln!(
        out,
        "<section aria-label=\"State\">\n<p class=\"state {class}\">{}</p>\n<dl class=\"facts\">\n\
         <div><dt>PoP</dt><dd>{}</dd></div>\n<div><dt>Version</dt><dd>{}</dd></div>\n\
         <div><dt>Uptime</dt><dd title=\"since {}\">{}</dd></div>\n\
         <div><dt>Feeds in trouble</dt><dd class=\"{}\">{}</dd></div>\n\
         <div><dt>As of</dt><dd><time>{}</time></dd></div>\n</dl>\n</section>",
        E(&sentence),
        E(&report.pop),
        E(report.version),
        report.started_at,
        duration(report.uptime_secs),
        if parked > 0 { "bad" } else { "good" },
        number(parked as u64),
        report.at,
    )
}

/// What degrades the edge, in words.
fn reasons(degraded: &[&str]) -> String {
    let words = |reason: &&str| match *reason {
        "spool_stalled" => "the spool does not accept writes (spool_stalled)".to_owned(),
        "rings_full" => "the rings are nearly full (rings_full)".to_owned(),
        other => other.to_owned(),
    };
    degraded.iter().map(words).collect::<Vec<_>>().join(", ")
}
