//! `clickedge doctor`: what to change on this machine, and why.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::{Args, value_parser};
use serde::Serialize;

use super::{
    check, exit,
    output::{count, json, print, report},
};
use crate::{
    config,
    doctor::{self, Finding, Level, gather::gather, sizing::Plan},
};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// Configuration file of the edge.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/clickedge/clickedge.toml")]
    pub config: PathBuf,
    /// Clicks a second at the peak that this edge is planned for.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    pub clicks_per_second: u64,
    /// Hours for which sinks may be down without a loss.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = value_parser!(u64).range(1..=8_760))]
    pub outage_hours: u64,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// The output with `--json`.
#[derive(Serialize)]
struct Report<'a> {
    problems: usize,
    warnings: usize,
    checks: &'a [Finding],
}

pub(super) fn run(args: &Doctor) -> ExitCode {
    let config = match config::diagnostics::inspect(&args.config) {
        Ok((config, _)) => config,
        Err(error) => {
            let error = error.into();
            report(&error);
            return exit::exit_code(&error);
        }
    };
    // What keeps the edge from starting comes before what could be better.
    let checked = match check::examine(&args.config, false) {
        Ok((_, warnings)) => doctor::accepted(warnings.len()),
        Err(error) => doctor::rejected(exit::class_along(&error)),
    };
    let plan = Plan { clicks_per_second: args.clicks_per_second, outage_hours: args.outage_hours };
    let mut findings = vec![checked];
    findings.extend(doctor::examine(&gather(&config), &config, &plan));
    let text = if args.json { json(&summed(&findings)) } else { lines(&findings) };
    if let Err(code) = print(&text) {
        return code;
    }
    doctor::class(&findings).map_or(ExitCode::SUCCESS, exit::code)
}

fn summed(findings: &[Finding]) -> Report<'_> {
    let of = |level| findings.iter().filter(|finding| finding.level == level).count();
    Report { problems: of(Level::Problem), warnings: of(Level::Warning), checks: findings }
}

/// A line a check, and one for all.
fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, level, message, remedy, .. } in findings {
        _ = write!(text, "{:<7}  {check:<19}  {message}", level.name());
        if let Some(remedy) = remedy {
            _ = write!(text, "; {remedy}");
        }
        text.push('\n');
    }
    let Report { problems, warnings, .. } = summed(findings);
    _ = writeln!(text, "{}, {}", count(problems as u64, "problem"), count(warnings as u64, "warning"));
    text
}
