//! A stage that fails the job when a record comes behind a watermark that promised it would not.

use std::marker::PhantomData;

use thalweg_dataflow::operator::ProcessFunction;
use thalweg_dataflow::stream::{BoxedPipe, DataStream, Pipe};
use thalweg_dataflow::{Collector, FunctionError, OpenContext, ProcessContext};
use thalweg_memory::Record;

/// The stream, each record of which must be on time.
pub(crate) fn on_time<T: Record, P: Pipe<Out = T>>(
    stream: DataStream<T, P>,
) -> DataStream<T, BoxedPipe<T>> {
    stream
        .process_function(|_: &mut OpenContext| OnTime(PhantomData::<T>))
        .boxed()
}

struct OnTime<T>(PhantomData<T>);

impl<T: Record> ProcessFunction<T, T> for OnTime<T> {
    fn process(
        &mut self,
        record: T,
        context: &ProcessContext,
        out: &mut Collector<'_, T>,
    ) -> Result<(), FunctionError> {
        let (at, watermark) = (context.timestamp(), context.watermark());
        if at <= watermark {
            let late = format!("a result of {at} came behind the watermark {watermark}");
            return Err(FunctionError::new(late));
        }
        out.emit(record);
        Ok(())
    }
}
