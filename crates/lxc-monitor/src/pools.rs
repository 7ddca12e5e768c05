//! The Proxmox pool of each container: the `pool:` lines of `/etc/pve/user.cfg`.
//!
//! A line is `pool:<name>:<comment>:<id>,<id>…:<storages>:` (pve-access-control `src/PVE/AccessControl.pm`); a guest is
//! in at most one pool. Without the file there is only root, and no pool.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lxc_autoscale_core::Vmid;

use crate::kernel_file::{ReadError, read_text};
use crate::sample::{Missing, Reading};

/// The pool of each container that is in one.
pub type Pools = Arc<BTreeMap<Vmid, String>>;

/// Reads the pools.
///
/// # Errors
/// Why they are unknown.
pub fn read(pve: &Path) -> Reading<Pools> {
    let path = pve.join("user.cfg");
    match read_text(&path) {
        Ok(text) => Ok(Arc::new(parse(&text))),
        Err(error) if is_missing(&error) => Ok(Pools::default()),
        Err(error) => Err(Missing::from(error)),
    }
}

fn is_missing(error: &ReadError) -> bool {
    error.is_gone()
}

/// The pools in the text of `user.cfg`; other lines and anything that is not a container id are skipped.
pub fn parse(text: &str) -> BTreeMap<Vmid, String> {
    let mut pools = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        if fields.next() != Some("pool") {
            continue;
        }
        let (Some(name), Some(_comment), Some(guests)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        for vmid in guests.split([',', ';', ' ']).filter_map(|id| id.parse::<Vmid>().ok()) {
            pools.insert(vmid, name.to_owned());
        }
    }
    pools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_read_and_other_lines_are_not() {
        let text = "user:root@pam:1:0:::a@example.org:::\n\npool:services:comment, with comma:100,104:local:\n\
                    pool:empty::::\npool:nested/inner::105::\nacl:1:/pool/services:u@pve:PVEVMUser:\npool:broken\n";
        let pools = parse(text);
        let shown: Vec<(u32, &str)> = pools.iter().map(|(id, pool)| (id.get(), pool.as_str())).collect();
        assert_eq!(shown, [(100, "services"), (104, "services"), (105, "nested/inner")]);
    }

    #[test]
    fn no_file_is_no_pool_and_an_unreadable_one_is_unknown() {
        let pve = tempfile::tempdir().unwrap();
        assert_eq!(read(pve.path()), Ok(Pools::default()));
        std::fs::create_dir(pve.path().join("user.cfg")).unwrap();
        assert!(read(pve.path()).unwrap_err().as_str().contains("user.cfg"));
    }
}
