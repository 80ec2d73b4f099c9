//! The registry of operator files: the one list that start, check, reload and metrics walk.

use std::path::Path;

use super::resource::{Description, Resource, ResourceError};

/// All operator files of a configuration, in the order in which they are read and reported.
#[derive(Default)]
pub struct Registry {
    resources: Vec<Box<dyn Entry>>,
}

/// A value that was read and checked, and waits to become the current one.
pub struct Staged<'a> {
    pub description: Description,
    publish: Box<dyn FnOnce() + 'a>,
}

/// What came of reading one resource.
pub struct Outcome<'a> {
    /// Name of the resource.
    pub name: &'static str,
    /// Key of the configuration that names the file; the first one where several are read together.
    pub key: String,
    /// The file, for log lines; likewise.
    pub file: String,
    pub result: Result<Staged<'a>, ResourceError>,
}

impl Registry {
    /// Adds a resource. Resources are read in the order in which they were added.
    pub fn add(&mut self, resource: impl Resource + 'static) {
        self.resources.push(Box::new(resource));
    }

    /// The files of all resources.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.resources.iter().flat_map(|resource| resource.files())
    }

    /// The names of all resources, each once.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.resources.iter().map(|resource| resource.name()).collect();
        names.dedup();
        names
    }

    /// Reads the files of the resources with such names, without changing anything. One resource's error does not keep
    /// the others from being read.
    pub fn read(&self, wanted: fn(&str) -> bool) -> impl Iterator<Item = Outcome<'_>> {
        let resources = self.resources.iter().filter(move |resource| wanted(resource.name()));
        resources.map(|resource| Outcome {
            name: resource.name(),
            key: resource.key(),
            file: resource.file(),
            result: resource.stage(),
        })
    }
}

impl Staged<'_> {
    /// Makes the value the current one.
    pub fn publish(self) -> Description {
        (self.publish)();
        self.description
    }
}

/// A [`Resource`] whose types are hidden.
trait Entry: Send + Sync {
    fn name(&self) -> &'static str;
    fn key(&self) -> String;
    fn file(&self) -> String;
    fn files(&self) -> Vec<&Path>;
    fn stage(&self) -> Result<Staged<'_>, ResourceError>;
}

impl<R: Resource> Entry for R {
    fn name(&self) -> &'static str {
        Resource::name(self)
    }

    fn key(&self) -> String {
        Resource::files(self).first().map(|(key, _)| key.clone()).unwrap_or_default()
    }

    fn file(&self) -> String {
        Resource::files(self).first().map(|(_, path)| path.display().to_string()).unwrap_or_default()
    }

    fn files(&self) -> Vec<&Path> {
        Resource::files(self).iter().map(|(_, path)| path.as_path()).collect()
    }

    fn stage(&self) -> Result<Staged<'_>, ResourceError> {
        let value =
            self.load().map_err(|error| ResourceError::new(Resource::name(self), Resource::files(self), error))?;
        let description = self.describe(&value);
        Ok(Staged { description, publish: Box::new(move || self.publish(value)) })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs, io,
        path::PathBuf,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use super::*;
    use crate::runtime::{Class, Classified};

    struct Number {
        files: [(String, PathBuf); 1],
        current: Arc<AtomicU32>,
    }

    impl Number {
        fn new(file: PathBuf, current: &Arc<AtomicU32>) -> Self {
            Self { files: [("test.number_file".into(), file)], current: Arc::clone(current) }
        }
    }

    #[derive(Debug, thiserror::Error)]
    enum NumberError {
        #[error("cannot read {0}")]
        Read(String, #[source] io::Error),
        #[error("{0} does not hold a number")]
        Parse(String),
    }

    impl Classified for NumberError {
        fn class(&self) -> Class {
            match self {
                Self::Read(..) => Class::NoInput,
                Self::Parse(_) => Class::Data,
            }
        }
    }

    impl Resource for Number {
        type Value = u32;
        type Error = NumberError;

        fn name(&self) -> &'static str {
            "number"
        }

        fn files(&self) -> &[(String, PathBuf)] {
            &self.files
        }

        fn load(&self) -> Result<u32, NumberError> {
            let name = self.files[0].1.display().to_string();
            let text =
                fs::read_to_string(&self.files[0].1).map_err(|error| NumberError::Read(name.clone(), error))?;
            text.trim().parse().map_err(|_| NumberError::Parse(name))
        }

        fn describe(&self, value: &u32) -> Description {
            Description::of(format!("number {value}"))
        }

        fn publish(&self, value: u32) {
            self.current.store(value, Ordering::Relaxed);
        }
    }

    #[test]
    fn reading_changes_nothing_until_a_value_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad, missing) = (dir.path().join("good"), dir.path().join("bad"), dir.path().join("missing"));
        fs::write(&good, "7").unwrap();
        fs::write(&bad, "seven").unwrap();
        let current = Arc::new(AtomicU32::new(1));
        let mut registry = Registry::default();
        for file in [missing, bad, good] {
            registry.add(Number::new(file, &current));
        }
        assert_eq!(registry.names(), ["number"]);
        let classes: Vec<_> =
            registry.read(|_| true).map(|read| read.result.err().map(|error| error.class())).collect();
        assert_eq!(classes, [Some(Class::NoInput), Some(Class::Data), None]);
        assert_eq!(current.load(Ordering::Relaxed), 1);
        assert_eq!(registry.read(|name| name != "number").count(), 0);
        for read in registry.read(|name| name == "number") {
            if let Ok(staged) = read.result {
                assert_eq!(staged.publish().summary, "number 7");
            }
        }
        assert_eq!(current.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn an_error_names_key_and_cause() {
        let mut registry = Registry::default();
        registry.add(Number::new("/nowhere/at/all".into(), &Arc::default()));
        let error = registry.read(|_| true).next().unwrap().result.err().unwrap();
        assert_eq!((error.name, &*error.key), ("number", "test.number_file"));
        assert_eq!(error.to_string(), "cannot read /nowhere/at/all");
        assert!(std::error::Error::source(&error).is_some());
        assert!(error.remedy().contains("correct the path"));
    }
}
