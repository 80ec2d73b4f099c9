//! HTTP headers of the export of metrics.

use std::sync::Arc;

use http::HeaderMap;

use super::{OperatorFiles, describe_list, named};
use crate::{
    config,
    files::{FileResource, Reloadable, headers},
};

impl OperatorFiles {
    /// The HTTP headers with which metrics are exported.
    pub fn otlp_headers(&self) -> &Arc<Reloadable<HeaderMap>> {
        &self.otlp_headers
    }

    pub(super) fn add_otlp_headers(&mut self, config: &config::Telemetry) {
        let Some(file) = config.otlp.as_ref().and_then(|otlp| otlp.headers_file.clone()) else { return };
        let store = Arc::clone(&self.otlp_headers);
        self.registry.add(FileResource {
            name: "otlp_headers",
            files: named("telemetry.otlp.headers_file", &file),
            load: Box::new(move || headers::read(&file)),
            describe: |headers: &HeaderMap| describe_list("headers", headers.len()),
            publish: Box::new(move |headers| store.publish(headers)),
        });
    }
}
