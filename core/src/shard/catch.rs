//! Catches the panic of one turn and tells what it said and where.
//!
//! Entered by the executor around every turn, by whoever builds tasks around the opening of functions, and by the control
//! thread around what users write for the ends of a job. Invariant: a panic
//! inside [`catch`] does not leave it, and every other panic of the process is reported as before: the
//! hook only notes a place and passes on. Works on any thread; what it notes is thread-local.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Lets panics inside [`catch`] carry their place in the source. Once per process; the hook that was
/// there before still runs for every panic.
pub(crate) fn note_places() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // During the teardown of a thread its locals may be gone: then there is nothing to note.
            let catching = CATCHING.try_with(Cell::get).unwrap_or(false);
            if catching && let Some(place) = info.location() {
                let place = place.to_string();
                let _ = PLACE.try_with(|noted| noted.replace(Some(place)));
            }
            before(info);
        }));
    });
}

/// Runs `work`; a panic becomes an error with its message and, on the thread of a shard, its place. What the work
/// touched is to be dropped after one, not used again.
///
/// # Errors
/// What the panic said.
#[inline]
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let outer = CATCHING.replace(true);
    // Unwind safety: what the work touched is dropped by the caller, not used again.
    let answer = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    answer.map_err(describe)
}

#[cold]
fn describe(payload: Box<dyn Any + Send>) -> String {
    let message = if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panicked with a value that is no text".to_owned()
    };
    // Dropping a payload may panic as well; that second one has nothing to add.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(payload)));
    match PLACE.take() {
        Some(place) => format!("{message} (at {place})"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_carries_message_and_place() {
        note_places();
        let caught = catch(|| panic!("number {}", 7)).unwrap_err();
        assert!(caught.starts_with("number 7 (at "), "{caught}");
        assert!(caught.contains("catch.rs:"), "{caught}");
        assert_eq!(catch(|| 5), Ok(5));
    }

    #[test]
    fn a_payload_whose_drop_panics_is_caught() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let caught = catch(|| std::panic::panic_any(Bomb)).unwrap_err();
        assert!(caught.starts_with("panicked with a value"), "{caught}");
    }
}
