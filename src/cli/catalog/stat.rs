//! `clickedge catalog stat`: what the header of a snapshot says.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, failed_with};
use crate::{
    catalog::snapshot::{file, header::Header},
    cli::output::{count, json, print},
};

/// Arguments of `catalog stat`.
#[derive(Args, Debug)]
pub struct Stat {
    /// Snapshot.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a snapshot says of itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    pub generation: u64,
    pub revision: u64,
    pub hash: String,
    pub links: u64,
    pub active_links: u64,
    pub domains: u64,
    pub bytes: u64,
    pub bytes_per_link: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_at: Option<String>,
    pub checksum: String,
}

impl Facts {
    pub fn of(header: &Header) -> Self {
        let bytes = header.file_bytes();
        let built_at = i64::try_from(header.made_secs).ok().and_then(|secs| Timestamp::from_second(secs).ok());
        Self {
            generation: header.position.generation,
            revision: header.position.revision,
            hash: header.position.hash.to_string(),
            links: header.links,
            active_links: header.active,
            domains: header.domains,
            bytes,
            bytes_per_link: (bytes as f64 / header.links.max(1) as f64 * 10.0).round() / 10.0,
            built_at: built_at.map(|time| time.to_string()),
            checksum: blake3::Hash::from_bytes(header.checksum).to_hex().to_string(),
        }
    }

    /// One line.
    pub fn summary(&self) -> String {
        let (links, domains) = (count(self.links, "link"), count(self.domains, "domain"));
        format!(
            "{links} of {domains}, generation {}, revision {}, hash {}",
            self.generation, self.revision, self.hash
        )
    }

    fn text(&self) -> String {
        let lines = [
            ("generation", self.generation.to_string()),
            ("revision", self.revision.to_string()),
            ("hash", self.hash.clone()),
            ("links", self.links.to_string()),
            ("active links", self.active_links.to_string()),
            ("domains", self.domains.to_string()),
            ("bytes", format!("{} ({} a link)", self.bytes, self.bytes_per_link)),
            ("built at", self.built_at.clone().unwrap_or_default()),
            ("checksum", self.checksum.clone()),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            // Writing into a string cannot fail.
            _ = writeln!(text, "{name:13}{value}");
        }
        text
    }
}

pub(super) fn run(stat: &Stat) -> Outcome {
    let header = file::header(&stat.file).map_err(failed_with)?;
    let facts = Facts::of(&header);
    print(&if stat.json { json(&facts) } else { facts.text() })?;
    Ok(ExitCode::SUCCESS)
}
