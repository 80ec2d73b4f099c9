//! The tokens of the API that changes links.

use std::sync::Arc;

use super::{OperatorFiles, describe_list, named};
use crate::{catalog::tokens::Tokens, config, files::FileResource};

impl OperatorFiles {
    pub(super) fn add_tokens(&mut self, config: &config::Admin) {
        let Some(file) = config.tokens_file.clone() else { return };
        let store = Arc::clone(&self.tokens);
        self.registry.add(FileResource {
            name: "tokens",
            files: named("admin.tokens_file", &file),
            load: Box::new(move || Tokens::read(&file)),
            describe: |tokens: &Tokens| describe_list("tokens", tokens.len()),
            publish: Box::new(move |tokens| store.publish(Some(tokens))),
        });
    }
}
