//! Packed text, unpacked as it is read: gzip and Zstandard.
//!
//! Stands between a file's blocks and the cutting into lines. Invariants: memory is bounded by the
//! packed block, the format's window and one step's output, whatever the ratio; a checksum that does
//! not match and a file that ends early are errors, never the end of the text.

use std::io::{self, Read, Write};

use flate2::write::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Unpacked bytes after which a step ends.
pub(crate) const STEP_BYTES: usize = 64 << 10;
/// Packed bytes given to gzip at once: at its highest ratio they unpack to 1 MiB.
const GZIP_PIECE: usize = 1 << 10;
/// The longest frame header of Zstandard, with its magic number.
const ZSTD_HEADER: usize = 18;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more without further input.
    More,
    /// More packed bytes are needed.
    Hungry,
    /// All of it was unpacked. Only after the input's end.
    End,
}

/// Unpacks one file.
pub(crate) enum Unpacker {
    /// gzip, of one or several members.
    Gzip {
        /// Boxed: large.
        decoder: Box<MultiGzDecoder<Vec<u8>>>,
        input: Input,
    },
    /// Zstandard, of one or several frames.
    Zstd {
        /// Boxed: large.
        decoder: Box<FrameDecoder>,
        input: Input,
        state: Frame,
    },
}

/// Packed bytes that were read and not yet unpacked.
#[derive(Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Input {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    fn add(&mut self, data: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(data);
    }
}

/// Where in a sequence of Zstandard frames the input stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frame {
    /// Before a frame; `first` if none has been seen.
    Before { first: bool },
    /// In a frame's blocks.
    Blocks { checksum: bool },
    /// After the last block: what the window still holds is to be read.
    Drain,
    /// In a frame to be skipped.
    Skip { left: usize },
}

fn damaged(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "it ends amid its packed data; it was cut short or is still being written",
    )
}

/// What comes is no gzip, or no whole member was before it.
fn no_gzip(error: &io::Error) -> io::Error {
    damaged(format!(
        "it is no gzip file, or is damaged: {error}; give a name that does not end in .gz to what is not packed"
    ))
}

/// The input has ended. The decoder says the same of a checksum that does not match and of one that is not there.
fn not_whole(error: &io::Error) -> io::Error {
    let message = format!(
        "its packed data is not whole: it was cut short, is still being written, or is damaged ({error})"
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

impl Unpacker {
    /// For a gzip file.
    pub(crate) fn gzip() -> Self {
        Unpacker::Gzip {
            decoder: Box::new(MultiGzDecoder::new(Vec::new())),
            input: Input::default(),
        }
    }

    /// For a Zstandard file.
    pub(crate) fn zstd() -> Self {
        Unpacker::Zstd {
            decoder: Box::new(FrameDecoder::new()),
            input: Input::default(),
            state: Frame::Before { first: true },
        }
    }

    fn input(&mut self) -> &mut Input {
        match self {
            Unpacker::Gzip { input, .. } | Unpacker::Zstd { input, .. } => input,
        }
    }

    /// More packed bytes. Only when the last step was hungry.
    pub(crate) fn feed(&mut self, data: &[u8]) {
        self.input().add(data);
    }

    /// No more packed bytes will come.
    pub(crate) fn end(&mut self) {
        self.input().ended = true;
    }

    /// Appends about [`STEP_BYTES`] to `out`.
    ///
    /// # Errors
    /// Damaged data.
    pub(crate) fn step(&mut self, out: &mut Vec<u8>) -> io::Result<Step> {
        match self {
            Unpacker::Gzip { decoder, input } => gzip_step(decoder, input, out),
            Unpacker::Zstd {
                decoder,
                input,
                state,
            } => {
                let enough = out.len() + STEP_BYTES;
                loop {
                    let step = zstd_step(decoder, input, state, out)?;
                    if step != Step::More || out.len() >= enough {
                        return Ok(step);
                    }
                }
            }
        }
    }
}

fn gzip_step(
    decoder: &mut MultiGzDecoder<Vec<u8>>,
    input: &mut Input,
    out: &mut Vec<u8>,
) -> io::Result<Step> {
    // The decoder writes into a vector of its own: lend it ours.
    std::mem::swap(out, decoder.get_mut());
    let stepped = gzip_write(decoder, input);
    std::mem::swap(out, decoder.get_mut());
    stepped
}

fn gzip_write(decoder: &mut MultiGzDecoder<Vec<u8>>, input: &mut Input) -> io::Result<Step> {
    let enough = decoder.get_ref().len() + STEP_BYTES;
    while decoder.get_ref().len() < enough {
        let rest = input.rest();
        if rest.is_empty() {
            if !input.ended {
                return Ok(Step::Hungry);
            }
            decoder.try_finish().map_err(|error| not_whole(&error))?;
            return Ok(Step::End);
        }
        let piece = &rest[..rest.len().min(GZIP_PIECE)];
        let taken = decoder.write(piece).map_err(|error| no_gzip(&error))?;
        if taken == 0 {
            return Err(damaged("it goes on after its end"));
        }
        input.at += taken;
    }
    Ok(Step::More)
}

fn zstd_step(
    decoder: &mut FrameDecoder,
    input: &mut Input,
    state: &mut Frame,
    out: &mut Vec<u8>,
) -> io::Result<Step> {
    match *state {
        Frame::Before { first } => return zstd_header(decoder, input, state, first),
        Frame::Skip { left } => {
            let skipped = left.min(input.rest().len());
            input.at += skipped;
            *state = match left - skipped {
                0 => Frame::Before { first: false },
                left => Frame::Skip { left },
            };
            if skipped < left {
                return hungry(input);
            }
        }
        // What a block leaves behind goes out before the next one is unpacked: the decoder must not grow.
        Frame::Blocks { .. } if decoder.can_collect() >= STEP_BYTES => {
            drain(decoder, out)?;
        }
        Frame::Blocks { checksum } => {
            let Some(block) = zstd_block(input.rest(), checksum) else {
                return hungry(input);
            };
            let mut packed = &input.rest()[..block];
            let last = decoder
                .decode_blocks(&mut packed, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(damaged)?;
            debug_assert!(packed.is_empty(), "a block is as long as it says");
            input.at += block;
            if last {
                *state = Frame::Drain;
            }
            drain(decoder, out)?;
        }
        Frame::Drain => {
            if drain(decoder, out)? == 0 {
                let (told, found) = (
                    decoder.get_checksum_from_data(),
                    decoder.get_calculated_checksum(),
                );
                if told.is_some() && told != found {
                    return Err(damaged("the checksum of a frame does not match its text"));
                }
                *state = Frame::Before { first: false };
            }
        }
    }
    Ok(Step::More)
}

fn zstd_header(
    decoder: &mut FrameDecoder,
    input: &mut Input,
    state: &mut Frame,
    first: bool,
) -> io::Result<Step> {
    let rest = input.rest();
    if rest.is_empty() && input.ended && !first {
        return Ok(Step::End);
    }
    if rest.len() < ZSTD_HEADER && !input.ended {
        return Ok(Step::Hungry);
    }
    let mut header = rest;
    *state = match decoder.reset(&mut header) {
        // Byte 4 is the frame's descriptor, its bit 2 says that a checksum follows the blocks.
        Ok(()) => Frame::Blocks {
            checksum: rest[4] & 4 != 0,
        },
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
            length,
            ..
        })) => Frame::Skip {
            left: length as usize,
        },
        Err(_) if rest.len() < ZSTD_HEADER => return Err(cut_short()),
        Err(error) => return Err(damaged(error)),
    };
    input.at += rest.len() - header.len();
    Ok(Step::More)
}

/// The bytes of the block at the beginning of `rest` with its header, if all of it is there.
fn zstd_block(rest: &[u8], checksum: bool) -> Option<usize> {
    let &[low, middle, high, ..] = rest else {
        return None;
    };
    let header = u32::from_le_bytes([low, middle, high, 0]);
    let (last, kind, size) = (header & 1 == 1, (header >> 1) & 3, (header >> 3) as usize);
    // One byte stands for all of a run.
    let content = if kind == 1 { 1 } else { size };
    let whole = 3 + content + if last && checksum { 4 } else { 0 };
    (rest.len() >= whole).then_some(whole)
}

fn hungry(input: &Input) -> io::Result<Step> {
    match input.ended {
        true => Err(cut_short()),
        false => Ok(Step::Hungry),
    }
}

/// Appends what has left the decoder's window, a step's worth at most.
fn drain(decoder: &mut FrameDecoder, out: &mut Vec<u8>) -> io::Result<usize> {
    let before = out.len();
    let there = decoder.can_collect().min(STEP_BYTES);
    out.resize(before + there, 0);
    let count = decoder.read(&mut out[before..])?;
    out.truncate(before + count);
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        (0..40_000_u32)
            .flat_map(|i| format!("line {i} {}\n", i.wrapping_mul(2_654_435_761)).into_bytes())
            .collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        use ruzstd::encoding::{CompressionLevel, compress_to_vec};
        compress_to_vec(text, CompressionLevel::Fastest)
    }

    fn unpack(mut unpacker: Unpacker, packed: &[u8], size: usize) -> io::Result<Vec<u8>> {
        let mut pieces = packed.chunks(size);
        let mut out = Vec::new();
        loop {
            let before = out.len();
            match unpacker.step(&mut out)? {
                Step::End => return Ok(out),
                Step::More => assert!(out.len() - before <= STEP_BYTES + (2 << 20)),
                Step::Hungry => match pieces.next() {
                    Some(piece) => unpacker.feed(piece),
                    None => unpacker.end(),
                },
            }
        }
    }

    #[test]
    fn any_pieces_give_the_text_also_of_several_members_and_skipped_frames() {
        let text = text();
        let (head, rest) = text.split_at(text.len() / 3);
        let gzipped = [gzip(head), gzip(b""), gzip(rest)].concat();
        let skipped = [&[0x50, 0x2A, 0x4D, 0x18, 5, 0, 0, 0][..], b"other"].concat();
        let zstd = [skipped.clone(), zstd(head), skipped, zstd(rest)].concat();
        for size in [7, 1000, 70_000, usize::MAX] {
            let unpacked = unpack(Unpacker::gzip(), &gzipped, size).unwrap();
            assert!(unpacked == text, "gzip in pieces of {size}");
            let unpacked = unpack(Unpacker::zstd(), &zstd, size).unwrap();
            assert!(unpacked == text, "zstd in pieces of {size}");
        }
    }

    #[test]
    fn a_cut_short_file_is_never_taken_for_whole() {
        let text = &text()[..5000];
        let (gzip, zstd) = (gzip(text), zstd(text));
        for cut in 0..gzip.len() {
            assert!(
                unpack(Unpacker::gzip(), &gzip[..cut], 512).is_err(),
                "gzip {cut}"
            );
        }
        for cut in 0..zstd.len() {
            assert!(
                unpack(Unpacker::zstd(), &zstd[..cut], 512).is_err(),
                "zstd {cut}"
            );
        }
    }

    #[test]
    fn a_checksum_that_does_not_match_is_found() {
        // What `zstd --check` makes of "checked\n": raw block, four bytes of checksum.
        let packed: [u8; 21] = [
            0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x58, 0x41, 0x00, 0x00, 0x63, 0x68, 0x65, 0x63, 0x6B,
            0x65, 0x64, 0x0A, 0x70, 0x3F, 0x43, 0xB0,
        ];
        let unpacked = unpack(Unpacker::zstd(), &packed, 5).unwrap();
        assert_eq!(unpacked, b"checked\n");
        for wrong in [packed.len() - 1, packed.len() - 6] {
            let mut packed = packed;
            packed[wrong] ^= 1;
            let refused = unpack(Unpacker::zstd(), &packed, 5).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "byte {wrong}");
        }
        let mut packed = gzip(b"checked\n");
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        assert!(unpack(Unpacker::gzip(), &packed, 5).is_err());
    }

    #[test]
    fn a_gzip_file_that_is_none_or_not_whole_is_told_as_that() {
        let said = |packed: &[u8]| {
            let refused = unpack(Unpacker::gzip(), packed, 64).unwrap_err();
            refused.to_string()
        };
        let plain = said(b"once upon a time there was a file");
        assert!(plain.contains("no gzip file"), "{plain}");
        let packed = gzip(&text()[..5000]);
        for cut in [0, 1, 9, 100, packed.len() - 8, packed.len() - 1] {
            let cut_short = said(&packed[..cut]);
            assert!(cut_short.contains("cut short"), "{cut}: {cut_short}");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_the_ratio() {
        let zeroes = vec![0; 8 << 20];
        let packed = gzip(&zeroes);
        assert!(packed.len() < 64 << 10);
        // `unpack` asserts the bound of every step.
        assert_eq!(
            unpack(Unpacker::gzip(), &packed, usize::MAX).unwrap(),
            zeroes
        );
        let packed = zstd(&zeroes);
        assert_eq!(
            unpack(Unpacker::zstd(), &packed, usize::MAX).unwrap(),
            zeroes
        );
    }
}
