//! The builder: what a program that embeds the pipeline gives it besides the configuration.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    OperatorFiles, Pipeline, StartError,
    live::listed,
    preflight::{self, Findings},
};
use crate::{
    catalog::Catalog,
    config::{Config, Severity},
    deliver::{CustomSinks, Sink, custom::UnknownSink},
    redirect::Hook,
    runtime::Class,
};

/// Starts a pipeline with parts of the program's own. Made by [`Pipeline::builder`].
pub struct Builder<'c> {
    config: &'c Config,
    catalog: Option<Catalog>,
    sinks: BTreeMap<String, Arc<dyn Sink>>,
    hook: Option<Arc<dyn Hook>>,
}

/// The parts that the program provides, without the catalog.
#[derive(Default)]
pub(super) struct Provided {
    pub sinks: CustomSinks,
    pub hook: Option<Arc<dyn Hook>>,
}

impl Pipeline {
    /// A pipeline with this configuration, and with parts of the program's own. Listeners, `[tls]`, `[limits]`,
    /// `[upstream]`, `[admin]` and `[shutdown]` are for `clickedge serve` only, and may be missing.
    pub fn builder(config: &Config) -> Builder<'_> {
        Builder { config, catalog: None, sinks: BTreeMap::new(), hook: None }
    }
}

impl Builder<'_> {
    /// Takes the catalog in place of `catalog.file`, which is not read then. Replace or change it while the pipeline
    /// runs through [`Pipeline::catalog`]. An empty one is fine: [`Catalog::empty`].
    pub fn catalog(self, catalog: Catalog) -> Self {
        Self { catalog: Some(catalog), ..self }
    }

    /// Provides a sink for feeds that name it with `sink.custom.name`. One that no feed names is kept for feeds that
    /// come later ([`Pipeline::live_feeds`]). A sink of the same name is replaced.
    pub fn sink(mut self, name: impl Into<String>, sink: Arc<dyn Sink>) -> Self {
        self.sinks.insert(name.into(), sink);
        self
    }

    /// Calls this hook with each request for a branded domain. There is one at most: the last one.
    pub fn hook(self, hook: Arc<dyn Hook>) -> Self {
        Self { hook: Some(hook), ..self }
    }

    /// Checks the configuration, reads the files that it names, opens the spool and the rings, and starts workers and
    /// delivery, on threads of their own. Reads and writes files: call it from a thread that may wait.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing runs then.
    pub fn start(self) -> Result<Pipeline, StartError> {
        let Self { config, catalog, sinks, hook } = self;
        let sinks = CustomSinks::new(sinks);
        examine(config, catalog.is_some(), &sinks).into_result()?;
        let files = OperatorFiles::with_catalog(config, catalog)?;
        preflight::examine(config, &files).into_result()?;
        let pipeline = Pipeline::start_provided(config, files, Provided { sinks, hook })?;
        pipeline.await_catalog(|| false);
        Ok(pipeline)
    }
}

/// What is wrong with a configuration, which may be made by code, and what does not go with the program's parts.
fn examine(config: &Config, has_catalog: bool, sinks: &CustomSinks) -> Findings {
    let mut findings = Findings::default();
    for problem in config.problems().into_iter().filter(|problem| problem.severity == Severity::Error) {
        findings.error(Class::Config, &problem.key, problem.message, &problem.remedy);
    }
    if has_catalog && config.catalog.fleet.is_some() {
        findings.error(
            Class::Config,
            "catalog.fleet",
            "is set, and the program has a catalog of its own".into(),
            "remove one of the two",
        );
    }
    for (i, feed) in config.feeds.iter().enumerate() {
        if let Err(UnknownSink { name, known }) = sinks.check(&feed.sink) {
            findings.error(
                Class::Config,
                &format!("feeds[{i}].sink.custom.name"),
                format!("names the sink {name:?}, and the program has {}", listed(&known)),
                "give the sink to the builder, as in `Pipeline::builder(&config).sink(name, sink)`, or correct the name",
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::{
        config::{self, Feed},
        deliver::{SinkError, Stored},
        object::Object,
    };

    struct Archive;

    #[async_trait]
    impl Sink for Archive {
        async fn put(&self, _: &Object) -> Result<Stored, SinkError> {
            Ok(Stored::Now)
        }
    }

    fn rejection(config: &Config, build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> String {
        build(Pipeline::builder(config)).start().err().expect("it is rejected").to_string()
    }

    fn config(sink: &str) -> Config {
        let feed = Feed::new("all", ["*"], config::Sink::Custom(config::Custom::new(sink)));
        Config { feeds: vec![feed], ..Config::default() }
    }

    #[test]
    fn a_sink_that_the_program_lacks_is_named_with_those_that_it_has() {
        let start = "`feeds[0].sink.custom.name` names the sink \"attic\", and the program has ";
        let error = rejection(&config("attic"), |builder| builder.sink("archive", Arc::new(Archive)));
        assert!(error.starts_with(&format!("{start}only archive; give the sink")), "{error}");
        let error = rejection(&config("attic"), |builder| builder);
        assert!(error.starts_with(&format!("{start}no sinks of its own; give the sink")), "{error}");
    }

    #[test]
    fn a_configuration_that_is_made_by_code_is_checked() {
        let mut config = config("archive");
        config.edge.pop = "AMS 1".into();
        let error = rejection(&config, |builder| builder.sink("archive", Arc::new(Archive)));
        assert!(error.starts_with("`edge.pop` must be 1 to 63 "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}
