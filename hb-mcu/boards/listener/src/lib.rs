//! Tests only: see `tests/log.rs`.
