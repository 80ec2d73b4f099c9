//! Numbers and texts in few bytes.

/// Reads the parts of a record, one after the other.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.varint()?;
        self.take(length as usize)
    }
}

/// Writes a number, seven bits a byte, the low ones first.
pub fn varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Writes a text with its length.
pub fn text(into: &mut Vec<u8>, bytes: &[u8]) {
    varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}
