//! Operator files: everything that an operator gives clickedge to read while it runs.
//!
//! [`list`] and [`mmdb`] read the two kinds of files that many parts share, with errors that name file, line, value and
//! remedy. [`reloadable`] holds a value that is replaced as a whole when its file is read again.
//!
//! Next to the flow: imports no stage.

pub mod list;
pub mod mmdb;
pub mod reloadable;

pub use list::ListError;
pub use mmdb::DatabaseError;
pub use reloadable::{Cached, Reloadable};
