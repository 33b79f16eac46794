//! The notebooks volume: a safe handle on hostile ground, ownership, defaults, manifest.
