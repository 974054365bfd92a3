//! Finding the words of a block, and packing a word into sixteen bytes.
//!
//! A block is looked at 64 bytes at a time as one mask of separators; where the CPU can compress
//! bytes, a mask becomes positions without a branch per word. A packed word is padded with spaces,
//! which no word contains, so that packing loses nothing.

/// Readable bytes a block must have behind its end.
pub(super) const SLACK: usize = 64;
/// The longest word that packs.
pub(super) const PACKED: usize = 16;

const SPACES: u64 = 0x2020_2020_2020_2020;

/// A word of at most [`PACKED`] bytes, padded with spaces.
pub(super) type Packed = [u64; 2];

/// What no word packs to.
pub(super) const NO_WORD: Packed = [SPACES; 2];

/// Whether words end at `byte`.
#[inline(always)]
pub(super) fn is_separator(byte: u8) -> bool {
    byte == b' ' || byte == b'\n'
}

/// Positions of the words of a block.
#[derive(Default)]
pub(super) struct Words {
    starts: Vec<u32>,
    ends: Vec<u32>,
    count: usize,
}

impl Words {
    /// Start and end of every word found last.
    #[inline(always)]
    pub(super) fn spans(&self) -> (&[u32], &[u32]) {
        (&self.starts[..self.count], &self.ends[..self.count])
    }

    /// Finds the words of the first `len` bytes of `block`, which end with a separator.
    #[inline(always)]
    pub(super) fn find<const WIDE: u8>(&mut self, block: &[u8], len: usize) {
        assert!(
            len > 0 && block.len() >= len + SLACK,
            "a block has slack behind it"
        );
        assert!(
            is_separator(block[len - 1]),
            "a block ends with a separator"
        );
        assert!(u32::try_from(len).is_ok(), "a word is shorter than 4 GiB");
        // Every second byte can start a word, and a store may overhang by a vector.
        let room = len / 2 + 64;
        self.starts.resize(self.starts.len().max(room), 0);
        self.ends.resize(self.ends.len().max(room), 0);
        let (mut starts, mut ends, mut inside) = (0, 0, 0);
        for at in (0..len).step_by(64) {
            let mut gaps = separators::<WIDE>(&block[at..]);
            if len - at < 64 {
                gaps |= u64::MAX << (len - at);
            }
            let before = (!gaps << 1) | inside;
            inside = !gaps >> 63;
            starts += list::<WIDE>(!gaps & !before, at as u32, &mut self.starts[starts..]);
            ends += list::<WIDE>(gaps & before, at as u32, &mut self.ends[ends..]);
        }
        assert_eq!(starts, ends, "a word that starts ends");
        self.count = starts;
    }
}

/// One bit for each of the first 64 bytes that is a separator.
#[inline(always)]
fn separators<const WIDE: u8>(bytes: &[u8]) -> u64 {
    let Some(bytes) = bytes.first_chunk::<64>() else {
        unreachable!("a block has slack behind it")
    };
    #[cfg(target_arch = "x86_64")]
    if WIDE > 1 {
        // SAFETY: `WIDE` is above 1 only under a level that has AVX-512 BW.
        return unsafe { super::wide::separators(bytes) };
    }
    let mut mask = 0;
    for (sixteen, bytes) in bytes.chunks_exact(16).enumerate() {
        let mut part = 0u16;
        for (at, &byte) in bytes.iter().enumerate() {
            part |= u16::from(is_separator(byte)) << at;
        }
        mask |= u64::from(part) << (16 * sixteen);
    }
    mask
}

/// Writes the positions of the bits of `mask`, counted from `base`; how many there are.
#[inline(always)]
fn list<const WIDE: u8>(mask: u64, base: u32, to: &mut [u32]) -> usize {
    #[cfg(target_arch = "x86_64")]
    if WIDE > 1 {
        let Some(to) = to.first_chunk_mut::<32>() else {
            unreachable!("there is room for a vector behind the positions")
        };
        // SAFETY: `WIDE` is above 1 only under a level that has AVX-512 VBMI2.
        return unsafe { super::wide::positions(mask, base, to) };
    }
    let mut left = mask;
    let mut count = 0;
    while left != 0 {
        to[count] = base + left.trailing_zeros();
        left &= left - 1;
        count += 1;
    }
    count
}

/// What of the two halves a word of some length keeps, and the spaces it gets instead.
static KEEP: [Packed; PACKED + 1] = {
    let mut keep = [[0; 2]; PACKED + 1];
    let mut len = 0;
    while len <= PACKED {
        let mut byte = 0;
        while byte < len {
            keep[len][byte / 8] |= 0xff << (8 * (byte % 8));
            byte += 1;
        }
        len += 1;
    }
    keep
};

/// Packs the `len` bytes at `start`, at most [`PACKED`].
///
/// # Safety
/// Sixteen bytes from `start` lie in `block`.
#[inline(always)]
pub(super) unsafe fn pack(block: &[u8], start: usize, len: usize) -> Packed {
    debug_assert!(
        len > 0 && len <= PACKED && start + PACKED <= block.len(),
        "a word packs"
    );
    // SAFETY: the caller vouches for sixteen readable bytes from `start`.
    let at = unsafe { block.as_ptr().add(start) }.cast::<[u8; PACKED]>();
    // SAFETY: as above; any bytes are an array of bytes.
    let bytes = unsafe { at.read_unaligned() };
    let bits = u128::from_le_bytes(bytes);
    let keep = &KEEP[len];
    let half = |bits: u64, keep: u64| (bits & keep) | (SPACES & !keep);
    [
        half(bits as u64, keep[0]),
        half((bits >> 64) as u64, keep[1]),
    ]
}

/// The bytes of a packed word.
pub(super) fn unpack(word: Packed) -> Vec<u8> {
    let mut bytes: Vec<u8> = word.iter().flat_map(|half| half.to_le_bytes()).collect();
    while bytes.last() == Some(&b' ') {
        bytes.pop();
    }
    bytes
}

/// The hash of a packed word: one wide multiplication, folded; its high bits count.
#[inline(always)]
pub(super) fn hash(word: Packed) -> u64 {
    let wide =
        u128::from(word[0] ^ 0x9E37_79B9_7F4A_7C15) * u128::from(word[1] ^ 0xD6E8_FEB8_6659_FD93);
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::definitions::sm;

    fn found<const WIDE: u8>(text: &[u8]) -> Vec<Vec<u8>> {
        let mut block = text.to_vec();
        block.resize(text.len() + SLACK, b'?');
        let mut words = Words::default();
        words.find::<WIDE>(&block, text.len());
        let (starts, ends) = words.spans();
        starts
            .iter()
            .zip(ends)
            .map(|(&s, &e)| text[s as usize..e as usize].to_vec())
            .collect()
    }

    /// Texts with all densities of separators, ended by one.
    fn texts() -> impl Iterator<Item = Vec<u8>> {
        (0..400u64).map(|number| {
            let byte = |at: u64| match sm(number << 32 | at) % (2 + number % 11) {
                0 => b" \n"[(sm(at) & 1) as usize],
                other => b"\0\t\x20azA\x9f\xff_9-\r"[other as usize],
            };
            (0..1 + number * 2).map(byte).chain([b'\n']).collect()
        })
    }

    #[test]
    fn words_equal_a_plain_split() {
        for text in texts() {
            let plain = text
                .split(|&byte| is_separator(byte))
                .filter(|word| !word.is_empty());
            let plain: Vec<Vec<u8>> = plain.map(<[u8]>::to_vec).collect();
            assert_eq!(found::<0>(&text), plain);
            #[cfg(target_arch = "x86_64")]
            if super::super::Level::available().len() == 3 {
                assert_eq!(found::<2>(&text), plain);
            }
        }
    }

    #[test]
    fn packing_loses_nothing() {
        let block = b"ab\0cdefghijklmno pqrstuvwxyz....";
        for len in 1..=16 {
            // SAFETY: the block is 32 bytes.
            let word = unsafe { pack(block, 0, len) };
            assert_eq!(unpack(word), &block[..len]);
            assert_ne!(word, NO_WORD);
        }
    }
}
