//! When a write survives a power cut. It always survives the end of this process.

/// When a write is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDisk {
    /// When the write returns.
    AtOnce,
    /// With the next write that uses [`OnDisk::AtOnce`], or soon after.
    Soon,
}
