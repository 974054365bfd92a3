//! Settings: typed, documented, bounded, refused by name when unknown.
