//! Notifies systemd (`Type=notify`, or `notify-reload`): ready, reloading, stopping. A no-op without systemd.

use sd_notify::NotifyState;

/// Reports that the service answers clicks.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that a reload has begun; call [`ready`] when it is over.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Reports that another process of the service is the main one from now on, and answers clicks.
pub fn succeeded_by(pid: u32) {
    notify(&[NotifyState::MainPid(pid), NotifyState::Ready]);
}

/// Reports that the service stops.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
