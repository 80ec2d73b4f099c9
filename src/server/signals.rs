//! Signals, and what each does.
//!
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | stop: requests under way finish, clicks are written to the journal; no sink is waited for |
//! | `SIGQUIT` | the last stop, as `clickedge drain`: what waits is delivered, for `shutdown.drain_secs` at most |
//! | `SIGHUP` | reload: the configuration and all files that it names are taken up, or nothing is |

use std::{io, sync::Arc, thread};

use crossbeam_channel::{Receiver, after, bounded, never, select};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

use super::{
    Running,
    shutdown::{Stop, StopRequest},
};
use crate::{pipeline::Reloader, runtime::priority};

/// Takes the signals over from the system, which would end the process. They are kept until [`watch`].
pub fn register() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])
}

/// What signals ask for before [`watch`] is called.
#[derive(Default)]
pub struct Early {
    /// The first thing to do after the start: files may have changed since they were read.
    reload: bool,
}

impl Early {
    /// Whether a signal asks for a stop, which is then requested.
    pub fn stops(&mut self, signals: &mut Signals, stop: &StopRequest) -> bool {
        for signal in signals.pending() {
            match signal {
                SIGHUP => self.reload = true,
                SIGQUIT => _ = stop.send_replace(Some(Stop::Drain)),
                _ => _ = stop.send_replace(Some(Stop::Now)),
            }
        }
        stop.borrow().is_some()
    }
}

/// Reloads that were asked for.
pub struct Reloads(Receiver<()>);

/// Handles signals.
pub fn watch(mut signals: Signals, early: &Early, running: Arc<Running>) -> io::Result<Reloads> {
    let (reload, reloads) = bounded(1);
    if early.reload {
        _ = reload.try_send(());
    }
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
    /// thread looks at watched files.
    pub fn serve(self, reloader: Reloader) -> io::Result<()> {
        thread::Builder::new().name("reload".into()).spawn(move || {
            priority::lower(priority::LOW);
            run_reloads(&self.0, &reloader);
        })?;
        Ok(())
    }
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
