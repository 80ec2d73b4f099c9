//! Makes a catalog of records that a program has, in a database or from a service, without a file.
//!
//! A record is what a line of the catalog file is: a link, or a domain with `"kind": "domain"`, in the
//! [documented](crate::manual::catalog) field names. Any value that serialises to such a JSON object is one, also a
//! type of the program's own. Each is checked by the code that checks lines.

use std::io;

use serde::Serialize;

use super::{
    Catalog, Report,
    compile::{Compiler, Failure},
    entity::LinkEntity,
    source::{Kind, MAX_LINE, explain, kind, notes::Notes},
};
use crate::{
    config,
    runtime::{Class, Classified},
};

/// A catalog in the making. Links are kept as they are laid out, so that it needs the memory of the catalog twice.
pub struct CatalogBuilder<'c> {
    compiler: Compiler<'c>,
    notes: Notes,
    /// Number of records so far.
    records: u64,
    has_links: bool,
    text: Vec<u8>,
}

/// Why a record cannot be a part of a catalog.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("record {number}: {reason}")]
#[non_exhaustive]
pub struct BadRecord {
    /// Its number in the order of the records, from 1.
    pub number: u64,
    /// The field that is to blame, if it is one: `destination`, `rules[1].when.country[0]`.
    pub field: Option<String>,
    /// What is wrong, with field and value, and the remedy.
    pub reason: String,
}

impl Classified for BadRecord {
    fn class(&self) -> Class {
        Class::Data
    }
}

/// Why records do not make a catalog.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// A record is bad.
    #[error(transparent)]
    Bad(#[from] BadRecord),
    /// They are too much for one catalog. No remedy but fewer of them.
    #[error("the records cannot be laid out as a catalog: {0}")]
    Layout(#[from] io::Error),
}

impl Classified for RecordsError {
    fn class(&self) -> Class {
        Class::Data
    }
}

impl Catalog {
    /// A catalog of records: domains first, then links. `config` is the part `catalog` of the pipeline's configuration;
    /// its file and state folder are not used. It computes for long when there are millions of links: call it from a
    /// thread that may.
    ///
    /// # Errors
    /// With the first bad record. To leave bad ones out, use [`Catalog::builder`].
    pub fn of_records<R: Serialize>(
        config: &config::Catalog,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Self, RecordsError> {
        let mut builder = Self::builder(config);
        for record in records {
            builder.add(&record)?;
        }
        let (catalog, report) = builder.finish()?;
        // What shows only when all records are there.
        match report.problems.into_iter().next() {
            Some(problem) => Err(BadRecord::new(problem.line, &problem.reason).into()),
            None => Ok(catalog),
        }
    }

    /// Makes a catalog record by record, for records that come from a cursor or a stream, and for programs that decide
    /// themselves what becomes of bad ones.
    pub fn builder(config: &config::Catalog) -> CatalogBuilder<'_> {
        CatalogBuilder {
            compiler: Compiler::new(config),
            notes: Notes::default(),
            records: 0,
            has_links: false,
            text: Vec::new(),
        }
    }
}

impl CatalogBuilder<'_> {
    /// Adds a record. Those of domains come before those of links. A domain needs no record of its own, unless it has
    /// settings.
    ///
    /// # Errors
    /// When it is bad. It is left out then, and the next one can be added.
    pub fn add(&mut self, record: &impl Serialize) -> Result<(), BadRecord> {
        self.records += 1;
        let (number, mut text) = (self.records, std::mem::take(&mut self.text));
        text.clear();
        let added = serde_json::to_writer(&mut text, record)
            .map_err(|error| format!("it cannot be written as JSON: {error}"))
            .and_then(|()| self.add_text(&text));
        self.text = text;
        added.map_err(|reason| {
            let bad = BadRecord::new(number, &reason);
            self.compiler.reject(number, reason);
            bad
        })
    }

    fn add_text(&mut self, text: &[u8]) -> Result<(), String> {
        if text.len() > MAX_LINE {
            return Err(format!("it has {} bytes as JSON; at most {MAX_LINE} are possible", text.len()));
        }
        match kind(text) {
            Kind::Other(kind) => Err(format!("`kind` is {kind:?}; expected `link` or `domain`")),
            Kind::Domain if self.has_links => {
                Err("it describes a domain, and links came before it; add the records of domains first".into())
            }
            Kind::Domain => self.compiler.try_add_domain(&String::from_utf8_lossy(text)),
            Kind::Link => {
                let link: LinkEntity =
                    serde_json::from_slice(text).map_err(|error| explain::reason::<LinkEntity>(text, &error))?;
                self.has_links = true;
                self.notes.see(self.records, &link);
                self.compiler.try_add(self.records, &link).map_err(|failure| match failure {
                    Failure::Invalid(reason) => reason,
                    // Nothing is kept on disk.
                    Failure::Io(error) => error.to_string(),
                })
            }
        }
    }

    /// The catalog, and what its owner should know about it. The lines of the [`Report`] are the numbers of records;
    /// its problems are the records that [`add`](Self::add) has rejected, and links with domain and slashtag of an
    /// earlier one. Computes for long when there are millions.
    ///
    /// # Errors
    /// When the records are too much for one catalog.
    pub fn finish(self) -> io::Result<(Catalog, Report)> {
        let (catalog, mut report) = self.compiler.finish()?;
        report.warnings.extend(self.notes.into_warnings());
        for problem in &mut report.problems {
            problem.reason = of_records(&problem.reason);
        }
        Ok((catalog, report))
    }
}

impl BadRecord {
    fn new(number: u64, reason: &str) -> Self {
        Self { number, field: explain::field(reason), reason: of_records(reason) }
    }
}

/// A reason in words for records: most are the same as for lines of a file.
fn of_records(reason: &str) -> String {
    reason.replace("an earlier line", "an earlier record")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        catalog::{Lookup, Warning},
        link::Host,
    };

    /// A program's own type.
    #[derive(Serialize)]
    struct Row<'a> {
        id: u64,
        slashtag: &'a str,
        destination: &'a str,
        domain: &'a str,
    }

    fn row<'a>(slashtag: &'a str, destination: &'a str) -> Row<'a> {
        Row { id: 7, slashtag, destination, domain: "go.brand.com" }
    }

    fn destination(catalog: &Catalog, host: &str, path: &str) -> Option<String> {
        match catalog.find(&Host::parse(host.as_bytes()).unwrap(), path.as_bytes()).unwrap() {
            Lookup::Found(link, _) => Some(link.destination().to_owned()),
            _ => None,
        }
    }

    #[test]
    fn types_of_a_program_and_json_are_records() {
        let config = config::Catalog::default();
        let catalog = Catalog::of_records(&config, [row("spring", "https://a.example/")]).unwrap();
        assert_eq!(destination(&catalog, "go.brand.com", "/spring").as_deref(), Some("https://a.example/"));
        let domain =
            json!({"kind": "domain", "fullName": "go.brand.com", "aliases": ["b.example"], "case": "insensitive"});
        let link = serde_json::to_value(row("Summer/Sale", "https://a.example/sale")).unwrap();
        let catalog = Catalog::of_records(&config, [domain, link]).unwrap();
        assert_eq!(destination(&catalog, "b.example", "/SUMMER/sale").as_deref(), Some("https://a.example/sale"));
        assert_eq!((catalog.links(), catalog.domains()), (1, 1));
        let none = Catalog::of_records(&config, Vec::<Value>::new()).unwrap();
        assert_eq!(none.links(), 0);
    }

    #[test]
    fn an_error_names_record_field_value_and_remedy() {
        let config = config::Catalog::default();
        let good = || serde_json::to_value(row("spring", "https://a.example/")).unwrap();
        let changed = |field: &str, value: &Value| {
            let mut link = good();
            link[field] = value.clone();
            link
        };
        for (record, field, part) in [
            (changed("destination", &json!("a.example")), Some("destination"), "a.example"),
            (changed("httpStatus", &json!(200)), Some("httpStatus"), "is 200"),
            (changed("kind", &json!("route")), Some("kind"), "\"route\""),
            (
                changed("rules", &json!([{"name": "a", "when": {"country": [5]}}])),
                Some("rules[0].when.country[0]"),
                "is 5",
            ),
            (changed("slashtag", &json!({"a": 1})), Some("slashtag"), ""),
            (json!({"id": "1", "slashtag": "a", "domain": "go.brand.com"}), None, "destination"),
            (json!([1]), None, "expected a JSON object"),
            (json!({"kind": "domain", "fullName": "go.brand.com", "case": "none"}), None, "links came before it"),
            (good(), Some("slashtag"), "an earlier record has"),
        ] {
            let shown = record.to_string();
            let error = Catalog::of_records(&config, [good(), record]).err().expect("it is rejected");
            let RecordsError::Bad(error) = error else { panic!("{error}") };
            assert_eq!((error.number, error.field.as_deref()), (2, field), "{shown}: {error}");
            assert!(error.to_string().starts_with("record 2: ") && error.reason.contains(part), "{shown}: {error}");
        }
        let domain = json!({"kind": "domain", "fullName": "go.brand.com", "case": "none"});
        let error = Catalog::of_records(&config, [domain]).err().expect("it is rejected").to_string();
        assert!(error.contains("`case` is \"none\""), "{error}");
    }

    #[test]
    fn bad_records_can_be_left_out_and_are_in_the_report() {
        let config = config::Catalog::default();
        let mut builder = Catalog::builder(&config);
        assert!(builder.add(&row("a", "https://a.example/")).is_ok());
        assert_eq!(builder.add(&row("b", "ftp://a.example/")).unwrap_err().number, 2);
        assert!(builder.add(&row("a", "https://b.example/")).is_ok(), "shows only when all are there");
        assert!(builder.add(&row("loop", "https://go.brand.com/loop")).is_ok());
        let (catalog, report) = builder.finish().unwrap();
        assert_eq!((report.lines, report.bad, catalog.links()), (4, 2, 2));
        assert_eq!(report.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [2, 3]);
        assert!(matches!(&report.warnings[..], [Warning::Loop { .. }]), "{:?}", report.warnings);
        assert_eq!(destination(&catalog, "go.brand.com", "/a").as_deref(), Some("https://a.example/"));
    }
}
