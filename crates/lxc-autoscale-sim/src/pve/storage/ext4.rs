//! The space that an ext4 file system leaves of a volume, according to `mke2fs`, the kernel's online resize and
//! `statfs`.
//!
//! The sizes that a user sees differ from the volume's by the inode tables, the journal, the copies of the superblock
//! and the blocks reserved for root. Tests against a real node compare them to the byte, so the geometry is modelled,
//! with the defaults of mke2fs 1.47 (`sparse_super`, `64bit`, 256-byte inodes, blocks reserved for growth).

use serde::{Deserialize, Serialize};

/// Below this size, mke2fs uses small blocks and more inodes.
const SMALL_BELOW: u64 = 512 << 20;
/// Size of a group descriptor, in bytes.
const DESCRIPTOR: u64 = 64;
/// Size of an inode, in bytes.
const INODE: u64 = 256;

/// The geometry of a file system; sizes in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ext4 {
    /// Size of a block in bytes.
    pub block_bytes: u64,
    /// Number of blocks.
    pub blocks: u64,
    inodes_per_group: u64,
    /// Descriptors and the blocks reserved for more of them, after each copy of the superblock.
    table_blocks: u64,
    journal_blocks: u64,
    root_blocks: u64,
}

impl Ext4 {
    /// The file system that mke2fs creates on a volume of this size.
    pub fn make(bytes: u64) -> Self {
        let (block_bytes, bytes_per_inode) = if bytes < SMALL_BELOW { (1024, 4096) } else { (4096, 16384) };
        let blocks = bytes / block_bytes;
        let mut made = Self {
            block_bytes,
            blocks,
            inodes_per_group: 0,
            table_blocks: 0,
            journal_blocks: journal_blocks(blocks),
            root_blocks: blocks * 5 / 100,
        };
        let groups = made.groups().max(1);
        let per_block = block_bytes / INODE;
        made.inodes_per_group = (bytes / bytes_per_inode).div_ceil(groups).next_multiple_of(per_block);
        // Room for growing to 1024 times the size, as far as one indirect block can reach.
        let first_block = u64::from(block_bytes == 1024);
        let grown_groups =
            (blocks * 1024).min(1 << 32).saturating_sub(first_block).div_ceil(made.group_blocks());
        let spare = grown_groups.div_ceil(block_bytes / DESCRIPTOR).saturating_sub(made.descriptor_blocks());
        made.table_blocks = made.descriptor_blocks() + spare.min(block_bytes / 4);
        made
    }

    /// The file system after `resize2fs` on a larger volume.
    pub fn grow(&mut self, bytes: u64) {
        let blocks = bytes / self.block_bytes;
        let added = blocks.saturating_sub(self.blocks);
        // The kernel keeps the reserved share in whole percent.
        let percent = (self.root_blocks * 100).checked_div(self.blocks).unwrap_or(0);
        self.root_blocks += added * percent / 100;
        self.blocks += added;
        self.table_blocks = self.table_blocks.max(self.descriptor_blocks());
    }

    fn group_blocks(&self) -> u64 {
        self.block_bytes * 8
    }

    fn first_block(&self) -> u64 {
        u64::from(self.block_bytes == 1024)
    }

    /// Number of block groups.
    fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first_block()).div_ceil(self.group_blocks())
    }

    /// The number of blocks of the group descriptors.
    pub fn descriptor_blocks(&self) -> u64 {
        self.groups().div_ceil(self.block_bytes / DESCRIPTOR)
    }

    /// Number of inodes.
    pub fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups()
    }

    /// The blocks with copies of the superblock.
    pub fn backups(&self) -> Vec<u64> {
        let groups = (1..self.groups()).filter(|&group| has_superblock(group));
        groups.map(|group| group * self.group_blocks() + self.first_block()).collect()
    }

    fn overhead_blocks(&self) -> u64 {
        let groups = self.groups();
        let bitmaps = 2 * groups;
        let inode_tables = groups * self.inodes_per_group * INODE / self.block_bytes;
        let copies = self.backups().len() as u64 + 1;
        self.first_block() + bitmaps + inode_tables + copies * (1 + self.table_blocks) + self.journal_blocks
    }

    /// The size according to `statfs`.
    pub fn total_bytes(&self) -> u64 {
        self.blocks.saturating_sub(self.overhead_blocks()) * self.block_bytes
    }

    /// The space reserved for root, and for the kernel's delayed writes.
    pub fn reserved_bytes(&self) -> u64 {
        (self.root_blocks + (self.blocks / 50).min(4096)) * self.block_bytes
    }
}

/// Whether a group has a copy of the superblock: 0, 1 and the powers of 3, 5 and 7.
fn has_superblock(group: u64) -> bool {
    let is_power = |base: u64| {
        let mut power = base;
        while power < group {
            power *= base;
        }
        power == group
    };
    group <= 1 || is_power(3) || is_power(5) || is_power(7)
}

/// mke2fs's table of journal sizes.
fn journal_blocks(blocks: u64) -> u64 {
    match blocks {
        0..2_048 => 0,
        2_048..32_768 => 1_024,
        32_768..262_144 => 4_096,
        262_144..524_288 => 8_192,
        524_288..4_194_304 => 16_384,
        4_194_304..8_388_608 => 32_768,
        8_388_608..16_777_216 => 65_536,
        16_777_216..33_554_432 => 131_072,
        _ => 262_144,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_real_file_systems() {
        for (mebibytes, total) in [(256, 241_081_344), (616, 618_049_536), (1024, 1_020_702_720)] {
            assert_eq!(Ext4::make(mebibytes << 20).total_bytes(), total, "{mebibytes} MiB");
        }
        let small = Ext4::make(256 << 20);
        assert_eq!((small.inodes(), small.backups().len(), small.backups()[0]), (65536, 7, 8193));
        assert_eq!(Ext4::make(616 << 20).inodes(), 39440);
    }

    #[test]
    fn growing_adds_descriptors_and_keeps_the_rest() {
        let mut filesystem = Ext4::make(256 << 20);
        for (mebibytes, descriptor_blocks) in [(256, 2), (320, 3), (512, 4), (1024, 8), (2048, 16)] {
            filesystem.grow(mebibytes << 20);
            assert_eq!(filesystem.descriptor_blocks(), descriptor_blocks, "{mebibytes} MiB");
        }
    }
}
