//! `clickedge top`: the status of a running edge in a terminal.

mod screen;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::Args;
use console::Term;
use serde_json::Value;

use super::{
    edge::{Edge, Reach},
    exit_code,
    output::{print, report, shown},
};
use screen::Screen;

/// Moves the cursor to the first place.
const HOME: &str = "\u{1b}[H";

/// Clears to the end of the line, or of the screen.
const CLEAR_LINE: &str = "\u{1b}[K";
const CLEAR_BELOW: &str = "\u{1b}[J";

/// Arguments of `top`.
#[derive(Args, Debug)]
pub struct Top {
    /// Print the status once. So it is, too, when standard output is no terminal.
    #[arg(long)]
    pub once: bool,
    /// Print the status once, as JSON.
    #[arg(long, conflicts_with = "once")]
    pub json: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub interval: u64,
    /// Configuration file of the edge.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
    #[command(flatten)]
    pub reach: Reach,
}

pub(super) fn run(top: &Top) -> ExitCode {
    match watch(top) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            exit_code(&error)
        }
    }
}

fn watch(top: &Top) -> anyhow::Result<()> {
    let edge = top.reach.edge(&top.config)?;
    if top.json {
        _ = print(&shown(&edge.get("/v1/status")?));
        return Ok(());
    }
    if top.once || !io::stdout().is_terminal() {
        let screen = Screen { width: usize::MAX, is_coloured: false };
        let lines = screen.lines(&status(&edge)?);
        _ = print(&(lines.join("\n") + "\n"));
        return Ok(());
    }
    let term = Term::stdout();
    let mut is_first = true;
    loop {
        let (rows, columns) = term.size();
        let screen = Screen { width: usize::from(columns), is_coloured: console::colors_enabled() };
        let lines = match status(&edge) {
            Ok(status) => screen.lines(&status),
            // An edge that restarts is back in a moment.
            Err(error) if !is_first => vec![screen.bad(&error.to_string())],
            Err(error) => return Err(error),
        };
        is_first = false;
        let mut text = HOME.to_owned();
        // The last row stays empty, so that the screen does not scroll.
        for line in lines.iter().take(usize::from(rows).saturating_sub(1)) {
            text += line;
            text += CLEAR_LINE;
            text.push('\n');
        }
        text += CLEAR_BELOW;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())?;
        drop(out);
        thread::sleep(Duration::from_secs(top.interval));
    }
}

fn status(edge: &Edge) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&edge.get("/v1/status")?)?)
}
