//! Buffers. A connection has one only while there is something in it: those of a thread are shared by its connections,
//! and are neither allocated nor cleared for each request.

use std::{
    cell::RefCell,
    io,
    task::{Context, Poll},
};

use super::transport::Transport;

/// Size of a buffer, and what is read at once.
const BYTES: usize = 4 * 1024;

/// Room for reading below which a buffer grows.
const LEAST: usize = 512;

/// Buffers of a kind that a thread keeps.
const MAX_KEPT: usize = 64;

thread_local! {
    static INPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OUTPUTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What was read from a connection and not used.
#[derive(Default)]
pub struct Input {
    /// Initialised as a whole; empty when there is nothing.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Input {
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// Passes over bytes that were used.
    pub fn skip(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Reads more. 0 when the client has closed its side.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, transport: &mut Transport) -> Poll<io::Result<usize>> {
        self.make_room(LEAST);
        let read = transport.poll_read(cx, &mut self.buffer[self.to..]);
        if let Poll::Ready(Ok(read)) = read {
            self.to += read;
        }
        if self.to == 0 {
            keep(&INPUTS, std::mem::take(&mut self.buffer));
        }
        read
    }

    /// Adds bytes that were read elsewhere.
    pub fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.make_room(bytes.len());
            self.buffer[self.to..self.to + bytes.len()].copy_from_slice(bytes);
            self.to += bytes.len();
        }
    }

    fn make_room(&mut self, bytes: usize) {
        if self.from > 0 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.buffer.is_empty() {
            self.buffer = INPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BYTES]);
        }
        let room = self.buffer.len() - self.to;
        if room < bytes {
            self.buffer.resize(self.buffer.len() + BYTES.max(bytes), 0);
        }
    }
}

/// An empty buffer for answers.
pub fn output() -> Vec<u8> {
    OUTPUTS.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(BYTES))
}

/// Gives a buffer for answers back.
pub fn give_back(mut output: Vec<u8>) {
    output.clear();
    keep(&OUTPUTS, output);
}

fn keep(kept: &'static std::thread::LocalKey<RefCell<Vec<Vec<u8>>>>, buffer: Vec<u8>) {
    kept.with_borrow_mut(|kept| {
        if buffer.capacity() == BYTES && kept.len() < MAX_KEPT {
            kept.push(buffer);
        }
    });
}
