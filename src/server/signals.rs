//! Signals, and what each does.
//!
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT`, `SIGQUIT` | stop: listeners close, requests under way finish, queues drain, objects are delivered |
//! | `SIGHUP` | reload: catalog, certificates, databases, lists and secrets are read again |

use std::{io, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded, never, select, tick};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::Notify;

use crate::{pipeline::Reloader, runtime::systemd};

/// Takes the signals over from the system, which would end the process. They are kept until [`watch`].
pub fn register() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])
}

/// Handles signals. Reloads run one after the other on a thread of their own, so that a stop never waits for one. In
/// between, that thread looks at watched files as often as `watch` says.
pub fn watch(mut signals: Signals, reloader: Reloader, watch: Option<Duration>, stop: Arc<Notify>) -> io::Result<()> {
    let (reload, reloads) = bounded(1);
    thread::Builder::new().name("reload".into()).spawn(move || run_reloads(&reloads, &reloader, watch))?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP {
                // Full means that a reload is about to begin: it will read the files as they are now.
                let _ = reload.try_send(());
            } else {
                stop.notify_one();
            }
        }
    })?;
    Ok(())
}

fn run_reloads(reloads: &Receiver<()>, reloader: &Reloader, watch: Option<Duration>) {
    let looks = watch.map_or_else(never, tick);
    loop {
        select! {
            recv(reloads) -> wanted => {
                if wanted.is_err() {
                    return;
                }
                systemd::reloading();
                reloader.reload();
                systemd::ready();
            }
            recv(looks) -> _ => reloader.watch(),
        }
    }
}
