//! The namespace rig.
