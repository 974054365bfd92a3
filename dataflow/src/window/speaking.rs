//! Windows that speak in parts, as there is room: for functions with more results than a turn can take.
//!
//! Entered by the panes for a logic that can stop on the way ([`WindowLogic::RESUMES`]). Invariants:
//! all windows that are speaking are of the key in work, and speak one after the other; no record is
//! added and no timer taken meanwhile; what is kept of a window stays where it is until it has spoken.
//! Lives on the shard of its subtask.

use thalweg_memory::record::{Item, Key};

use super::TimeWindow;
use super::function::{Speech, WindowLogic};
use super::panes::Panes;
use super::trigger::Trigger;
use crate::function::FunctionError;
use crate::task::Push;

/// What becomes of a window that has spoken.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    /// It may speak again, with all it holds.
    Stay,
    /// What it holds is forgotten.
    Purge,
    /// It is no more.
    Forget,
}

/// A window that is speaking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speaking {
    pub(super) window: TimeWindow,
    pub(super) state: TimeWindow,
    /// The place to go on from.
    from: usize,
    after: After,
}

impl<K, T, G, L> Panes<K, T, G, L>
where
    K: Key,
    T: Item,
    G: Trigger<T>,
    L: WindowLogic<K, T>,
{
    /// Whether windows have more to say.
    #[inline(always)]
    pub(super) fn is_speaking(&self) -> bool {
        L::RESUMES && !self.speaking.is_empty()
    }

    /// So many results may be given out until this is called again.
    #[inline(always)]
    pub(super) fn allow(&mut self, results: usize) {
        if L::RESUMES {
            self.allowed = results;
        }
    }

    /// Lets a window speak, behind those that are speaking.
    pub(super) fn begin_to_speak<N: Push<L::Out>>(
        &mut self,
        window: TimeWindow,
        state: TimeWindow,
        after: After,
        next: &mut N,
    ) -> Result<(), FunctionError> {
        if L::EVICTS {
            self.change_kept(state, |logic, kept| logic.evict_before(kept, window))?;
        }
        let speaking = Speaking {
            window,
            state,
            from: 0,
            after,
        };
        let is_first = self.speaking.is_empty();
        self.speaking.push_back(speaking);
        if is_first {
            self.go_on(next)?;
        }
        Ok(())
    }

    /// Goes on with the windows that are speaking, as far as is allowed and there is room.
    pub(super) fn go_on<N: Push<L::Out>>(&mut self, next: &mut N) -> Result<(), FunctionError> {
        while self.allowed > 0
            && let Some(speaking) = self.speaking.front().copied()
        {
            let mut speech = Speech {
                from: speaking.from,
                allowed: self.allowed,
            };
            let said = self.say(speaking.window, speaking.state, &mut speech, next)?;
            self.allowed = speech.allowed;
            if !said {
                if let Some(first) = self.speaking.front_mut() {
                    first.from = speech.from;
                }
                return Ok(());
            }
            self.speaking.pop_front();
            self.end(speaking)?;
        }
        Ok(())
    }

    /// The window has spoken.
    fn end(
        &mut self,
        Speaking {
            window,
            state,
            after,
            ..
        }: Speaking,
    ) -> Result<(), FunctionError> {
        if L::EVICTS {
            self.change_kept(state, |logic, kept| logic.evict_after(kept, window))?;
        }
        match after {
            After::Stay => Ok(()),
            After::Purge => self.purge(state),
            After::Forget => self.forget(window, state),
        }
    }
}
