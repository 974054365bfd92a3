//! The template and the committer of the file sink.
//!
//! A [`FileSink`] is checked on the submitting thread and opened on the shard of each subtask; its
//! committer runs on control threads. Invariant: a final name is given by the committer only.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use thalweg_core::config::options;
use thalweg_core::error::ErrorKind;
use thalweg_core::ids::CheckpointId;
use thalweg_dataflow::sink::{Committable, Committer, Sink, SinkError};
use thalweg_dataflow::task::SubtaskInfo;
use thalweg_memory::record::Item;

use super::bucket::{BucketBy, Buckets, OneBucket};
use super::encode::{AsLines, Encoded, Encoder};
use super::leftovers::WriterState;
use super::pending::{Pending, Published, decode_all, parent, remove, sync_all};
use super::rolling::RollingPolicy;
use super::target::Target;
use super::writer::{FileSinkWriter, unprepared};
use crate::format::Format;

/// Writes records into files that roll: of bounded size and age, in buckets.
///
/// ```
/// use std::time::Duration;
/// use thalweg_connectors::{DateBuckets, FileSink, RollingPolicy};
///
/// let rolling = RollingPolicy::default().at_bytes(64 << 20).every(Duration::from_secs(300));
/// let sink = FileSink::<(String, u64)>::new("out")
///     .bucket_by(|(word, _), bucket| bucket.push_str(&word[..1]))
///     .encode_with(|(word, count), out| {
///         out.extend_from_slice(format!("{word};{count}\n").as_bytes());
///     })
///     .names("words", ".csv")
///     .rolling(rolling);
/// # let _ = sink;
/// ```
///
/// A file is called `<prefix>-<attempt>-<subtask>-<number><suffix>`, where the attempt is a mark of its
/// own for every time the job is started: no file is ever written over. While it is written, and until it
/// is committed, it is hidden: `.<name>.inprogress`.
///
/// A file is ended by the [`RollingPolicy`], and always by a checkpoint and by the end of the input. It
/// becomes visible, by a rename, when the checkpoint that ended it, or the next one after the policy
/// ended it, is complete; without checkpoints, when the whole job has ended well. So an unbounded job
/// without checkpoints shows no file: turn checkpoints on. The files of a job that failed or was
/// cancelled are removed; those of a process that was killed when the job is restored from a checkpoint
/// of that process.
pub struct FileSink<I, E = AsLines, B = OneBucket> {
    target: Arc<Target>,
    encoder: E,
    buckets: B,
    rolling: RollingPolicy,
    item: PhantomData<fn(I)>,
}

impl<I, E: Clone, B: Clone> Clone for FileSink<I, E, B> {
    fn clone(&self) -> Self {
        Self {
            target: Arc::clone(&self.target),
            encoder: self.encoder.clone(),
            buckets: self.buckets.clone(),
            rolling: self.rolling,
            item: PhantomData,
        }
    }
}

impl<I: Item> FileSink<I> {
    /// Writes lines, as [`Show`](crate::Show) says, into files `part-…` in this directory, which is made
    /// if need be.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            target: Arc::new(Target::new(
                directory.into(),
                "part".to_owned(),
                String::new(),
            )),
            encoder: AsLines::default(),
            buckets: OneBucket,
            rolling: RollingPolicy::default(),
            item: PhantomData,
        }
    }
}

impl<I: Item, E, B> FileSink<I, E, B> {
    /// Every record on a line, in another format.
    pub fn format<F: Format<I>>(self, format: F) -> FileSink<I, AsLines<F>, B> {
        self.encoder(AsLines::new(format))
    }

    /// Every record as the bytes the closure appends.
    pub fn encode_with<F>(self, encode: F) -> FileSink<I, Encoded<I, F>, B>
    where
        F: for<'a, 'b> FnMut(&'b I::Of<'a>, &mut Vec<u8>) + Clone + Send + 'static,
    {
        self.encoder(Encoded::new(encode))
    }

    /// Every record as the encoder says.
    pub fn encoder<G>(self, encoder: G) -> FileSink<I, G, B> {
        FileSink {
            target: self.target,
            encoder,
            buckets: self.buckets,
            rolling: self.rolling,
            item: PhantomData,
        }
    }

    /// Each record into the directory below the sink's own whose path the closure writes.
    pub fn bucket_by<F>(self, choose: F) -> FileSink<I, E, BucketBy<I, F>>
    where
        F: for<'a, 'b> FnMut(&'b I::Of<'a>, &mut String) + Clone + Send + 'static,
    {
        self.buckets(BucketBy::new(choose))
    }

    /// Each record into the bucket chosen for it, such as [`DateBuckets`](crate::DateBuckets).
    pub fn buckets<C>(self, buckets: C) -> FileSink<I, E, C> {
        FileSink {
            target: self.target,
            encoder: self.encoder,
            buckets,
            rolling: self.rolling,
            item: PhantomData,
        }
    }

    /// When a file is ended.
    pub fn rolling(mut self, policy: RollingPolicy) -> Self {
        self.rolling = policy;
        self
    }

    /// Readers may move or remove files as soon as they are visible.
    ///
    /// A job that goes on after a failure commits once more what may not have been. A file that is then neither pending
    /// nor visible was either moved or lost, and nobody can tell which: the job refuses to go on, by the name of the
    /// file. With this setting it was moved, which is told as a warning, and the job goes on.
    pub fn files_may_be_moved(mut self) -> Self {
        self.target = Arc::new(self.target.whose_files_may_be_moved());
        self
    }

    /// How the names of files begin and end, instead of with `part` and nothing.
    pub fn names(mut self, prefix: &str, suffix: &str) -> Self {
        self.target = Arc::new(self.target.named(prefix, suffix));
        self
    }
}

impl<I: Item, E: Encoder<I>, B: Buckets<I>> Sink<I> for FileSink<I, E, B> {
    type Writer = FileSinkWriter<I, E, B>;

    fn name(&self) -> String {
        format!("files {}", self.target.directory.display())
    }

    fn prepare(&self, _parallelism: u32) -> Result<(), SinkError> {
        self.target.prepare()
    }

    fn open(&self, subtask: &SubtaskInfo) -> Result<FileSinkWriter<I, E, B>, SinkError> {
        self.writer(subtask, Vec::new())
    }

    fn restore(
        &self,
        subtask: &SubtaskInfo,
        state: Vec<Vec<u8>>,
    ) -> Result<FileSinkWriter<I, E, B>, SinkError> {
        let restored = state.iter().map(|state| {
            WriterState::decode(state).ok_or_else(|| {
                let message = "what a file sink remembered cannot be read back; was it written by another version?";
                SinkError::new(ErrorKind::Internal, message)
            })
        });
        self.writer(subtask, restored.collect::<Result<_, _>>()?)
    }

    fn committer(&self) -> Option<Box<dyn Committer>> {
        Some(Box::new(FileCommitter {
            target: Arc::clone(&self.target),
        }))
    }
}

impl<I, E: Clone, B: Clone> FileSink<I, E, B> {
    fn writer(
        &self,
        subtask: &SubtaskInfo,
        restored: Vec<WriterState>,
    ) -> Result<FileSinkWriter<I, E, B>, SinkError> {
        let mark = self.target.mark().ok_or_else(unprepared)?;
        Ok(FileSinkWriter::new(
            Arc::clone(&self.target),
            mark,
            subtask.index,
            (self.encoder.clone(), self.buckets.clone(), self.rolling),
            subtask
                .configuration
                .get(&options::CHECKPOINT_INTERVAL)
                .is_some(),
            restored,
        ))
    }
}

/// Publishes or withdraws the files of one file sink.
struct FileCommitter {
    target: Arc<Target>,
}

impl FileCommitter {
    /// A file was neither pending nor visible: it was moved since, where that is allowed.
    fn moved(&self, file: &Pending) -> Result<(), SinkError> {
        if !self.target.files_may_be_moved {
            return Err(file.gone(
                "run the job again; if readers may move files away once they are visible, say so by \
                 FileSink::files_may_be_moved",
            ));
        }
        let path = file.last.display();
        tracing::warn!(%path, "a file that was to be visible is gone: it was moved, as files_may_be_moved allows");
        Ok(())
    }
}

impl Committer for FileCommitter {
    fn commit(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        let mut directories = BTreeSet::new();
        for file in decode_all(prepared)? {
            if file.publish(false)? == Published::Gone {
                self.moved(&file)?;
                continue;
            }
            // A bucket's directory may be new, and so the ones above it.
            let own = std::path::absolute(&self.target.directory);
            let own = own.unwrap_or_else(|_| self.target.directory.clone());
            let above = file.last.ancestors().skip(1);
            directories.extend(
                above
                    .take_while(|path| path.starts_with(&own))
                    .map(PathBuf::from),
            );
            directories.insert(parent(&own).to_owned());
        }
        sync_all(&directories)
    }

    fn abort(&mut self, prepared: &[Committable]) -> Result<(), SinkError> {
        for file in decode_all(prepared)? {
            remove(&file.pending)?;
        }
        self.target.clean_up()
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn roll_back(
        &mut self,
        prepared: &[Committable],
        subtasks: &BTreeSet<u32>,
        after: CheckpointId,
    ) -> Result<(), SinkError> {
        for file in decode_all(prepared)? {
            remove(&file.pending)?;
        }
        self.target.begin_again(subtasks, after)
    }
}
