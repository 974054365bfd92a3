//! Descriptions of states as runs keep them: what is read is written as the same bytes.
use thalweg_state::StateDescriptor;

/// Throws bytes at it.
pub(crate) fn check(input: &[u8]) {
    let mut rest = input;
    if let Ok(descriptor) = StateDescriptor::decode(&mut rest) {
        let mut again = Vec::new();
        descriptor.encode(&mut again);
        let mut reread = &again[..];
        assert_eq!(StateDescriptor::decode(&mut reread), Ok(descriptor));
        assert!(reread.is_empty());
    }
}
