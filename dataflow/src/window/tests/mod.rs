//! Windows in the harness: the rules one by one, and planted mistakes that a model must find.

mod planted;
mod processing;
mod rules;

pub(super) use planted::{Planted, planted};

/// The model of the tests from outside, which knows nothing of the engine.
#[path = "../../../../tests/event_time/windows/model.rs"]
mod model;

/// The drawing of its cases.
#[path = "../../../../tests/event_time/windows/draw.rs"]
mod draw;
