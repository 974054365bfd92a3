//! An object store that fails by a script: before a request has its effect, after it, or without any answer.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_lite::{Stream, StreamExt as _, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart,
};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is performed and answered.
    Pass,
    /// It fails and has no effect.
    FailBefore,
    /// It has its effect, and then fails.
    FailAfter,
    /// It has its effect and is never answered.
    Silent,
    /// It is answered that this is not allowed, and has no effect.
    Forbidden,
}

type Fates = Arc<Mutex<VecDeque<Fate>>>;
type Answer<'t, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 't>>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// A store in memory before which requests fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<InMemory>,
    /// Of the next requests; when there are no more, all pass.
    pub(crate) fates: Fates,
    /// Whether what is to be created only if it is not there replaces what is.
    pub(crate) careless: bool,
}

impl Faulty {
    /// The same objects with fates of their own.
    pub(crate) fn over(inner: &Arc<InMemory>, fates: impl IntoIterator<Item = Fate>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            fates: Arc::new(Mutex::new(fates.into_iter().collect())),
            careless: false,
        })
    }

    pub(crate) fn then(&self, fates: impl IntoIterator<Item = Fate>) {
        *self.fates.lock().unwrap() = fates.into_iter().collect();
    }
}

fn broken(when: &str) -> Error {
    Error::Generic {
        store: "faulty",
        source: format!("the connection broke {when}").into(),
    }
}

async fn suffer<T>(fates: &Fates, request: impl Future<Output = Result<T>>) -> Result<T> {
    let fate = fates.lock().unwrap().pop_front().unwrap_or(Fate::Pass);
    match fate {
        Fate::Pass => request.await,
        Fate::FailBefore => Err(broken("before the request arrived")),
        Fate::FailAfter => {
            let _ = request.await;
            Err(broken("before the answer arrived"))
        }
        Fate::Silent => {
            let _ = request.await;
            std::future::pending().await
        }
        Fate::Forbidden => Err(Error::PermissionDenied {
            path: String::new(),
            source: "not you".into(),
        }),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl ObjectStore for Faulty {
    fn put_opts<'a, 'b, 't>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Answer<'t, PutResult>
    where
        'a: 't,
        'b: 't,
    {
        if self.careless {
            options.mode = PutMode::Overwrite;
        }
        let put = self.inner.put_opts(location, payload, options);
        Box::pin(suffer(&self.fates, put))
    }

    fn put_multipart_opts<'a, 'b, 't>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'t, Box<dyn MultipartUpload>>
    where
        'a: 't,
        'b: 't,
    {
        let begun = async move {
            let inner = self.inner.put_multipart_opts(location, options).await?;
            let fates = Arc::clone(&self.fates);
            Ok(Box::new(FaultyUpload { inner, fates }) as Box<dyn MultipartUpload>)
        };
        Box::pin(suffer(&self.fates, begun))
    }

    fn get_opts<'a, 'b, 't>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> Answer<'t, GetResult>
    where
        'a: 't,
        'b: 't,
    {
        Box::pin(suffer(&self.fates, self.inner.get_opts(location, options)))
    }

    fn delete_stream(&self, locations: Items<Path>) -> Items<Path> {
        let fates = Arc::clone(&self.fates);
        let inner = Arc::clone(&self.inner);
        Box::pin(locations.then(move |location| {
            let (fates, inner) = (Arc::clone(&fates), Arc::clone(&inner));
            async move {
                let location = location?;
                let delete = async {
                    let one = Box::pin(stream::once(Ok(location.clone())));
                    let mut deleted = inner.delete_stream(one);
                    deleted.next().await.unwrap_or_else(|| Ok(location.clone()))
                };
                suffer(&fates, delete).await
            }
        }))
    }

    fn list(&self, prefix: Option<&Path>) -> Items<ObjectMeta> {
        self.inner.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 't>(&'a self, prefix: Option<&'b Path>) -> Answer<'t, ListResult>
    where
        'a: 't,
        'b: 't,
    {
        Box::pin(suffer(&self.fates, self.inner.list_with_delimiter(prefix)))
    }

    fn copy_opts<'a, 'b, 'c, 't>(
        &'a self,
        from: &'b Path,
        to: &'c Path,
        options: CopyOptions,
    ) -> Answer<'t, ()>
    where
        'a: 't,
        'b: 't,
        'c: 't,
    {
        Box::pin(suffer(&self.fates, self.inner.copy_opts(from, to, options)))
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fates: Fates,
}

impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, fates) = (self.inner.put_part(data), Arc::clone(&self.fates));
        Box::pin(async move { suffer(&fates, part).await })
    }

    fn complete<'a, 't>(&'a mut self) -> Answer<'t, PutResult>
    where
        'a: 't,
    {
        Box::pin(suffer(&self.fates, self.inner.complete()))
    }

    fn abort<'a, 't>(&'a mut self) -> Answer<'t, ()>
    where
        'a: 't,
    {
        self.inner.abort()
    }
}
