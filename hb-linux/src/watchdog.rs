//! /dev/watchdog
