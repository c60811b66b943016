//! `hb demo`: the guide's test, played.
