//! Records in flight: any bytes as a section, and as a file; what is read of a section is revived as records.
use thalweg_dataflow::checkpoint::{check_file, read_section};
use thalweg_memory::{Buffer, Cursor, Entry};

/// Throws bytes at it.
pub(crate) fn check(bytes: &[u8]) {
    let _ = check_file(&bytes);
    let Ok(section) = read_section(bytes) else {
        return;
    };
    for rest in &section.buffers {
        let Ok(buffer) = Buffer::revive::<(u64, String)>(rest, section.layout, |_| true) else {
            continue;
        };
        let (mut cursor, mut entries) = (Cursor::default(), [Entry::default(); 8]);
        while !buffer.is_read(&cursor) {
            while buffer.take_mark(&mut cursor).is_some() {}
            let found = buffer.scan::<(u64, String)>(section.layout, &mut cursor, &mut entries);
            for entry in &entries[..found] {
                let (_, text) = buffer.item::<(u64, String)>(entry);
                assert!(text.len() <= rest.bytes.len());
            }
        }
    }
}
