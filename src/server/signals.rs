//! Signals, and what each does.
//!
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop: requests under way finish, clicks are written to the journal; no sink is waited for |
//! | `SIGQUIT` | the last stop, as `clickedge drain`: what waits is delivered, for `shutdown.drain_secs` at most |
//! | `SIGHUP` | reload: catalog, certificates, databases, lists and secrets are read again |

use std::{io, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded, never, select, tick};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

use super::{Running, shutdown::Stop};
use crate::{pipeline::Reloader, runtime::systemd};

/// Takes the signals over from the system, which would end the process. They are kept until [`watch`].
pub fn register() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])
}

/// Reloads that were asked for.
pub struct Reloads(Receiver<()>);

/// Handles signals.
pub fn watch(mut signals: Signals, running: Arc<Running>) -> io::Result<Reloads> {
    let (reload, reloads) = bounded(1);
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            match signal {
                // Full means that a reload is about to begin: it will read the files as they are now.
                SIGHUP => _ = reload.try_send(()),
                SIGQUIT => running.request(Stop::Drain),
                _ => running.request(Stop::Now),
            }
        }
    })?;
    Ok(Reloads(reloads))
}

impl Reloads {
    /// Runs reloads one after the other on a thread of their own, so that a stop never waits for one. In between, that
    /// thread looks at watched files as often as `watch` says.
    pub fn serve(self, reloader: Reloader, watch: Option<Duration>) -> io::Result<()> {
        thread::Builder::new().name("reload".into()).spawn(move || run_reloads(&self.0, &reloader, watch))?;
        Ok(())
    }
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
