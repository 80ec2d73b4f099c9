//! One operator file, from its configuration key to the value that readers see.

use std::{error::Error, fmt, path::PathBuf};

use crate::runtime::{Class, Classified};

/// An operator file, or several that are read together as one value.
///
/// The registry ([`super::Registry`]) walks all of them: at start, in `clickedge check`, on `SIGHUP`, in the metrics
/// and for the exit code. So what one of these finds, all of them find.
pub trait Resource: Send + Sync {
    /// What the file holds, once read.
    type Value: Send;
    /// Why it is rejected.
    type Error: Error + Classified + Send + Sync + 'static;

    /// Name in metrics and log lines, in `snake_case`: `catalog`, `geoip`.
    fn name(&self) -> &'static str;

    /// The files, each with the key of the configuration that names it: `catalog.file`. At least one.
    fn files(&self) -> &[(String, PathBuf)];

    /// Reads the file and checks it as a whole. Changes nothing.
    ///
    /// # Errors
    /// When it cannot be read, or its content is rejected.
    fn load(&self) -> Result<Self::Value, Self::Error>;

    /// What an operator should know about a value that was read.
    fn describe(&self, value: &Self::Value) -> Description;

    /// Makes the value the current one.
    fn publish(&self, value: Self::Value);
}

/// What an operator should know about a value that was read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Description {
    /// What it holds, for the log: `1200 links, 3 domains`.
    pub summary: String,
    /// What is legal, and probably not what was meant.
    pub warnings: Vec<Warning>,
    /// Parts that were rejected, where the others are taken all the same: a failure that is not one of the whole.
    pub rejected: Vec<Warning>,
}

/// What is legal in a file, and probably not what was meant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Warning {
    /// Counted from 1; 0 for the file as a whole.
    pub line: u64,
    pub message: String,
}

impl Warning {
    /// A warning about the file as a whole.
    pub fn of_file(message: impl Into<String>) -> Self {
        Self { line: 0, message: message.into() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.message)
    }
}

impl Description {
    /// A summary without warnings.
    pub fn of(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), ..Self::default() }
    }

    /// With these warnings.
    pub fn warn(self, warnings: impl IntoIterator<Item = Warning>) -> Self {
        Self { warnings: self.warnings.into_iter().chain(warnings).collect(), ..self }
    }
}

/// A [`Resource`] made of functions.
pub struct FileResource<T, E> {
    pub name: &'static str,
    pub files: Vec<(String, PathBuf)>,
    pub load: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    pub describe: fn(&T) -> Description,
    pub publish: Box<dyn Fn(T) + Send + Sync>,
}

impl<T: Send, E: Error + Classified + Send + Sync + 'static> Resource for FileResource<T, E> {
    type Value = T;
    type Error = E;

    fn name(&self) -> &'static str {
        self.name
    }

    fn files(&self) -> &[(String, PathBuf)] {
        &self.files
    }

    fn load(&self) -> Result<T, E> {
        (self.load)()
    }

    fn describe(&self, value: &T) -> Description {
        (self.describe)(value)
    }

    fn publish(&self, value: T) {
        (self.publish)(value);
    }
}

/// An error that knows its class, whatever its type.
pub trait ClassifiedError: Error + Classified + Send + Sync + 'static {}

impl<E: Error + Classified + Send + Sync + 'static> ClassifiedError for E {}

/// Why an operator file was rejected.
#[derive(Debug)]
pub struct ResourceError {
    /// Name of the resource.
    pub name: &'static str,
    /// Key of the configuration that names the file.
    pub key: String,
    source: Box<dyn ClassifiedError>,
}

impl ResourceError {
    /// The key is that of the file that the error names, else that of the first one.
    pub(super) fn new(name: &'static str, files: &[(String, PathBuf)], source: impl ClassifiedError) -> Self {
        let text = source.to_string();
        // The longest one: a path may begin with another.
        let named = files.iter().filter(|(_, path)| text.contains(&*path.to_string_lossy()));
        let named = named.max_by_key(|(_, path)| path.as_os_str().len());
        let key = named.or(files.first()).map(|(key, _)| key.clone()).unwrap_or_default();
        Self { name, key, source: Box::new(source) }
    }

    /// What the operator can do about it, by its class.
    pub fn remedy(&self) -> &'static str {
        match self.class() {
            Class::NoInput => "put the file there, let this user read it, or correct the path",
            Class::Data => "fix the file, or restore the previous version",
            _ => "see the message",
        }
    }
}

impl Classified for ResourceError {
    fn class(&self) -> Class {
        self.source.class()
    }
}

impl fmt::Display for ResourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)
    }
}

impl Error for ResourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
