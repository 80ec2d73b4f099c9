//! The deadline of a connection. It moves with each request, and the timer behind it does not: that is set again only
//! when it fires early. So a deadline costs a connection one entry in the runtime's timers, and a request a store.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// A deadline that is cheap to move.
pub struct Deadline {
    at: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Deadline {
    pub fn at(at: Instant) -> Self {
        Self { at, sleep: Box::pin(tokio::time::sleep_until(at)) }
    }

    /// Moves the deadline to so long after `now`.
    pub fn set(&mut self, now: Instant, after: Duration) {
        self.at = now + after;
        // The timer may fire early, never late.
        if self.at < self.sleep.deadline() {
            self.sleep.as_mut().reset(self.at);
        }
    }

    /// Moves the deadline forward, if it is later than `at`.
    pub fn shorten(&mut self, at: Instant) {
        if at < self.at {
            self.at = at;
            self.sleep.as_mut().reset(at);
        }
    }

    /// Moves the deadline on by so much.
    pub fn extend(&mut self, by: Duration) {
        self.at += by;
    }

    /// Ready when it has passed.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= self.at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(self.at);
        }
        Poll::Pending
    }
}
