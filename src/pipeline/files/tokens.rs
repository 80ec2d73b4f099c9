//! The tokens of the API that changes links.

use std::sync::Arc;

use super::{OperatorFiles, describe_list, named};
use crate::{
    catalog::tokens::Tokens,
    config::{self, secret::is_writable_by_all},
    files::{FileResource, Warning},
};

impl OperatorFiles {
    pub(super) fn add_tokens(&mut self, config: &config::Admin) {
        let Some(file) = config.tokens_file.clone() else { return };
        let store = Arc::clone(&self.tokens);
        self.registry.add(FileResource {
            name: "tokens",
            files: named("admin.tokens_file", &file),
            load: Box::new(move || Tokens::read(&file).map(|tokens| (tokens, is_writable_by_all(&file)))),
            describe: |(tokens, is_writable): &(Tokens, bool)| {
                // It has hashes only: to read it gives no right.
                let warning = "any user of this machine may write it, and so make tokens; restrict it: chmod 0640";
                let warning = is_writable.then(|| Warning::of_file(warning));
                describe_list("tokens", tokens.len()).warn(warning)
            },
            publish: Box::new(move |(tokens, _)| store.publish(Some(tokens))),
        });
    }
}
