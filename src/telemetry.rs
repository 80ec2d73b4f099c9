//! What operators see: metrics, logs, and the word to systemd. Beside the flow; imports no stage.

pub mod logs;
pub mod metrics;
