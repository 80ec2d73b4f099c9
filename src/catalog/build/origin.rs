//! Where the lines of a build come from.

use std::{
    cell::{Cell, RefCell},
    path::Path,
};

use super::{Input, Rejected, Watch};

/// Knows the input of each line by its number.
pub struct Origin<'b> {
    inputs: &'b [Input],
    pub watch: &'b dyn Watch,
    /// The number of the first line of each input that was begun.
    starts: RefCell<Vec<u64>>,
    /// The line that is being read.
    line: Cell<u64>,
    text: RefCell<Vec<u8>>,
    /// The first line that was left out, and why.
    first: RefCell<Option<String>>,
}

impl<'b> Origin<'b> {
    pub fn new(inputs: &'b [Input], watch: &'b dyn Watch) -> Self {
        let (starts, text) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        Self { inputs, watch, starts, line: Cell::new(0), text, first: RefCell::new(None) }
    }

    /// Begins the input of this number. Returns the number of its first line.
    pub fn begin(&self, input: usize) {
        let mut starts = self.starts.borrow_mut();
        starts.truncate(input);
        starts.push(if input == 0 { 1 } else { self.line.get() + 1 });
    }

    /// The number of the first line of the current input.
    pub fn start(&self) -> u64 {
        self.starts.borrow().last().copied().unwrap_or(1)
    }

    /// This line is read now.
    pub fn read(&self, line: u64, text: &[u8]) {
        self.line.set(line);
        let mut current = self.text.borrow_mut();
        current.clear();
        current.extend_from_slice(text);
        self.watch.item();
    }

    /// All lines were read.
    pub fn end(&self) {
        self.line.set(0);
    }

    /// Reports a line that is left out.
    pub fn reject(&self, line: u64, reason: &str) {
        let (file, number) = self.place(line);
        let text = self.text.borrow();
        let text = (line == self.line.get()).then(|| std::str::from_utf8(&text).ok()).flatten();
        self.watch.reject(&Rejected { file, line: number, reason, text });
        self.first.borrow_mut().get_or_insert_with(|| format!("{}, line {number}: {reason}", file.display()));
    }

    /// The input that a line is in, and its number there.
    pub fn place(&self, line: u64) -> (&'b Path, u64) {
        let starts = self.starts.borrow();
        let input = starts.partition_point(|start| *start <= line).saturating_sub(1);
        let number = starts.get(input).map_or(line, |start| line + 1 - start);
        (self.inputs.get(input).map_or(Path::new("-"), Input::path), number)
    }

    /// For a message: the first line that was left out, and why.
    pub fn first(&self) -> String {
        self.first.borrow().as_ref().map(|first| format!("; the first is {first}")).unwrap_or_default()
    }
}
