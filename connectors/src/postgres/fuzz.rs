//! What is thrown at what the PostgreSQL sink keeps in checkpoints and reads from the server: by the fuzzer, and by a
//! test that changes what was well written.

use thalweg_dataflow::sink::Committable;

use super::names::{PreparedTransaction, TransactionId, decode_line, encode_line};

/// Any bytes as a transaction that was prepared, as the line of a job and as an id that the server lists: what is read
/// is written the same.
pub fn transactions(bytes: &[u8]) {
    let prepared = Committable(bytes.to_vec());
    if let Some(transaction) = PreparedTransaction::decode(&prepared) {
        assert_eq!(transaction.encode(), prepared);
    }
    if let Ok(line) = decode_line(bytes) {
        assert_eq!(encode_line(line), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(id) = TransactionId::parse(text)
    {
        assert_eq!(id.gid(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::each_mutant;

    #[test]
    fn what_is_kept_of_transactions_is_read_exactly_or_refused() {
        let gid = "thalweg:shop.orders-1_x:0000000000ab:cdef01234567:3:12:c7";
        let prepared = PreparedTransaction {
            id: TransactionId::parse(gid).unwrap(),
            rows: 9,
        };
        let seeds = [gid.as_bytes().to_vec(), prepared.encode().0, encode_line(7)];
        each_mutant(&seeds, 4_000, transactions);
    }
}
