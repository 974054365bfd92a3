//! From the address of an object store to the store.
//!
//! Entered when an address is met for the first time. Invariant: within one process the same `memory:` address is the
//! same store.

use std::sync::{Arc, OnceLock};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use thalweg_core::error::ErrorKind;

use crate::checkpoint::storage::contract::{StorageError, StorageErrorKind};

/// The store in the memory of this process.
static MEMORY: OnceLock<Arc<InMemory>> = OnceLock::new();

/// The store at an address such as `memory://` or `s3://bucket`.
///
/// # Errors
/// When this program was built without it, or settings of its surroundings are wrong.
pub(super) fn connect(address: &str) -> Result<Arc<dyn ObjectStore>, StorageError> {
    match address.split_once("://") {
        Some(("memory", "")) => {
            let memory = MEMORY.get_or_init(|| Arc::new(InMemory::new()));
            Ok(Arc::clone(memory) as Arc<dyn ObjectStore>)
        }
        #[cfg(feature = "s3")]
        Some(("s3", bucket)) => s3_of(
            address,
            bucket,
            object_store::aws::AmazonS3Builder::from_env(),
        ),
        _ => Err(refused(
            address,
            "this program was built without that kind of store",
        )),
    }
}

/// A bucket of S3 or of what speaks like it. Endpoint, region and credentials are in the builder: in use those of the
/// usual `AWS_` variables of the environment. Buckets are named in the path, so that an endpoint needs no names of its
/// own for them.
#[cfg(feature = "s3")]
pub(super) fn s3_of(
    address: &str,
    bucket: &str,
    builder: object_store::aws::AmazonS3Builder,
) -> Result<Arc<dyn ObjectStore>, StorageError> {
    use std::time::Duration;

    use object_store::aws::AmazonS3ConfigKey;
    use object_store::{ClientOptions, RetryConfig};

    let mut builder = builder.with_bucket_name(bucket);
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let options = ClientOptions::new()
        // Who names an endpoint without TLS means it.
        .with_allow_http(endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")))
        .with_connect_timeout(Duration::from_secs(10))
        .with_timeout(Duration::from_secs(60));
    builder = builder.with_client_options(options);
    // Single parts of large objects are tried again here, all else by who asked.
    builder = builder.with_retry(RetryConfig {
        max_retries: 3,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    });
    match builder.build() {
        Ok(store) => Ok(Arc::new(store)),
        Err(error) => Err(refused(address, &error.to_string())),
    }
}

fn refused(address: &str, why: &str) -> StorageError {
    StorageError {
        kind: StorageErrorKind::Failed(ErrorKind::Invalid),
        message: format!(
            "cannot use {address}: {why}; see to the AWS_ variables of the environment and the features this program \
             was built with"
        ),
    }
}
