//! A shared pointer is no record.
use std::rc::Rc;

fn send<R: thalweg_memory::Record>(_: R) {}

fn main() {
    send(Rc::new(1u64));
}
