//! Runs: any bytes as a file, and files that were well written and then changed in some places.
//!
//! In this build checksums of runs are 0, so that the fuzzer gets behind them: what is behind must stand any bytes
//! by itself. Rows of a file that was not changed are those that were written.
use thalweg_core::KeyGroup;
use thalweg_state::run::{Clip, RunOptions, RunReader, RunWriter, StateHeader};
use thalweg_state::{Row, RowSink};

/// Bytes taken off the front, as many as there are.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    front
}

fn byte(input: &mut &[u8]) -> usize {
    usize::from(take(input, 1).first().copied().unwrap_or(0))
}

type Rows = Vec<(u16, Vec<u8>, Vec<u8>, Option<Vec<u8>>)>;

/// A run of rows drawn from the input, and the rows in its order.
fn written(input: &mut &[u8]) -> Option<(Vec<u8>, Rows)> {
    let options = RunOptions::default()
        .with_section_bytes(1_024)
        .with_block_bytes(64 + byte(input))
        .with_filter_bits(byte(input) as u32 % 14);
    let mut writer = RunWriter::new(options);
    let says = byte(input);
    let header = StateHeader {
        name: "state".to_owned(),
        descriptor: vec![1, 2, 3],
        full: says.is_multiple_of(2),
    };
    let state = match says >> 1 & 3 {
        0 | 1 => writer.declare(header).ok()?,
        2 => writer.declare_known_by_key(header).ok()?,
        _ => writer.declare_whole_by_key(header).ok()?,
    };
    let mut rows: Rows = Vec::new();
    for _ in 0..byte(input) {
        let (group, key, namespace) = (byte(input) as u16 % 8, byte(input) % 16, byte(input) % 4);
        let (key, namespace) = (take(input, key).to_vec(), take(input, namespace).to_vec());
        let value = match byte(input) {
            0..32 => None,
            length => Some(take(input, length).to_vec()),
        };
        rows.push((group, key, namespace, value));
    }
    rows.sort();
    rows.dedup_by(|a, b| (a.0, &a.1, &a.2) == (b.0, &b.1, &b.2));
    for (group, key, namespace, value) in &rows {
        writer.rows_of(state).ok()?.row(Row {
            group: KeyGroup(*group),
            key,
            namespace,
            value: value.as_deref(),
        });
    }
    let mut bytes = writer.take_output();
    bytes.extend(writer.finish().ok()?.0);
    Some((bytes, rows))
}

/// All rows, or none where something is wrong.
fn read(file: Vec<u8>) -> Option<Rows> {
    let run = RunReader::open("run", file).ok()?;
    let verified = run.verify().is_ok();
    let mut walk = run.walk(Clip::all());
    let mut rows = Rows::new();
    while let Some((_, row)) = walk.next_row().ok()? {
        let value = row.value.map(<[u8]>::to_vec);
        rows.push((row.group.0, row.key.to_vec(), row.namespace.to_vec(), value));
    }
    verified.then_some(rows)
}

/// Throws bytes at it.
pub(crate) fn check(input: &[u8]) {
    let mut input = input;
    if byte(&mut input).is_multiple_of(2) {
        read(input.to_vec());
        return;
    }
    let Some((mut file, mut rows)) = written(&mut input) else {
        return;
    };
    if input.is_empty() {
        let mut read = read(file).expect("what was written is read");
        read.sort();
        rows.sort();
        assert_eq!(read, rows);
        return;
    }
    while !input.is_empty() {
        let at = byte(&mut input) << 8 | byte(&mut input);
        let length = file.len();
        file[at % length] = byte(&mut input) as u8;
    }
    read(file);
}
