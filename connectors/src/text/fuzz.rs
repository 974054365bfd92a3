//! What is thrown at the cutting and unpacking of text: by the fuzzer, and by a test that changes what is well written.

use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::SourceOutput;
use thalweg_memory::record::Str;

use super::decompress::{STEP_BYTES, Step, Unpacker};
use super::lines::{LineFault, Lines};

/// The longest line that is taken.
const LIMIT: usize = 64;
/// Unpacked bytes after which no more is asked for: a few packed ones may mean gigabytes.
const ENOUGH: usize = 1 << 20;

/// Lines as they come, no more than are wanted.
pub(super) struct Kept {
    pub(super) lines: Vec<String>,
    /// How many more.
    pub(super) left: usize,
}

impl SourceOutput<Str> for Kept {
    fn wanted(&self) -> bool {
        self.left > 0
    }

    fn emit(&mut self, item: &str, _at: Timestamp) {
        self.left -= 1;
        self.lines.push(item.to_owned());
    }

    fn mark(&mut self, _mark: thalweg_memory::Mark) {
        unreachable!("lines know no event time")
    }
}

/// The lines of `text` in blocks of this size, and what was wrong with it.
fn cut(text: &[u8], block: usize, lossy: bool) -> (Vec<String>, Option<LineFault>) {
    let mut lines = Lines::new(0, true, LIMIT, lossy);
    let mut kept = Kept {
        lines: Vec::new(),
        left: 0,
    };
    let mut blocks = text.chunks(block);
    let mut ended = false;
    loop {
        kept.left = 3;
        let before = kept.lines.len();
        if let Err(fault) = lines.emit(&mut kept, u64::MAX) {
            return (kept.lines, Some(fault));
        }
        if !lines.is_exhausted() {
            assert!(kept.lines.len() > before, "it goes on");
            continue;
        }
        let stepped = match blocks.next() {
            Some(data) => {
                let mut fed = lines.take_spent().unwrap_or_default();
                fed.resize(8 + data.len(), 0xFF);
                fed[8..].copy_from_slice(data);
                lines.feed(fed, 8..8 + data.len())
            }
            None if ended => return (kept.lines, None),
            None => {
                ended = true;
                lines.end()
            }
        };
        if let Err(fault) = stepped {
            return (kept.lines, Some(fault));
        }
    }
}

/// Any bytes as a text: its lines and what is wrong with it do not depend on the blocks it comes in, and where nothing
/// is, the lines are the text.
pub fn lines(bytes: &[u8]) {
    let Some((block, text)) = bytes.split_first() else {
        return;
    };
    for lossy in [false, true] {
        let small = cut(text, usize::from(*block % 32) + 1, lossy);
        let whole = cut(text, usize::MAX, lossy);
        match (&small.1, &whole.1) {
            (None, None) => assert_eq!(small.0, whole.0),
            // In one block what comes before a line that is too long is checked with it.
            (small, whole) => assert!(small.is_some() && whole.is_some(), "{small:?}, {whole:?}"),
        }
        if whole.1.is_none()
            && let Ok(text) = std::str::from_utf8(text)
        {
            let plain = text.strip_suffix('\n').unwrap_or(text).split('\n');
            let plain = plain.map(|line| line.strip_suffix('\r').unwrap_or(line));
            let plain = plain.filter(|_| !text.is_empty());
            assert!(whole.0.iter().map(String::as_str).eq(plain));
        }
    }
}

/// Any bytes as a packed file: unpacked in steps of bounded size, to its end or to what is wrong with it.
pub fn packed(bytes: &[u8]) {
    for mut unpacker in [Unpacker::gzip(), Unpacker::zstd()] {
        let (mut pieces, mut ended, mut all) = (bytes.chunks(100), false, 0);
        let mut out = Vec::new();
        while all < ENOUGH {
            out.clear();
            match unpacker.step(&mut out) {
                Err(_) | Ok(Step::End) => break,
                Ok(Step::More) => {}
                Ok(Step::Hungry) => match pieces.next() {
                    Some(piece) => unpacker.feed(piece),
                    None => {
                        assert!(!ended, "nothing more can come");
                        ended = true;
                        unpacker.end();
                    }
                },
            }
            // What one piece of gzip or one block of Zstandard may become beyond a step.
            assert!(out.len() <= STEP_BYTES + (2 << 20), "{} bytes", out.len());
            all += out.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::mutants::each_mutant;

    #[test]
    fn lines_do_not_depend_on_the_blocks_they_come_in() {
        let seeds = [
            "\u{3}first\r\n\nzweite Zeile äöü\n\r\nthird, 漢字かな交じり文\nno end",
            "\u{1}\n\n\r\r\n",
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        each_mutant(&seeds, 4_000, lines);
    }

    #[test]
    fn a_line_is_too_long_by_its_own_bytes_wherever_blocks_end_and_whatever_is_replaced() {
        for byte in [b'a', 0xBE] {
            for length in LIMIT - 3..LIMIT + 4 {
                for (before, ending) in [
                    ("", ""),
                    ("x\n", ""),
                    ("x\n", "\r"),
                    ("", "\n"),
                    ("x\n", "\r\ny"),
                ] {
                    let line = std::iter::repeat_n(byte, length);
                    let text: Vec<u8> = before.bytes().chain(line).chain(ending.bytes()).collect();
                    for block in (1..70).chain([usize::MAX]) {
                        let (_, fault) = cut(&text, block, true);
                        let told = matches!(fault, Some(LineFault::TooLong { .. }));
                        assert_eq!(
                            told,
                            length > LIMIT,
                            "{length} of {byte}, {ending:?}, in {block}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_packed_comes_out_in_steps_or_is_refused() {
        let text = "to be or not to be\n".repeat(40);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(
            text.as_bytes(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        each_mutant(&[gzip.finish().unwrap(), zstd], 1_000, packed);
    }
}
