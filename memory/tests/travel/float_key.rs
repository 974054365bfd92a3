//! A float is no key.
fn key_by<K: thalweg_memory::Key>() {}

fn main() {
    key_by::<f64>();
}
