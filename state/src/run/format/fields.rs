//! Numbers and byte strings, one after another.
//!
//! Entered by all parts of the format. Invariant: nothing is read beyond the bytes given and nothing is
//! allocated for a length before that many bytes are seen to be there. Plain data, lives on any thread.

/// Reads fields from the front of some bytes. Each answers `None` when the bytes end before the field.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { rest: bytes }
    }

    /// Bytes not read yet.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A byte string with its length in four bytes before it.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }
}

/// Appends a byte string with its length in four bytes before it.
///
/// What is written by this room is shorter than 4 GiB: rows have a limit, names are named in code.
pub(crate) fn put_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Appends a number in groups of seven bits, the lowest first; the high bit says that more follow.
#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number at `at`, and where the next field begins.
#[inline]
pub(crate) fn varint(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = *bytes.get(at)?;
    if first < 0x80 {
        return Some((u32::from(first), at + 1));
    }
    let mut number = u32::from(first & 0x7F);
    for more in 1..5_usize {
        let byte = *bytes.get(at + more)?;
        // The fifth group has room for four bits.
        if more == 4 && byte > 0x0F {
            return None;
        }
        number |= u32::from(byte & 0x7F) << (7 * more);
        if byte < 0x80 {
            return Some((number, at + more + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_comes_back(number: u32, shift in 0..32_u32, before in 0..4_usize) {
            let number = number >> shift;
            let mut bytes = vec![0xFF; before];
            put_varint(&mut bytes, number);
            prop_assert_eq!(varint(&bytes, before), Some((number, bytes.len())));
            bytes.pop();
            prop_assert_eq!(varint(&bytes, before), None);
        }
    }

    #[test]
    fn a_number_too_long_is_none() {
        assert_eq!(
            varint(&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], 0),
            Some((u32::MAX, 5))
        );
        assert_eq!(varint(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F], 0), None);
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 0), None);
    }

    #[test]
    fn fields_end_with_the_bytes() {
        let mut fields = Fields::new(&[1, 2, 0, 3, 0, 0, 0, 7, 8]);
        assert_eq!(fields.u8(), Some(1));
        assert_eq!(fields.u16(), Some(2));
        assert_eq!(
            fields.string(),
            None,
            "three bytes are asked for, two are there"
        );
        assert_eq!((fields.left(), fields.u64()), (2, None));
        assert_eq!(fields.bytes(2), Some(&[7, 8][..]));
    }
}
