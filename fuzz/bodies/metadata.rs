//! Metadata of checkpoints and savepoints: any bytes as the body of a file whose header and checksums are right.
//!
//! What is accepted is written as the same bytes.
use thalweg_cluster::checkpoint::metadata::{FORMAT_VERSION, decode, encode};

/// A file of this version with this body: magic, version, length of the body, checksum of these, body, checksum of the body.
fn sealed(version: u32, body: &[u8]) -> Vec<u8> {
    let mut file = b"THALWEGC".to_vec();
    file.extend(version.to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    file.extend(body);
    file.extend(crc32c::crc32c(body).to_le_bytes());
    file
}

/// Throws bytes at it.
pub(crate) fn check(body: &[u8]) {
    let _ = decode(body);
    for version in 1..=FORMAT_VERSION {
        let file = sealed(version, body);
        if let Ok(metadata) = decode(&file) {
            assert_eq!(encode(&metadata).expect("what was read is written"), file);
        }
    }
}
