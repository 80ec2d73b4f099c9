//! What operators see of a running edge: [`logs`] and [`metrics`]. Next to the flow; imports no stage.
//!
//! Each stage owns its metrics, in a `metrics` module of its own. Here are the registry that they share, [`process`],
//! the metrics of the process as a whole, and [`drops`], the losses that several stages count into the same series.
//! [`otlp`] writes all of them as OpenTelemetry collectors read them.

pub mod drops;
#[cfg(feature = "server")]
pub mod logs;
pub mod metrics;
#[cfg(feature = "server")]
pub mod otlp;
pub mod process;
