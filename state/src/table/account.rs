//! The memory of one table, reserved from the slot's budget.
//!
//! Entered before pages are allocated, and after a value changed its size on the heap. Invariant: the
//! budget never gives more than its limit; bytes that a value took without asking (it grew inside the
//! user's closure) are *owed*: reported at once as an error and paid before anything else is granted.
//! Lives on one shard's thread.

use thalweg_memory::{Budget, BudgetExceeded};

/// What a table holds of a budget.
pub(crate) struct Account {
    budget: Budget,
    held: u64,
    owed: u64,
}

impl Account {
    pub(crate) fn new(budget: Budget) -> Account {
        Account {
            budget,
            held: 0,
            owed: 0,
        }
    }

    /// The budget it takes from.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Makes all that `other` holds and owes its own. Both take from one budget.
    pub(crate) fn take_over(&mut self, other: &mut Account) {
        self.held += std::mem::take(&mut other.held);
        self.owed += std::mem::take(&mut other.owed);
    }

    /// Bytes in use, owed ones included.
    pub(crate) fn bytes(&self) -> u64 {
        self.held + self.owed
    }

    /// Takes `bytes` and pays what is owed, or takes nothing.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<(), BudgetExceeded> {
        let asked = bytes + self.owed;
        if asked == 0 {
            return Ok(());
        }
        self.budget.reserve(asked)?;
        self.held += asked;
        self.owed = 0;
        Ok(())
    }

    /// Gives `bytes` back, what is owed first.
    pub(crate) fn release(&mut self, bytes: u64) {
        let forgiven = bytes.min(self.owed);
        self.owed -= forgiven;
        let returned = bytes - forgiven;
        assert!(
            returned <= self.held,
            "a table gives back at most what it holds"
        );
        self.held -= returned;
        self.budget.release(returned);
    }

    /// Follows a value that already changed from `before` to `after` bytes.
    #[inline(always)]
    pub(crate) fn follow(&mut self, before: usize, after: usize) -> Result<(), BudgetExceeded> {
        if before == after {
            return Ok(());
        }
        self.follow_change(before as u64, after as u64)
    }

    #[inline(never)]
    fn follow_change(&mut self, before: u64, after: u64) -> Result<(), BudgetExceeded> {
        if after < before {
            self.release(before - after);
            return Ok(());
        }
        let more = after - before;
        self.reserve(more).inspect_err(|_| self.owed += more)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.release(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_paid_before_anything_is_granted() {
        let budget = Budget::new("slot", 100);
        let mut account = Account::new(budget.clone());
        account.reserve(90).unwrap();
        assert!(account.follow(5, 25).is_err(), "20 more do not fit");
        assert_eq!((account.bytes(), budget.used()), (110, 90));
        assert!(account.reserve(1).is_err(), "not before the 20 are paid");
        account.release(30);
        assert_eq!((account.bytes(), budget.used()), (80, 80));
        account.reserve(20).unwrap();
        drop(account);
        assert_eq!(budget.used(), 0);
    }
}
