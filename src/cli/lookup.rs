//! `clickedge lookup`: what the edge would answer, and why, without asking it.

use std::{collections::BTreeMap, fmt::Write, net::IpAddr, path::PathBuf, process::ExitCode};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    exit::exit_code,
    output::{failed, json, print, print_error, report},
};
use crate::{
    config,
    pipeline::lookup::{Answered, Followed, Lookup as Edge, Request, Taken, request::request},
    runtime::{Class, clock},
};

/// Columns of the names of steps.
const WIDTH: usize = 12;

/// Arguments of `lookup`.
#[derive(Args, Debug)]
pub struct Lookup {
    /// The short link.
    pub url: String,
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
    /// Address of the client, or of the proxy that a header names the client for.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub from: IpAddr,
    /// Header of the request, such as 'Accept-Language: de'. Can be given several times.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Method of the request.
    #[arg(long, short = 'X', default_value = "GET", value_parser = method)]
    pub method: String,
    /// Time of the request, such as 2026-11-24T09:30:00Z; now if it is not given.
    #[arg(long, value_name = "TIME")]
    pub at: Option<Timestamp>,
    /// Print each step of the decision.
    #[arg(long)]
    pub explain: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    /// Absent when the upstream answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a Followed>,
    headers: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<&'a [Taken]>,
}

pub(super) fn run(lookup: &Lookup) -> ExitCode {
    let request = match request(&lookup.url, &lookup.method, &lookup.headers) {
        Ok(request) => request,
        Err(message) => return failed(Class::Usage, &message),
    };
    let edge = config::load(&lookup.config).map_err(anyhow::Error::from).and_then(|config| Ok(Edge::open(&config)?));
    let (edge, unread) = match edge {
        Ok(opened) => opened,
        Err(error) => {
            report(&error);
            return exit_code(&error);
        }
    };
    for part in unread {
        print_error(&format!("warning: {part}"));
    }
    let at = lookup.at.map_or_else(clock::unix_micros, |at| u64::try_from(at.as_microsecond()).unwrap_or(0));
    let answered = edge.answer(&Request { head: &request.bytes, tls: request.tls, peer: lookup.from, at });
    let text = if lookup.json { json(&output(&answered, lookup.explain)) } else { text(&answered, lookup.explain) };
    match print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn output(answered: &Answered, explain: bool) -> Output<'_> {
    let headers = answered.headers.iter().filter(|_| !answered.is_passed_on);
    Output {
        status: (!answered.is_passed_on).then_some(answered.status),
        location: answered.header("location"),
        link: answered.followed.as_ref(),
        headers: headers.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        steps: explain.then_some(&answered.steps),
    }
}

fn text(answered: &Answered, explain: bool) -> String {
    let mut text = match (answered.is_passed_on, answered.header("location")) {
        (true, _) => "not a branded domain: the upstream answers".into(),
        (false, Some(location)) => format!("{} {location}", answered.status),
        (false, None) => answered.status.to_string(),
    };
    let mut line = |name: &str, value: &str| {
        // Writing into a string cannot fail.
        _ = write!(text, "\n{name:WIDTH$} {value}");
    };
    if let Some(followed) = &answered.followed {
        line("link", &format!("{} ({}/{})", followed.id, followed.domain, followed.slashtag));
        let names = [("rule", followed.rule.as_str()), ("variant", &followed.variant)];
        names.iter().filter(|(_, value)| !value.is_empty()).for_each(|(name, value)| line(name, value));
        line("click", if followed.is_click { "yes" } else { "no" });
    }
    if explain {
        line("", "");
        answered.steps.iter().for_each(|taken| line(taken.step, &taken.result));
    }
    text.push('\n');
    text
}

/// The method of a request, in the letters in which it was given.
fn method(text: &str) -> Result<String, String> {
    match http::Method::from_bytes(text.as_bytes()) {
        Ok(method) => Ok(method.as_str().into()),
        Err(_) => Err("write a method, such as GET".into()),
    }
}
