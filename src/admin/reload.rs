//! `POST /v1/reload`: takes up the configuration and all files that it names, as `SIGHUP` does.
//!
//! The answer comes when it is over: 200 with the keys that were applied, and those that wait for a restart,
//! `{"result":"ok","applied":["limits.header_secs"],"needsRestart":[{"key":"edge.pop","remedy":"..."}],"warnings":[]}`;
//! or 422 with a problem (RFC 9457) that lists what is wrong, and then nothing has changed. Neither has values of keys
//! that name secrets, nor anything that a file with a secret holds.

use serde::Serialize;

use super::{JSON, TEXT, router::Reply};
use crate::pipeline::{Notice, Reloaded, Reloader};

const PROBLEM: &str = "application/problem+json";

#[derive(Serialize)]
struct Done {
    result: &'static str,
    #[serde(flatten)]
    reloaded: Reloaded,
}

#[derive(Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: &'static str,
    errors: Vec<Notice>,
}

/// Reloads on a thread of its own: the other routes never wait for it.
pub(super) async fn reload(reloader: Reloader) -> Reply {
    let reloaded = tokio::task::spawn_blocking(move || reloader.reload()).await;
    let json = |text: serde_json::Result<String>| text.unwrap_or_default() + "\n";
    match reloaded {
        Ok(Ok(reloaded)) => Reply::new(200, JSON, json(serde_json::to_string(&Done { result: "ok", reloaded }))),
        Ok(Err(error)) => {
            let problem = Problem {
                title: "reload failed",
                status: 422,
                detail: "the previous version of everything stays active",
                errors: error.notices(),
            };
            Reply::new(422, PROBLEM, json(serde_json::to_string(&problem)))
        }
        Err(failure) => Reply::new(500, TEXT, format!("{failure}\n")),
    }
}
