//! Scenarios and rigs.
