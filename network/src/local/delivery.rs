//! Bringing a parcel to its channel's end on this shard: a data parcel to its gate, a credit to its
//! outlet.
//!
//! Entered by the handover with parcels from lanes and from the own shard. Invariant: neither a gate nor
//! an outlet is borrowed by one delivery while another is made: what follows from a delivery (a credit,
//! the next buffer) is just one more parcel in the queue, never a nested call. Lives on the shard's thread.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_core::ShardId;

use super::post::{InputRoute, Post};
use crate::channel::ChannelId;
use crate::input::gate::{Delivery, InputGate};
use crate::parcel::{Parcel, give_back};

/// Where a channel leads right now.
enum Found {
    Gate(Rc<RefCell<InputGate>>, u32),
    Nobody,
    NotYet,
}

impl Post {
    /// Delivers everything this shard has sent to itself; what a busy gate refuses stays, and
    /// everything behind it.
    pub(super) fn deliver_own(&mut self) -> bool {
        let mut moved = false;
        while let Some(parcel) = self.own.pop_front() {
            if let Some(parcel) = self.deliver(self.shard, parcel) {
                self.own.push_front(parcel);
                return moved;
            }
            moved = true;
        }
        moved
    }

    /// Delivers one parcel that came from shard `from`. Hands it back if the task holds its gate at the
    /// moment: it is to be delivered by the next pump.
    #[must_use]
    pub(super) fn deliver(&mut self, from: ShardId, parcel: Parcel) -> Option<Parcel> {
        match parcel {
            Parcel::Data { .. } => self.deliver_data(from, parcel),
            Parcel::Credit {
                channel,
                amount,
                consumed,
                segment,
                oversize_bytes,
            } => {
                self.come_home(channel, segment, oversize_bytes);
                self.settle(channel, amount, consumed);
                None
            }
        }
    }

    /// Tells the outlet of a channel of its credits, and sends what waited for them.
    fn settle(&mut self, channel: ChannelId, amount: u32, consumed: u32) {
        let Some((outlet, place)) = self.output(channel) else {
            return;
        };
        let place = *place as usize;
        // The partition may have gone: what it sent has come home all the same.
        let Some(outlet) = outlet.upgrade() else {
            return;
        };
        let mut outlet = outlet.borrow_mut();
        outlet.settle(place, amount, consumed);
        while let Some((to, parcel)) = outlet.release(place) {
            self.send(to, parcel);
        }
    }

    fn deliver_data(&mut self, from: ShardId, parcel: Parcel) -> Option<Parcel> {
        let Parcel::Data {
            channel,
            sequence,
            buffer,
            backlog,
            event,
        } = parcel
        else {
            unreachable!("only data parcels come here")
        };
        let found = match self.input(channel) {
            InputRoute::Open(gate, place) => match gate.upgrade() {
                Some(gate) => Found::Gate(gate, *place),
                None => Found::Nobody,
            },
            InputRoute::Closed => Found::Nobody,
            InputRoute::Unknown => Found::NotYet,
        };
        match found {
            Found::Gate(gate, place) => {
                let Ok(mut gate) = gate.try_borrow_mut() else {
                    return Some(Parcel::Data {
                        channel,
                        sequence,
                        buffer,
                        backlog,
                        event,
                    });
                };
                let mut replies = std::mem::take(&mut self.replies);
                gate.deliver(
                    place,
                    from,
                    Delivery {
                        sequence,
                        buffer,
                        backlog,
                        event,
                    },
                    &mut replies,
                );
                for (to, reply) in replies.drain(..) {
                    self.send(to, reply);
                }
                self.replies = replies;
            }
            Found::Nobody => self.send(from, give_back(channel, from, buffer, 1)),
            Found::NotYet => {
                let parcel = Parcel::Data {
                    channel,
                    sequence,
                    buffer,
                    backlog,
                    event,
                };
                self.keep_early(channel, from, parcel);
            }
        }
        None
    }
}
