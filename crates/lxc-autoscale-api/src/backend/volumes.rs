//! The disks of a container, as listed in its configuration.

use lxc_autoscale_core::api::VolumeInfo;
use lxc_autoscale_core::container_config::parse_size;

/// The disks in the current section of a configuration, in the same order.
pub(super) fn volumes(text: &str) -> Vec<VolumeInfo> {
    let current = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let settings = current.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    let disks = settings.filter(|(name, _)| is_disk(name.trim()));
    disks.map(|(name, value)| volume(name.trim(), value.trim())).collect()
}

/// Whether a key names a disk, such as `rootfs`, `mp0` or `unused12`.
fn is_disk(name: &str) -> bool {
    let number = name.strip_prefix("mp").or_else(|| name.strip_prefix("unused"));
    let is_numbered =
        number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    name == "rootfs" || is_numbered
}

/// Parses `local-lvm:vm-104-disk-1,mp=/srv,size=8G`.
fn volume(name: &str, value: &str) -> VolumeInfo {
    let part = |key: &str| {
        value.split(',').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    let first = value.split(',').next().unwrap_or_default().to_owned();
    VolumeInfo {
        name: name.to_owned(),
        volume: part("volume").unwrap_or(first),
        path: part("mp"),
        size_mb: part("size").and_then(|size| parse_size(&size)),
    }
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::Mebibytes;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn disks_are_told_from_all_else() {
        let text = "#mp9: none\nmp: none\nmp0: local-lvm:vm-104-disk-1,mp=/srv/data,backup=1,size=2T\nmpx: none\n\
                    mp1: /srv/shared,mp=/shared\nrootfs: volume=local-lvm:vm-104-disk-0,size=8G\n\
                    unused0: local-lvm:vm-104-disk-3\nhostname: mp0\n\n[before]\nmp2: local-lvm:old,mp=/old\n";
        let found = volumes(text);
        let rows: Vec<_> = found
            .iter()
            .map(|disk| (disk.name.as_str(), disk.volume.as_str(), disk.path.as_deref(), disk.size_mb))
            .collect();
        assert_eq!(
            rows,
            [
                ("mp0", "local-lvm:vm-104-disk-1", Some("/srv/data"), Some(Mebibytes::new(2 << 20))),
                ("mp1", "/srv/shared", Some("/shared"), None),
                ("rootfs", "local-lvm:vm-104-disk-0", None, Some(Mebibytes::new(8192))),
                ("unused0", "local-lvm:vm-104-disk-3", None, None),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((mp0|rootfs|unused1): [,=/a-z0-9.]{0,40}\n|\\PC{0,80}\n){0,8}") {
            let _ = volumes(&text);
        }
    }
}
