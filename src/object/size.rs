//! How large an object is while it is being written.
//!
//! A compressor writes in blocks, of up to 900 kB of text, and the size of a block is unknown until it ends. A limit of
//! 128 KiB is reached inside the first block, so that counting what the compressor has written is no use. The gauge
//! adds an estimate for the text of the open block: the text times a ratio. That is the ratio of the object's blocks so
//! far, or else that of the feed's earlier objects, or else that of a sample: the first text of the object, compressed
//! a second time and alone.

/// Most text that is compressed with one call, and the least. A compressor that is called for every event takes 7 %
/// longer.
const CALL: (u64, u64) = (4 << 10, 64 << 10);

/// Most text of a sample.
const SAMPLE: u64 = 256 << 10;

/// Compressed bytes that are the end of a block, and not a header.
const BLOCK: u64 = 1 << 10;

/// See the module.
pub struct SizeGauge {
    max_bytes: u64,
    /// Compressed bytes for each byte of text. `None` until it is known.
    ratio: Option<f64>,
    /// Text is not compressed, or there is no limit.
    exact: bool,
    /// Text that the compressor has got.
    text: u64,
    /// Compressed bytes that the compressor has written.
    written: u64,
    /// Text and compressed bytes at the end of the last block.
    block: (u64, u64),
}

impl SizeGauge {
    /// `ratio` is that of earlier objects.
    pub fn new(max_bytes: u64, ratio: Option<f64>) -> Self {
        Self { max_bytes, ratio, exact: false, text: 0, written: 0, block: (0, 0) }
    }

    /// For text that is not compressed.
    pub fn uncompressed(max_bytes: u64) -> Self {
        Self { exact: true, ..Self::new(max_bytes, Some(1.0)) }
    }

    /// No object is full.
    pub fn unlimited() -> Self {
        Self::uncompressed(u64::MAX)
    }

    /// Whether an object is full, if `waiting` bytes of text are still to be compressed. No object is before a ratio is
    /// known.
    pub fn is_full(&self, waiting: usize) -> bool {
        let (text, bytes) = self.block;
        let open = self.text + waiting as u64 - text;
        self.ratio.is_some_and(|ratio| bytes as f64 + open as f64 * ratio >= self.max_bytes as f64)
    }

    /// Bytes of text that are collected before they are compressed.
    pub fn collected(&self) -> usize {
        if self.ratio.is_some() { self.call() } else { SAMPLE.min(self.max_bytes.saturating_mul(2)) as usize }
    }

    /// Bytes of text that are compressed with one call.
    pub fn call(&self) -> usize {
        (self.max_bytes / 2).clamp(CALL.0, CALL.1) as usize
    }

    /// Whether a sample is needed.
    pub fn wants_sample(&self) -> bool {
        self.ratio.is_none()
    }

    /// Takes note of a sample.
    pub fn sampled(&mut self, text: usize, bytes: u64) {
        self.ratio = Some(bytes as f64 / text.max(1) as f64);
    }

    /// Takes note of a call of the compressor, which has written that many bytes in all.
    pub fn compressed(&mut self, text: usize, written: u64) {
        let begin = self.text;
        self.text += text as u64;
        if !self.exact && written >= self.written + BLOCK {
            // The block has ended somewhere in the text of this call.
            let end = begin + text as u64 / 2;
            self.block = (end, written);
            self.ratio = Some(written as f64 / end.max(1) as f64);
        }
        self.written = written;
    }

    /// Bytes of text that were compressed.
    pub fn text_bytes(&self) -> u64 {
        self.text
    }
}
