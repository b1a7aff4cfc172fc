//! assets-sim
