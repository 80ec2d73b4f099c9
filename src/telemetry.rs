//! What operators see of a running edge: [`logs`] and [`metrics`]. Next to the flow; imports no stage.
//!
//! Each stage makes and owns its own metrics, in a `metrics` module of its own. What stands here is the registry that they
//! share, and [`drops`], the one account of lost clicks and events that several stages keep together.

pub mod drops;
pub mod logs;
pub mod metrics;
