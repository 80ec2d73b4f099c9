//! The word to systemd (`Type=notify`, or `notify-reload`): ready, reloading, stopping. Without systemd all of it does nothing.

use sd_notify::NotifyState;

/// The service answers clicks.
pub fn ready() {
    say(&[NotifyState::Ready]);
}

/// A reload has begun; say [`ready`] when it is over.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(_) => say(&[NotifyState::Reloading]),
    }
}

/// The service is going down.
pub fn stopping() {
    say(&[NotifyState::Stopping]);
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
