//! Signals, and what each does.
//!
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT`, `SIGQUIT` | stop: listeners close, requests under way finish, queues drain, objects are delivered |
//! | `SIGHUP` | reload: the configuration and all files that it names are taken up, or nothing is |

use std::{io, sync::Arc, thread};

use crossbeam_channel::{Receiver, after, bounded, never, select};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};
use tokio::sync::Notify;

use crate::pipeline::Reloader;

/// Takes the signals over from the system, which would end the process. They are kept until [`watch`].
pub fn register() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])
}

/// Handles signals. Reloads run one after the other on a thread of their own, so that a stop never waits for one. In
/// between, that thread looks at watched files.
pub fn watch(mut signals: Signals, reloader: Reloader, stop: Arc<Notify>) -> io::Result<()> {
    let (reload, reloads) = bounded(1);
    thread::Builder::new().name("reload".into()).spawn(move || run_reloads(&reloads, &reloader))?;
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

fn run_reloads(reloads: &Receiver<()>, reloader: &Reloader) {
    loop {
        let look = reloader.watch_interval().map_or_else(never, after);
        select! {
            recv(reloads) -> wanted => {
                if wanted.is_err() {
                    return;
                }
                _ = reloader.reload();
            }
            recv(look) -> _ => reloader.watch(),
        }
    }
}
