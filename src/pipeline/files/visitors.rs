//! What the redirect knows of visitors, from the operator's lists and databases.

use std::sync::Arc;

use super::OperatorFiles;
use crate::{
    config::Config, files::Reloadable, redirect::asker::Visitors, session::StickyKey, visitor::privacy::Policies,
};

impl OperatorFiles {
    /// What the redirect knows of visitors. The key of variants follows the secret of the sessions from now on.
    pub(in crate::pipeline) fn visitors(&self, config: &Config, sticky: StickyKey) -> Visitors {
        let sticky = Arc::new(sticky);
        self.secret.connect_sticky(&sticky);
        let policies = Arc::new(Reloadable::new(Policies::new(&config.enrich)));
        Visitors::new(&self.geo, &self.sources, &self.crawlers, &policies, &sticky)
    }
}
