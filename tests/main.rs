//! The integration tests, in one binary: each module is a topic, [`common`] is the harness. `tests/README.md` says how
//! to run them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::format_collect, clippy::format_push_string)]

mod common;

mod acme;
mod admin;
mod architecture;
mod broken_inputs;
mod catalog_files;
mod certificates;
mod cli;
mod conformance;
mod contract;
mod counts;
mod demo_geoip;
mod event;
mod feed_commands;
mod feeds;
mod flood;
mod formats;
mod front;
mod fuzz;
mod hostile;
mod http2;
mod identity;
mod import;
mod judge;
mod limits;
mod links;
mod live;
mod loaders;
mod lookup;
mod lookup_agrees;
mod nats;
mod never_down;
mod outbox;
mod pages;
mod plugin;
mod privacy;
mod quality;
mod redirect;
mod reload;
mod rules;
mod s3;
mod serve;
mod shapes;
mod sources;
mod spool;
mod stop;
mod tls;
mod upgrade;
mod upstream;
mod verify;
mod visitors;
mod visits;
mod webhook;
