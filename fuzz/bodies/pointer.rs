//! Pointers to the newest checkpoint: any bytes as a file, and as what stands between its version and its checksum.
//!
//! What is accepted is written as the same bytes.

use thalweg_cluster::checkpoint::home::Pointer;

/// A file of a version whose beginning and checksum are right.
fn sealed(version: u32, rest: &[u8]) -> Vec<u8> {
    let mut file = b"THALWEGP".to_vec();
    file.extend(version.to_le_bytes());
    file.extend(rest);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    file
}

/// Throws bytes at it.
pub(crate) fn check(bytes: &[u8]) {
    for file in [
        bytes,
        &sealed(1, bytes),
        &sealed(2, bytes),
        &sealed(3, bytes),
    ] {
        if let Some(pointer) = Pointer::decode(file) {
            assert_eq!(pointer.encode(), file);
        }
    }
}
