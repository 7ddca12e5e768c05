//! What a machine does for `pct`.
