//! What the tests of the joins' state are built from.

use std::sync::Arc;

use thalweg_core::config::Configuration;
use thalweg_core::ids::VertexId;
use thalweg_core::key_group::MaxParallelism;
use thalweg_memory::Budget;

use crate::stream::RuntimeMode;
use crate::task::{BuildContext, SubtaskInfo};

/// One subtask with a megabyte.
pub(super) fn context() -> BuildContext {
    let info = SubtaskInfo {
        vertex: VertexId(0),
        vertex_name: "join".into(),
        index: 0,
        parallelism: 1,
        max_parallelism: MaxParallelism::default(),
        operators: Arc::new([]),
        mode: RuntimeMode::Streaming,
        configuration: Arc::new(Configuration::new()),
    };
    BuildContext::new(info, None, Vec::new(), None, Budget::new("slot", 1 << 20))
}
