//! Operator files: everything that an operator gives clickedge to read while it runs.
//!
//! [`list`] and [`mmdb`] read the two kinds of files that many parts share, with errors that name file, line, value and
//! remedy. [`reloadable`] holds a value that is replaced as a whole when its file is read again. [`resource`] is one
//! file from its key to its readers, and [`registry`] the list of all of them.
//!
//! Next to the flow: imports no stage.

pub mod list;
pub mod mmdb;
pub mod registry;
pub mod reloadable;
pub mod resource;

pub use list::ListError;
pub use mmdb::DatabaseError;
pub use registry::Registry;
pub use reloadable::{Cached, Reloadable};
pub use resource::{Description, FileResource, Resource, ResourceError};
