//! Reads the catalog's NDJSON: one branded link a line, in the field names of the branded-link REST entity, so that
//! an existing export loads. Unknown fields are ignored, as exports carry many.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read},
};

use serde::{Deserialize, Deserializer};

use super::{Catalog, LoadError, Report, compile::Compiler};
use crate::config;

/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// One line of the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkEntity {
    pub id: String,
    pub slashtag: String,
    pub destination: String,
    #[serde(default)]
    pub created_at: Option<String>,
    pub domain: DomainEntity,
    #[serde(default)]
    pub creator: Option<CreatorEntity>,
    #[serde(default)]
    pub workspace: Option<WorkspaceEntity>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub tags: Vec<NamedEntity>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub scripts: Vec<NamedEntity>,
    #[serde(default)]
    pub forward_parameters: Option<ForwardEntity>,
    /// `active` (the default), `expired`, or any other word for a link that is switched off.
    #[serde(default)]
    pub status: Option<String>,
    /// Status of the answer: 301, 302 (the default), 307 or 308.
    #[serde(default)]
    pub http_status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainEntity {
    #[serde(default)]
    pub id: Option<String>,
    pub full_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatorEntity {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub full_name: Option<String>,
}

#[derive(Deserialize)]
pub struct WorkspaceEntity {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
}

/// A tag or a script. A script's body (`value`, `uri`) is not read: it never stands in an event.
#[derive(Deserialize)]
pub struct NamedEntity {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
}

/// `forwardParameters`: a switch, or the side that wins.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum ForwardEntity {
    Switch(bool),
    Policy(config::Forward),
}

impl From<ForwardEntity> for config::Forward {
    fn from(entity: ForwardEntity) -> Self {
        match entity {
            ForwardEntity::Switch(false) => Self::Off,
            ForwardEntity::Switch(true) => Self::Incoming,
            ForwardEntity::Policy(policy) => policy,
        }
    }
}

fn null_is_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamedEntity>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Compiles the configured file.
///
/// # Errors
/// When it cannot be read, or when more lines are bad than `max_bad_ratio` allows.
pub fn load_file(config: &config::Catalog) -> Result<(Catalog, Report), LoadError> {
    let name = config.file.display().to_string();
    let unreadable = |source| LoadError::Read { file: name.clone(), source };
    let file = File::open(&config.file).map_err(unreadable)?;
    let (catalog, report) = load(BufReader::with_capacity(1 << 20, file), config).map_err(unreadable)?;
    if report.bad as f64 > report.lines as f64 * config.max_bad_ratio {
        let first = report.problems.first().map(|problem| format!("; the first is {problem}")).unwrap_or_default();
        let (bad, lines, allowed) = (report.bad, report.lines, config.max_bad_ratio);
        return Err(LoadError::TooManyBadLines { file: name, bad, lines, allowed, first });
    }
    Ok((catalog, report))
}

/// Compiles NDJSON. Empty lines are skipped; bad lines are reported and skipped.
///
/// # Errors
/// Only those of the reader.
pub fn load(mut input: impl BufRead, config: &config::Catalog) -> std::io::Result<(Catalog, Report)> {
    let mut compiler = Compiler::new(config);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.last() != Some(&b'\n') && line.len() == MAX_LINE {
            input.skip_until(b'\n')?;
            compiler.reject(number, format!("the line is longer than {MAX_LINE} bytes"));
            continue;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        match serde_json::from_slice::<LinkEntity>(text) {
            Ok(link) => compiler.add(number, &link),
            Err(error) => compiler.reject(number, error.to_string()),
        }
    }
    Ok(compiler.finish())
}

/// The event's map of tags or scripts: id to name, sorted by id, each id once.
pub fn named_map(entities: &[NamedEntity]) -> BTreeMap<&str, &str> {
    entities.iter().map(|entity| (entity.id.as_str(), entity.name.as_deref().unwrap_or(&entity.id))).collect()
}
