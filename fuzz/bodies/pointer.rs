//! Pointers to the newest checkpoint: any bytes as a file, and as what stands between its version and its checksum.
//!
//! What is accepted is written as the same bytes.

use thalweg_cluster::checkpoint::home::Pointer;

/// A file whose beginning and checksum are right.
fn sealed(numbers: &[u8]) -> Vec<u8> {
    let mut file = b"THALWEGP".to_vec();
    file.extend(1_u32.to_le_bytes());
    file.extend(numbers);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    file
}

/// Throws bytes at it.
pub(crate) fn check(bytes: &[u8]) {
    for file in [bytes, &sealed(bytes)] {
        if let Some(pointer) = Pointer::decode(file) {
            assert_eq!(pointer.encode(), file);
        }
    }
}
