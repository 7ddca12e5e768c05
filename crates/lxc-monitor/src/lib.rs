//! Measures the LXC containers of a node and the node itself, from the kernel's and Proxmox's files, without starting a
//! process.
//!
//! In the order of a measurement: what to read ([`config`]) and which containers exist ([`discovery`]); the readers
//! ([`kernel_file`] below them all, [`cgroup`], [`procfs`], [`block_devices`], [`network`], [`filesystem`], [`zfs`],
//! [`topology`], combined in [`container`]); their results ([`sample`]); the record made from two of those ([`usage`],
//! pure) and what the kernel does not provide ([`kernel_gaps`]); the cycle around it ([`collector`], with [`isolation`]
//! for reads that hang, [`kept_files`] within [`own_limit`], and [`notices`] and [`outage`] for logging a trouble once);
//! the metrics file ([`output`]) and the files that only one monitor may write ([`claims`]); what survives a restart
//! ([`state_file`]); and the commands ([`cli`], [`daemon`], [`check`], with [`mod@printable`]).

pub mod alerts;
pub mod anomaly;
pub mod block_devices;
pub mod cgroup;
pub mod check;
pub mod claims;
pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod container;
pub mod daemon;
pub mod discovery;
pub mod exporter;
pub mod filesystem;
pub mod full_look;
pub mod history;
pub mod isolation;
pub mod kept_files;
pub mod kernel_file;
pub mod kernel_gaps;
pub mod network;
pub mod notices;
pub mod outage;
pub mod output;
pub mod own_limit;
pub mod own_usage;
pub mod pools;
pub mod printable;
pub mod procfs;
pub mod sample;
pub mod state_file;
pub mod topology;
pub mod usage;
pub mod zfs;
