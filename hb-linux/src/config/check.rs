//! hb check
