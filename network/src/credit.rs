//! Both ends of the credit ledger: the only flow control there is.
//!
//! A credit is the right to send one buffer. Entered on the sending side by `output/`, on the receiving
//! side by `input/`; neither end knows how credits and buffers travel. Every channel owns `exclusive`
//! credits for good, known to both ends from the start and never announced. The channels of a gate share
//! `floating` ones, lent to a channel when its sender announces that it has run out (its *backlog*), and
//! taken back as soon as that channel no longer asks or another one does.
//!
//! Invariants, for every channel at every moment (checked by the property test below):
//!
//! - available at the sender + credits travelling + buffers travelling = `outstanding` at the receiver;
//! - `outstanding` + `queued` = exclusive + floating lent to the channel;
//! - floating lent to all channels + floating free = floating of the gate.
//!
//! So what is in flight is bounded by credits, and nothing is ever negative. A peer that breaks the
//! rules gets an error, not a wrap-around. Plain state machines; live on the shard's thread.

use std::collections::VecDeque;

use thiserror::Error;

/// The credits of one gate.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct GateCredits {
    /// Those each channel owns for good; both its ends have to know the same number.
    pub exclusive: u32,
    /// Those the channels share.
    pub floating: u32,
}

impl GateCredits {
    /// The same credits for `channels` channels: of the floating ones each gets an even share for good, and what is
    /// left floats. A channel that has to ask for a credit waits for the answer, and a few channels hand over much at
    /// a time; of many each hands over little, and there is no share.
    ///
    /// ```
    /// use thalweg_network::GateCredits;
    /// let credits = GateCredits { exclusive: 2, floating: 8 };
    /// assert_eq!(credits.shared_out(3), GateCredits { exclusive: 4, floating: 2 });
    /// assert_eq!(credits.shared_out(100), credits);
    /// ```
    #[must_use]
    pub fn shared_out(self, channels: usize) -> GateCredits {
        let channels = u32::try_from(channels).unwrap_or(u32::MAX).max(1);
        GateCredits {
            exclusive: self.exclusive + self.floating / channels,
            floating: self.floating % channels,
        }
    }
}

/// The other end broke the ledger: a fault in the engine, never the user's.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Error)]
pub enum LedgerError {
    /// A buffer came that no credit allowed.
    #[error("a buffer came without credit ({queued} queued, {exclusive} exclusive credits)")]
    Overspent {
        /// Buffers queued at the receiver.
        queued: u32,
        /// Exclusive credits of the channel.
        exclusive: u32,
    },
    /// More buffers were reported consumed than were sent.
    #[error("{returned} buffers reported consumed, but only {in_flight} were in flight")]
    Overreturned {
        /// Buffers reported as consumed.
        returned: u32,
        /// Buffers sent and not yet reported consumed.
        in_flight: u32,
    },
}

/// The sender's end of one channel.
#[derive(Clone, Debug)]
pub struct SenderCredit {
    available: u32,
    in_flight: u32,
}

impl SenderCredit {
    /// A channel with `exclusive` credits that both ends know of.
    ///
    /// # Panics
    /// If `exclusive` is 0: a channel without a credit of its own can be starved for ever.
    pub fn new(exclusive: u32) -> SenderCredit {
        assert!(
            exclusive >= 1,
            "a channel needs at least one exclusive credit"
        );
        SenderCredit {
            available: exclusive,
            in_flight: 0,
        }
    }

    /// Buffers that may be sent now.
    #[inline]
    pub fn available(&self) -> u32 {
        self.available
    }

    /// Buffers sent that the receiver has not yet reported consumed.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Spends one credit, or answers `None` if there is none. `waiting` is the number of buffers that
    /// wait behind this one; the answer is the backlog to announce with it: what waits, and one more
    /// if this was the last credit, because the next buffer will wait too.
    #[inline]
    pub fn spend(&mut self, waiting: u32) -> Option<u32> {
        self.available = self.available.checked_sub(1)?;
        self.in_flight += 1;
        let about_to_wait = u32::from(self.available == 0);
        Some(waiting.saturating_sub(self.available) + about_to_wait)
    }

    /// The receiver reported `consumed` buffers and granted `granted` credits.
    ///
    /// # Errors
    /// [`LedgerError::Overreturned`]; the ledger is unchanged then.
    #[inline]
    pub fn settle(&mut self, granted: u32, consumed: u32) -> Result<(), LedgerError> {
        let Some(in_flight) = self.in_flight.checked_sub(consumed) else {
            return Err(LedgerError::Overreturned {
                returned: consumed,
                in_flight: self.in_flight,
            });
        };
        self.in_flight = in_flight;
        self.available += granted;
        Ok(())
    }

    /// Adds `amount` credits, with nothing consumed.
    #[inline]
    pub fn grant(&mut self, amount: u32) {
        self.available += amount;
    }
}

/// Credits to send to the sender of a channel.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The channel's place in its gate.
    pub slot: u32,
    /// Credits granted.
    pub amount: u32,
}

/// What follows from the return of one buffer.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Returned {
    /// Credits that go back to the sender of the returned buffer: 1 or 0.
    pub granted: u32,
    /// A floating credit that another channel was waiting for.
    pub passed_on: Option<Grant>,
}

#[derive(Clone, Debug, Default)]
struct ChannelLedger {
    /// Floating credits lent to the channel.
    floating: u32,
    /// Granted, and no buffer has come for them yet.
    outstanding: u32,
    /// Buffers arrived and not yet consumed.
    queued: u32,
    /// What the sender last said it could use.
    backlog: u32,
    /// Stands in the line for floating credits.
    in_line: bool,
}

impl ChannelLedger {
    fn wants(&self) -> u32 {
        self.backlog.saturating_sub(self.outstanding)
    }
}

/// Faults that a test plants to see that the property test finds them.
#[cfg(test)]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Planted {
    /// A floating credit that was taken back is granted again as well.
    TakenBackAndGranted,
    /// A floating credit taken back while another channel waits for it is not passed on.
    NotPassedOn,
}

/// The receiver's end of all channels of one gate.
#[derive(Clone, Debug)]
pub struct ReceiverCredit {
    exclusive: u32,
    floating_free: u32,
    channels: Vec<ChannelLedger>,
    line: VecDeque<u32>,
    #[cfg(test)]
    planted: Option<Planted>,
}

impl ReceiverCredit {
    /// The ledger of so many channels.
    ///
    /// # Panics
    /// If no credit is exclusive.
    pub fn new(channels: usize, credits: GateCredits) -> ReceiverCredit {
        let GateCredits {
            exclusive,
            floating,
        } = credits;
        assert!(
            exclusive >= 1,
            "a channel needs at least one exclusive credit"
        );
        let fresh = ChannelLedger {
            outstanding: exclusive,
            ..ChannelLedger::default()
        };
        ReceiverCredit {
            exclusive,
            floating_free: floating,
            channels: vec![fresh; channels],
            line: VecDeque::new(),
            #[cfg(test)]
            planted: None,
        }
    }

    /// Floating credits that no channel holds.
    pub fn floating_free(&self) -> u32 {
        self.floating_free
    }

    /// Buffers of a channel that have arrived and are not consumed.
    pub fn queued(&self, slot: u32) -> u32 {
        self.channels[slot as usize].queued
    }

    /// A buffer of channel `slot` came and announced `backlog`. The answer is the number of floating
    /// credits that go to its sender at once.
    ///
    /// # Errors
    /// [`LedgerError::Overspent`]; the ledger is unchanged then.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn arrived(&mut self, slot: u32, backlog: u32) -> Result<u32, LedgerError> {
        let exclusive = self.exclusive;
        let channel = &mut self.channels[slot as usize];
        let Some(outstanding) = channel.outstanding.checked_sub(1) else {
            return Err(LedgerError::Overspent {
                queued: channel.queued,
                exclusive,
            });
        };
        channel.outstanding = outstanding;
        channel.queued += 1;
        channel.backlog = backlog;
        let granted = channel.wants().min(self.floating_free);
        channel.floating += granted;
        channel.outstanding += granted;
        self.floating_free -= granted;
        if channel.wants() > 0 && !channel.in_line {
            channel.in_line = true;
            self.line.push_back(slot);
        }
        Ok(granted)
    }

    /// A buffer of channel `slot` has been consumed. Its credit goes back to its sender, unless it was
    /// a floating one that the channel no longer needs or that another channel waits for.
    ///
    /// # Errors
    /// [`LedgerError::Overreturned`]; the ledger is unchanged then.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn returned(&mut self, slot: u32) -> Result<Returned, LedgerError> {
        let others_wait = self.line.iter().any(|&other| other != slot);
        let channel = &mut self.channels[slot as usize];
        let Some(queued) = channel.queued.checked_sub(1) else {
            return Err(LedgerError::Overreturned {
                returned: 1,
                in_flight: 0,
            });
        };
        channel.queued = queued;
        let take_back = channel.floating > 0 && (channel.wants() == 0 || others_wait);
        if !take_back {
            channel.outstanding += 1;
            return Ok(Returned {
                granted: 1,
                passed_on: None,
            });
        }
        channel.floating -= 1;
        self.floating_free += 1;
        #[cfg(test)]
        match self.planted {
            Some(Planted::TakenBackAndGranted) => {
                return Ok(Returned {
                    granted: 1,
                    passed_on: None,
                });
            }
            Some(Planted::NotPassedOn) => return Ok(Returned::default()),
            None => {}
        }
        Ok(Returned {
            granted: 0,
            passed_on: self.pass_on(slot),
        })
    }

    /// The sender of channel `slot` has said that nothing follows: floating credits it holds and will
    /// not spend are freed. The answer is who gets them.
    ///
    /// # Panics
    /// If the gate has no such channel.
    pub fn ended(&mut self, slot: u32) -> Vec<Grant> {
        let channel = &mut self.channels[slot as usize];
        channel.backlog = 0;
        let unspent = channel.floating.min(channel.outstanding);
        channel.floating -= unspent;
        channel.outstanding -= unspent;
        self.floating_free += unspent;
        std::iter::from_fn(|| self.pass_on(slot)).collect()
    }

    /// Lends a free floating credit to the first channel in line that still wants it. The channel it
    /// was taken from comes last.
    fn pass_on(&mut self, from: u32) -> Option<Grant> {
        // One more than stand there: `from` is looked at twice, the second time after all others.
        for _ in 0..=self.line.len() {
            if self.floating_free == 0 {
                return None;
            }
            let slot = self.line.pop_front()?;
            if slot == from && !self.line.is_empty() {
                self.line.push_back(slot);
                continue;
            }
            let channel = &mut self.channels[slot as usize];
            channel.in_line = false;
            if channel.wants() == 0 {
                continue;
            }
            channel.floating += 1;
            channel.outstanding += 1;
            self.floating_free -= 1;
            if channel.wants() > 0 {
                channel.in_line = true;
                self.line.push_back(slot);
            }
            return Some(Grant { slot, amount: 1 });
        }
        None
    }
}

#[cfg(test)]
mod tests;
