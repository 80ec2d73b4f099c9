//! The class of an error: what kind of failure it is for a supervisor, and so with which code the process exits.
//!
//! The codes are those of `sysexits.h`. The class is decided where the error is defined ([`Classified`]); the command
//! line only looks it up. systemd restarts the service for the classes that time may cure (unavailable, internal, I/O)
//! and not for those that an operator must fix ([`Class::is_permanent`]).

use std::io;

/// What kind of failure an error is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// The command line is wrong.
    Usage,
    /// A file was read, and its content rejected.
    Data,
    /// A file that was named cannot be read.
    NoInput,
    /// A resource is taken: an address, the spool or the rings are in use by another process.
    Unavailable,
    /// An internal error of clickedge.
    Internal,
    /// Reading or writing failed.
    Io,
    /// The configuration was rejected.
    Config,
}

impl Class {
    /// All classes, in the order of their exit codes.
    pub const ALL: [Self; 7] =
        [Self::Usage, Self::Data, Self::NoInput, Self::Unavailable, Self::Internal, Self::Io, Self::Config];

    /// The exit code of a process that ends with an error of this class.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::Io => 74,
            Self::Config => 78,
        }
    }

    /// The name of the class, as messages and docs use it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Data => "data",
            Self::NoInput => "no input",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
            Self::Io => "I/O",
            Self::Config => "configuration",
        }
    }

    /// What the class means, as help and docs state it.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Usage => "the command line is wrong",
            Self::Data => {
                "a file was read and its content rejected: catalog, database, list, certificate, secret, feed, spool"
            }
            Self::NoInput => "a file, a folder or a bucket cannot be read",
            Self::Unavailable => "an address cannot be used, or the spool or the rings are in use by another process",
            Self::Internal => "internal error; please report this bug",
            Self::Io => "reading or writing failed, of the spool or the rings for example",
            Self::Config => "the configuration was rejected; the message names line, column and remedy",
        }
    }

    /// Whether only an operator can fix it, so that a restart is of no use.
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Usage | Self::Data | Self::NoInput | Self::Config)
    }

    /// The class of an error of the operating system while a file that an operator names is read.
    pub fn of_read(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData { Self::Data } else { Self::NoInput }
    }

    /// The class of an error of the operating system in general.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::Unavailable,
            _ => Self::Io,
        }
    }
}

/// An error that knows its class.
pub trait Classified {
    /// What kind of failure this is.
    fn class(&self) -> Class;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits() {
        assert_eq!(Class::ALL.map(Class::exit_code), [64, 65, 66, 69, 70, 74, 78]);
    }

    #[test]
    fn a_taken_address_is_unavailable_and_a_full_disk_is_io() {
        assert_eq!(Class::of_io(&io::ErrorKind::AddrInUse.into()), Class::Unavailable);
        assert_eq!(Class::of_io(&io::ErrorKind::StorageFull.into()), Class::Io);
        assert!(!Class::Unavailable.is_permanent() && Class::Config.is_permanent());
    }
}
