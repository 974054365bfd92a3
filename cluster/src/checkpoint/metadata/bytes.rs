//! Numbers, texts and lists as bytes: little-endian, lengths first.
//!
//! Entered by the formats of this crate only. Invariant: a reader allocates no more than the bytes it was
//! given can fill, whatever a length claims.

/// What a length may be at most for names; items are bounded by the file alone.
pub(super) const MAX_TEXT: usize = 64 << 10;

/// Bytes being written.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// A length or count.
    pub(super) fn count(&mut self, count: usize) -> Result<(), String> {
        let count = u32::try_from(count).map_err(|_| format!("{count} entries in one list"))?;
        self.u32(count);
        Ok(())
    }

    pub(super) fn blob(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.count(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn text(&mut self, text: &str) -> Result<(), String> {
        if text.len() > MAX_TEXT {
            let start: String = text.chars().take(32).collect();
            return Err(format!("a name of {} bytes ('{start}…')", text.len()));
        }
        self.blob(text.as_bytes())
    }
}

/// Bytes being read.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

/// Where reading stopped and what was wrong there.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) offset: usize,
    pub(super) what: String,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`; offsets in refusals count from `offset`.
    pub(super) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Reader {
            rest: bytes,
            offset,
        }
    }

    pub(super) fn refuse<T>(&self, what: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal {
            offset: self.offset,
            what: what.into(),
        })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return self.refuse(format!(
                "{count} bytes are announced, {} are left",
                self.rest.len()
            ));
        };
        self.rest = rest;
        self.offset += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Refusal> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, Refusal> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Refusal> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => self.refuse(format!("{other} is neither yes nor no")),
        }
    }

    pub(super) fn blob(&mut self) -> Result<Vec<u8>, Refusal> {
        let count = self.u32()? as usize;
        Ok(self.take(count)?.to_vec())
    }

    pub(super) fn text(&mut self) -> Result<String, Refusal> {
        let count = self.u32()? as usize;
        if count > MAX_TEXT {
            return self.refuse(format!("a name of {count} bytes, {MAX_TEXT} may be"));
        }
        let bytes = self.take(count)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.refuse("a name is not UTF-8"),
        }
    }

    /// A list whose entries take at least `least` bytes each.
    pub(super) fn list<T>(
        &mut self,
        least: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let count = self.u32()? as usize;
        if count > self.rest.len() / least {
            return self.refuse(format!(
                "{count} entries are announced, {} bytes are left",
                self.rest.len()
            ));
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(entry(self)?);
        }
        Ok(entries)
    }

    pub(super) fn end(&self) -> Result<(), Refusal> {
        if self.rest.is_empty() {
            return Ok(());
        }
        self.refuse(format!("{} bytes follow the end", self.rest.len()))
    }
}
