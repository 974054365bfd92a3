//! From blocks of bytes to lines: cut at newlines, checked to be UTF-8 a block at a time.
//!
//! Fed by whoever reads bytes (a file, a socket), asked to emit by a source's reader; no I/O. What lies
//! after a block's last newline is kept and put before the next block, into its headroom, so that lines
//! are lent out of the block and copied only there. Lives on one shard.
//!
//! Invariants: `offset` is the place in the input of the next line to be emitted, at every moment; the
//! block lent from is a `String`, so nothing unchecked gets out; no line is allocated for by itself
//! unless it is longer than the headroom and straddles a block's end.

use std::ops::Range;

use memchr::{memchr, memrchr};
use thalweg_core::event_time::Timestamp;
use thalweg_dataflow::source::SourceOutput;
use thalweg_memory::record::Str;

/// Bytes a block leaves free before its data, for the beginning of a line from the block before.
pub(crate) const HEADROOM: usize = 8 << 10;

/// Why a text is refused. Offsets are in bytes of the (unpacked) input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineFault {
    /// A line is longer than the limit.
    #[error(
        "the line that begins at byte {offset} is longer than {limit} bytes: raise \
         thalweg.text.max-line-length, or check that the input has lines at all"
    )]
    TooLong {
        /// Where the line begins.
        offset: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A byte is not part of UTF-8.
    #[error(
        "byte {offset} is not UTF-8: convert the input (iconv -f latin1 -t utf-8), or have such bytes \
         replaced with .lossy()"
    )]
    NotUtf8 {
        /// Where the byte is.
        offset: u64,
    },
}

/// Original bytes of a block in which some were replaced: what its positions are counted by.
struct Replaced {
    original: Vec<u8>,
    at: usize,
}

/// Cuts a text into lines.
pub(crate) struct Lines {
    limit: usize,
    lossy: bool,
    /// Whole lines, from `at` on; the last one of the input may lack its newline.
    text: String,
    at: usize,
    /// Where in the input the next line begins.
    offset: u64,
    replaced: Option<Replaced>,
    /// The rest of a block whose beginning ended a long line.
    held: Option<(Vec<u8>, usize)>,
    /// The beginning of a line whose end has not come yet.
    tail: Vec<u8>,
    /// The input is entered amid a line that belongs to another.
    skipping: bool,
    spent: Vec<Vec<u8>>,
}

impl Lines {
    /// Cuts an input that is entered at `offset`: at the beginning of a line, or (`at_line` false)
    /// one byte before where lines begin to count.
    pub(crate) fn new(offset: u64, at_line: bool, limit: usize, lossy: bool) -> Self {
        Self {
            limit,
            lossy,
            text: String::new(),
            at: 0,
            offset,
            replaced: None,
            held: None,
            tail: Vec::new(),
            skipping: !at_line,
            spent: Vec::new(),
        }
    }

    /// Where the next line begins; `None` while that is not known.
    pub(crate) fn position(&self) -> Option<u64> {
        (!self.skipping).then_some(self.offset)
    }

    /// No line begins before this place that was not emitted.
    pub(crate) fn reached(&self) -> u64 {
        self.offset
    }

    /// Whether every whole line that was fed is out: another block may come.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.at == self.text.len() && self.held.is_none()
    }

    /// A block that was emitted, for the next read.
    pub(crate) fn take_spent(&mut self) -> Option<Vec<u8>> {
        self.spent.pop()
    }

    /// Emits lines that begin before `stop`, while they are wanted.
    #[inline(always)]
    pub(crate) fn emit<O: SourceOutput<Str>>(
        &mut self,
        out: &mut O,
        stop: u64,
    ) -> Result<(), LineFault> {
        loop {
            match self.replaced.is_some() {
                false => self.emit_block(out, stop)?,
                true => self.emit_replaced(out, stop)?,
            }
            if self.at < self.text.len() || self.offset >= stop {
                return Ok(());
            }
            let Some((block, from)) = self.held.take() else {
                return Ok(());
            };
            self.load(block, from)?;
        }
    }

    #[inline(always)]
    fn emit_block<O: SourceOutput<Str>>(
        &mut self,
        out: &mut O,
        stop: u64,
    ) -> Result<(), LineFault> {
        let text = self.text.as_str();
        let bytes = text.as_bytes();
        let room = usize::try_from(stop.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let end = self.at.saturating_add(room).min(bytes.len());
        let (begin, limit) = (self.at, self.limit);
        let mut at = begin;
        let mut long = false;
        while at < end && out.wanted() {
            let newline = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length);
            let line = without_return(text, at, newline);
            if line.len() > limit {
                long = true;
                break;
            }
            out.emit(line, Timestamp::NONE);
            at = newline + 1;
        }
        // The input's last line may lack its newline.
        at = at.min(bytes.len());
        self.offset += (at - begin) as u64;
        self.at = at;
        match long {
            true => Err(self.too_long()),
            false => Ok(()),
        }
    }

    /// The same for a block with replaced bytes, whose positions are those of the original.
    #[cold]
    fn emit_replaced<O: SourceOutput<Str>>(
        &mut self,
        out: &mut O,
        stop: u64,
    ) -> Result<(), LineFault> {
        let Some(mut replaced) = self.replaced.take() else {
            unreachable!("asked before")
        };
        let text = self.text.as_str();
        while self.at < text.len() && self.offset < stop && out.wanted() {
            let rest = &text.as_bytes()[self.at..];
            let newline = memchr(b'\n', rest).map_or(text.len(), |length| self.at + length);
            let original = &replaced.original[replaced.at..];
            let length = memchr(b'\n', original).map_or(original.len(), |length| length + 1);
            let line = without_return(text, self.at, newline);
            let own = &original[..length];
            let own = own.strip_suffix(b"\n").unwrap_or(own);
            if own.strip_suffix(b"\r").unwrap_or(own).len() > self.limit {
                return Err(self.too_long());
            }
            out.emit(line, Timestamp::NONE);
            self.at = (newline + 1).min(text.len());
            replaced.at += length;
            self.offset += length as u64;
        }
        debug_assert_eq!(
            self.at == text.len(),
            replaced.at == replaced.original.len(),
            "a replacement neither adds nor takes a line"
        );
        if self.at == text.len() {
            self.spent.push(replaced.original);
        } else {
            self.replaced = Some(replaced);
        }
        Ok(())
    }

    /// Takes the next bytes of the input: `block[data]`.
    ///
    /// Only when [`Lines::is_exhausted`].
    pub(crate) fn feed(&mut self, mut block: Vec<u8>, data: Range<usize>) -> Result<(), LineFault> {
        debug_assert!(self.is_exhausted(), "a block is fed when the last is out");
        debug_assert!(data.end <= block.len());
        let mut from = data.start;
        block.truncate(data.end);
        if self.skipping {
            match memchr(b'\n', &block[from..]) {
                None => {
                    self.offset += (block.len() - from) as u64;
                    self.spent.push(block);
                    return Ok(());
                }
                Some(length) => {
                    self.offset += length as u64 + 1;
                    from += length + 1;
                    self.skipping = false;
                }
            }
        }
        self.load(block, from)
    }

    /// Makes the whole lines of `block[from..]`, with what was left of the block before, the text.
    fn load(&mut self, mut block: Vec<u8>, from: usize) -> Result<(), LineFault> {
        let Some(last) = memrchr(b'\n', &block[from..]) else {
            self.tail.extend_from_slice(&block[from..]);
            self.spent.push(block);
            return match self.tail.len() > self.limit.saturating_add(1) {
                true => Err(self.too_long()),
                false => Ok(()),
            };
        };
        let end = from + last + 1;
        if self.tail.len() > from {
            let first = memchr(b'\n', &block[from..end]).unwrap_or(last);
            let mut line = std::mem::take(&mut self.tail);
            line.extend_from_slice(&block[from..=from + first]);
            self.held = Some((block, from + first + 1));
            return self.accept(line, 0);
        }
        let begin = from - self.tail.len();
        block[begin..from].copy_from_slice(&self.tail);
        // What lies before is part of the string too, though never lent.
        block[..begin].fill(0);
        self.tail.clear();
        self.tail.extend_from_slice(&block[end..]);
        block.truncate(end);
        self.accept(block, begin)
    }

    /// Makes `block[begin..]` the text, if it is UTF-8.
    fn accept(&mut self, block: Vec<u8>, begin: usize) -> Result<(), LineFault> {
        let text = match String::from_utf8(block) {
            Ok(text) => {
                self.at = begin;
                text
            }
            Err(error) if self.lossy => {
                self.at = 0;
                let original = error.into_bytes();
                let text = String::from_utf8_lossy(&original[begin..]).into_owned();
                let at = begin;
                self.replaced = Some(Replaced { original, at });
                text
            }
            Err(error) => {
                let ahead = error.utf8_error().valid_up_to() - begin;
                return Err(LineFault::NotUtf8 {
                    offset: self.offset + ahead as u64,
                });
            }
        };
        let old = std::mem::replace(&mut self.text, text).into_bytes();
        if old.capacity() > 0 {
            self.spent.push(old);
        }
        Ok(())
    }

    /// The input has ended: what is left is its last line.
    ///
    /// Only when [`Lines::is_exhausted`].
    pub(crate) fn end(&mut self) -> Result<(), LineFault> {
        debug_assert!(self.is_exhausted());
        if self.tail.is_empty() {
            return Ok(());
        }
        let line = std::mem::take(&mut self.tail);
        self.accept(line, 0)
    }

    fn too_long(&self) -> LineFault {
        LineFault::TooLong {
            offset: self.offset,
            limit: self.limit,
        }
    }
}

/// The line `text[at..newline]` without a carriage return at its end.
#[inline(always)]
fn without_return(text: &str, at: usize, newline: usize) -> &str {
    let returns = newline > at && text.as_bytes()[newline - 1] == b'\r';
    &text[at..newline - usize::from(returns)]
}

#[cfg(test)]
mod tests {
    use super::super::fuzz::Kept;
    use super::*;

    /// Feeds `input[offset..]` in blocks of `size` bytes behind `headroom`, asked `wanted` at a time.
    fn cut(
        input: &[u8],
        mut lines: Lines,
        size: usize,
        headroom: usize,
        wanted: usize,
        stop: u64,
    ) -> Result<Vec<String>, LineFault> {
        let mut kept = Kept {
            lines: Vec::new(),
            left: 0,
        };
        let mut blocks = input[lines.offset as usize..].chunks(size);
        let mut ended = false;
        loop {
            kept.left = wanted;
            lines.emit(&mut kept, stop)?;
            if lines.reached() >= stop {
                return Ok(kept.lines);
            }
            if !lines.is_exhausted() {
                assert_eq!(kept.left, 0, "stops only when nothing is wanted");
                continue;
            }
            match blocks.next() {
                Some(data) => {
                    let mut block = lines.take_spent().unwrap_or_default();
                    block.resize(headroom + data.len(), 0xFF);
                    block[headroom..].copy_from_slice(data);
                    lines.feed(block, headroom..headroom + data.len())?;
                }
                None if ended => return Ok(kept.lines),
                None => {
                    ended = true;
                    lines.end()?;
                }
            }
        }
    }

    fn whole(input: &str) -> Vec<String> {
        input.lines().map(str::to_owned).collect()
    }

    const TEXT: &str = "first\r\n\nzweite Zeile äöü\n\r\nthird, 漢字かな交じり文\nno end";

    #[test]
    fn any_blocks_and_any_demand_give_the_same_lines() {
        for size in 1..=TEXT.len() {
            for headroom in [0, 1, 5, 40] {
                for wanted in [1, 2, 100] {
                    let lines = Lines::new(0, true, 1000, false);
                    let cut = cut(TEXT.as_bytes(), lines, size, headroom, wanted, u64::MAX);
                    assert_eq!(cut, Ok(whole(TEXT)), "{size} {headroom} {wanted}");
                }
            }
        }
    }

    #[test]
    fn a_line_belongs_to_the_range_it_begins_in() {
        let input = TEXT.as_bytes();
        for bound in 1..input.len() {
            for size in [1, 3, 7, 100] {
                let first = Lines::new(0, true, 1000, false);
                let second = Lines::new(bound as u64 - 1, false, 1000, false);
                let mut both = cut(input, first, size, 4, 2, bound as u64).unwrap();
                both.extend(cut(input, second, size, 4, 2, u64::MAX).unwrap());
                assert_eq!(both, whole(TEXT), "cut at {bound}, blocks of {size}");
            }
        }
    }

    #[test]
    fn what_is_not_utf8_is_found_to_the_byte() {
        let mut input = TEXT.as_bytes().to_vec();
        input[20] = 0xFF;
        let fault = std::str::from_utf8(&input).unwrap_err().valid_up_to() as u64;
        for size in 1..=input.len() {
            let lines = Lines::new(0, true, 1000, false);
            let cut = cut(&input, lines, size, 4, 100, u64::MAX);
            assert_eq!(cut, Err(LineFault::NotUtf8 { offset: fault }), "{size}");
        }
    }

    #[test]
    fn lossy_replaces_and_keeps_positions() {
        let input = b"a\xFFb\r\nplain\n\xC3\n\xE2\x82\nend\xF0";
        let wanted = ["a\u{FFFD}b", "plain", "\u{FFFD}", "\u{FFFD}", "end\u{FFFD}"];
        for size in 1..=input.len() {
            for bound in [5_u64, 6, 11, 12, 14, 18] {
                let first = Lines::new(0, true, 1000, true);
                let second = Lines::new(bound - 1, false, 1000, true);
                let mut both = cut(input, first, size, 4, 1, bound).unwrap();
                both.extend(cut(input, second, size, 4, 1, u64::MAX).unwrap());
                assert_eq!(both, wanted, "blocks of {size}, cut at {bound}");
            }
        }
    }

    #[test]
    fn the_limit_holds_within_a_block_and_across_blocks() {
        let input = b"12345\n123456\r\n1234567\n";
        for size in 1..=input.len() {
            let enough = cut(input, Lines::new(0, true, 7, false), size, 4, 9, u64::MAX);
            assert_eq!(enough.map(|lines| lines.len()), Ok(3), "{size}");
            let fault = LineFault::TooLong {
                offset: 14,
                limit: 6,
            };
            let short = cut(input, Lines::new(0, true, 6, false), size, 4, 9, u64::MAX);
            assert_eq!(short, Err(fault), "{size}");
        }
    }
}
