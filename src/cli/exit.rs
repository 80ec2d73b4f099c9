//! Exit codes: the class of an error, looked up along its causes.

use std::{error::Error, io, process::ExitCode};

use super::edge::EdgeError;
use crate::{
    capture::CaptureError,
    catalog::{build::BuildError, snapshot::file::FileError},
    config::{ConfigError, SecretError},
    files::{DatabaseError, ListError},
    listener::ListenError,
    pipeline::{PreflightError, StartError, preflight::Rejection},
    quality::QualityError,
    runtime::{Class, Classified},
    server::control::ControlError,
    session::SessionError,
    spool::SpoolError,
    tls::{CertificateError, TicketsError},
};

/// The class of an error that is of one of these types.
macro_rules! class_of_types {
    ($error:expr; $($type:ty),+ $(,)?) => {
        None$(.or_else(|| $error.downcast_ref::<$type>().map(Classified::class)))+
    };
}

/// The class of one error, without its causes. `None` when its type has none.
pub fn class_of(error: &(dyn Error + 'static)) -> Option<Class> {
    let class = class_of_types!(
        error;
        ConfigError, Rejection, PreflightError, StartError, CaptureError, SpoolError, SessionError, QualityError,
        ListenError, CertificateError, DatabaseError, ListError, SecretError, TicketsError,
        ControlError, BuildError, FileError, EdgeError,
    );
    class.or_else(|| error.downcast_ref::<io::Error>().map(Class::of_io))
}

/// The first class along the causes of an error. An error without a class is an internal one.
pub fn class_along(error: &anyhow::Error) -> Class {
    error.chain().find_map(class_of).unwrap_or(Class::Internal)
}

/// The exit code for an error, by its class.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    code(class_along(error))
}

/// The exit code of a class.
pub(super) fn code(class: Class) -> ExitCode {
    ExitCode::from(class.exit_code())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    const UNIT: &str = include_str!("../../systemd/clickedge.service");

    #[test]
    fn a_cause_decides_the_class_at_any_depth() {
        let class = |error: anyhow::Error| error.context("opening").context("starting").chain().find_map(class_of);
        assert_eq!(class(io::Error::from(io::ErrorKind::AddrInUse).into()), Some(Class::Unavailable));
        assert_eq!(class(io::Error::from(io::ErrorKind::StorageFull).into()), Some(Class::Io));
        assert_eq!(class(anyhow::anyhow!("a bug")), None);
        assert_eq!(class(ConfigError::Invalid(Vec::new()).into()), Some(Class::Config));
        let missing = ConfigError::Read { file: "x".into(), source: io::ErrorKind::NotFound.into() };
        assert_eq!(
            Err::<(), _>(missing).context("starting").unwrap_err().chain().find_map(class_of),
            Some(Class::NoInput)
        );
    }

    #[test]
    fn systemd_does_not_restart_after_an_error_that_only_an_operator_can_fix() {
        let permanent = Class::ALL.into_iter().filter(|class| class.is_permanent());
        let permanent: Vec<_> = permanent.map(|class| class.exit_code().to_string()).collect();
        let line = UNIT.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus="));
        assert_eq!(line, Some(permanent.join(" ").as_str()));
    }
}
