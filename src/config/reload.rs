//! `[reload]`: when the configuration is taken up again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, Section, findings::Findings};

/// When the configuration is taken up again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Whether this file and all files that it names are looked at every `tls.watch_secs`, and a change is taken up, as
    /// on SIGHUP. It is read once no file has changed between two looks. Folders of certificates are watched in any
    /// case.
    pub watch: bool,
}

impl Section for Reload {
    fn rules(&self, all: &Config, findings: &mut Findings) {
        if self.watch && all.tls.watch_secs == 0 {
            findings.error(
                "reload.watch",
                "has no effect while `tls.watch_secs` is 0",
                "set `tls.watch_secs` to the seconds between two looks, such as 10",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::fixture::each_is_an_error;

    #[test]
    fn a_watch_needs_an_interval() {
        each_is_an_error(&[("reload.watch", "`tls.watch_secs` is 0", |c| {
            c.reload.watch = true;
            c.tls.watch_secs = 0;
        })]);
    }
}
