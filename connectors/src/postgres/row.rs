//! One row as the bytes of a binary COPY, made from a record on the shard.
//!
//! Invariant: what is in the block is whole rows; a row that does not fit its table leaves no byte behind.

use bytes::{BufMut, BytesMut};
use thalweg_core::error::ErrorKind;
use thalweg_dataflow::sink::SinkError;
use tokio_postgres::types::{IsNull, ToSql, Type};

/// What a COPY begins with: signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xFF\r\n\0\0\0\0\0\0\0\0\0";
/// What it ends with.
pub(super) const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// A column that is written.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of_type: Type,
}

/// The row a record becomes: takes one value for each column of the sink, in their order.
pub struct Row<'a> {
    block: &'a mut BytesMut,
    columns: &'a [Column],
    /// Where in the block it begins.
    start: usize,
    put: usize,
    trouble: Option<String>,
}

impl<'a> Row<'a> {
    pub(super) fn begin(block: &'a mut BytesMut, columns: &'a [Column]) -> Self {
        let start = block.len();
        block.put_i16(columns.len() as i16);
        Self {
            block,
            columns,
            start,
            put: 0,
            trouble: None,
        }
    }

    /// The value of the next column: what the column's type can be made of, `None` for NULL.
    ///
    /// A value that does not fit, and one too many, is remembered and fails the job when the row ends, with
    /// the name of the column.
    #[inline]
    pub fn put<T: ToSql>(&mut self, value: T) -> &mut Self {
        if self.trouble.is_none()
            && let Err(trouble) = self.append(&value)
        {
            self.trouble = Some(trouble);
        }
        self
    }

    fn append<T: ToSql>(&mut self, value: &T) -> Result<(), String> {
        let Some(column) = self.columns.get(self.put) else {
            return Err(format!("takes {} values, and got more", self.columns.len()));
        };
        self.put += 1;
        let at = self.block.len();
        self.block.put_i32(-1);
        let null = value.to_sql_checked(&column.of_type, self.block);
        let null = null.map_err(|error| {
            let (name, of_type) = (&column.name, &column.of_type);
            format!("cannot take the value of column `{name}`, of type {of_type}: {error}")
        })?;
        if matches!(null, IsNull::No) {
            let len = self.block.len() - at - size_of::<i32>();
            let len = i32::try_from(len)
                .map_err(|_| format!("cannot take {len} bytes for column `{}`", column.name))?;
            self.block[at..][..size_of::<i32>()].copy_from_slice(&len.to_be_bytes());
        }
        Ok(())
    }

    /// Ends the row; what is not whole is taken back.
    pub(super) fn end(self, table: &str) -> Result<(), SinkError> {
        let missing = self.columns.get(self.put).map(|next| {
            let (put, count) = (self.put, self.columns.len());
            format!(
                "takes {count} values and got {put}: `{}` is the next column",
                next.name
            )
        });
        match self.trouble.or(missing) {
            None => Ok(()),
            Some(trouble) => {
                self.block.truncate(self.start);
                let message = format!(
                    "the table `{table}` {trouble}; put one value for each column of the sink, in their \
                     order, of a type that its column takes"
                );
                Err(SinkError::new(ErrorKind::Invalid, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<Column> {
        let column = |name: &str, of_type| Column {
            name: name.to_owned(),
            of_type,
        };
        vec![column("id", Type::INT8), column("word", Type::TEXT)]
    }

    #[test]
    fn a_row_is_counted_values_with_their_lengths() {
        let (columns, mut block) = (columns(), BytesMut::new());
        let mut row = Row::begin(&mut block, &columns);
        row.put(7_i64).put("ab");
        row.end("t").unwrap();
        let mut row = Row::begin(&mut block, &columns);
        row.put(8_i64).put(None::<&str>);
        row.end("t").unwrap();
        let first = b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x02ab";
        let second = b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x08\xFF\xFF\xFF\xFF";
        assert_eq!(&block[..], [&first[..], &second[..]].concat());
    }

    #[test]
    fn a_row_that_does_not_fit_is_refused_by_column_and_leaves_nothing() {
        let (columns, mut block) = (columns(), BytesMut::from(&b"before"[..]));
        let refused = |fill: fn(&mut Row<'_>), block: &mut BytesMut| {
            let mut row = Row::begin(block, &columns);
            fill(&mut row);
            row.end("shop.t").unwrap_err().message
        };
        let wrong = refused(
            |row| {
                row.put(7_i32).put("ab");
            },
            &mut block,
        );
        assert!(
            wrong.contains("`id`") && wrong.contains("int8"),
            "names column and type: {wrong}"
        );
        let few = refused(
            |row| {
                row.put(7_i64);
            },
            &mut block,
        );
        assert!(
            few.contains("2 values and got 1: `word`") && few.contains("`shop.t`"),
            "{few}"
        );
        let many = refused(
            |row| {
                row.put(7_i64).put("a").put("b");
            },
            &mut block,
        );
        assert!(many.contains("got more"), "{many}");
        assert_eq!(&block[..], b"before");
    }
}
