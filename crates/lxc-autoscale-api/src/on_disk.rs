//! When what is written survives a power cut. The end of this process it survives at once.

/// When what is written is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// When the write returns.
    AtOnce,
    /// With the next one that is so at once, or soon after.
    Soon,
}
