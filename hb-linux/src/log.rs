//! ha-log
