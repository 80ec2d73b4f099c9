//! Exit codes: the class of an error, looked up along its causes.

use std::{error::Error, io, process::ExitCode};

use crate::{
    capture::CaptureError,
    catalog::LoadError,
    config::ConfigError,
    files::mmdb::DatabaseError,
    pipeline::StartError,
    runtime::{Class, Classified},
    spool::SpoolError,
};

/// The class of an error that is of one of these types.
macro_rules! class_of_types {
    ($error:expr; $($type:ty),+ $(,)?) => {
        None$(.or_else(|| $error.downcast_ref::<$type>().map(Classified::class)))+
    };
}

/// The class of one error, without its causes. `None` when its type has none.
pub fn class_of(error: &(dyn Error + 'static)) -> Option<Class> {
    let class = class_of_types!(error; ConfigError);
    class.or_else(|| of_start(error)).or_else(|| error.downcast_ref::<io::Error>().map(Class::of_io))
}

/// The exit code for an error: that of the first class along its causes. An error without a class is an internal one.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    code(error.chain().find_map(class_of).unwrap_or(Class::Internal))
}

/// The exit code of a class.
pub(super) fn code(class: Class) -> ExitCode {
    ExitCode::from(class.exit_code())
}

fn of_start(error: &(dyn Error + 'static)) -> Option<Class> {
    match error.downcast_ref::<StartError>()? {
        StartError::Catalog(LoadError::Read { .. }) | StartError::GeoIp(DatabaseError::Read { .. }) => {
            Some(Class::NoInput)
        }
        StartError::Source(error) if error.is_unread() => Some(Class::NoInput),
        StartError::Catalog(_) | StartError::GeoIp(_) | StartError::Source(_) => Some(Class::Data),
        StartError::Spool(SpoolError::Locked { .. }) | StartError::Capture(CaptureError::Locked { .. }) => {
            Some(Class::Unavailable)
        }
        StartError::Capture(CaptureError::NotMemory { .. }) => Some(Class::Config),
        StartError::Capture(CaptureError::NoRoom { .. }) => Some(Class::Io),
        _ => None,
    }
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
