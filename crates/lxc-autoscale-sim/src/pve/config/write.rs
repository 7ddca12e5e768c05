//! Writes a configuration file.

use super::{GuestConfig, Section, encode_text};

/// The whole file.
pub(super) fn config(config: &GuestConfig) -> String {
    let mut parts = vec![section(&config.current)];
    if !config.pending.is_empty() {
        parts.push(format!("\n[pve:pending]\n{}", section(&config.pending)));
    }
    let snapshots = config.snapshots.iter();
    parts.extend(snapshots.map(|(name, snapshot)| format!("\n[{name}]\n{}", section(snapshot))));
    parts.concat()
}

/// The lines of one section.
pub(super) fn section(section: &Section) -> String {
    let description = section.description.as_deref().unwrap_or_default();
    let mut lines: Vec<String> =
        description.lines().map(|line| format!("#{}\n", encode_text(line))).collect();
    lines.extend(section.options.iter().map(|(name, value)| format!("{name}: {value}\n")));
    lines.extend(section.raw.iter().map(|(name, value)| format!("{name}: {value}\n")));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::*;

    const FULL: &str = "\
#web tier%3A blue
arch: amd64
cores: 2
cpulimit: 1.5
hostname: web01
memory: 1024
parent: before-upgrade
rootfs: local-lvm:vm-101-disk-0,size=8G
swap: 512
lxc.cgroup2.cpuset.cpus: 0-3

[pve:pending]
delete: nameserver
features: nesting=1

[before-upgrade]
#taken by autoscaler
cores: 1
memory: 64
snaptime: 1714551072
";

    #[test]
    fn a_file_of_proxmox_is_written_as_it_was_read() {
        let (config, warnings) = GuestConfig::parse(FULL);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.write(), FULL);
        assert_eq!(config.current.description.as_deref(), Some("web tier: blue\n"));
        assert_eq!(config.with_pending().get("features"), Some("nesting=1"));
    }

    #[test]
    fn bad_lines_cost_only_themselves_and_comments_move_to_the_top() {
        let (config, warnings) = GuestConfig::parse(
            "memory: 64\nonboot: yes\ngarbage\ncores: many\nnosuch: 1\n# late\nswap: +1\n",
        );
        assert_eq!(config.write(), "# late\nmemory: 64\nonboot: 1\n");
        let want = [
            "unable to parse config: garbage",
            "unable to parse value of 'cores' - type check ('integer') failed - got 'many'",
            "unable to parse value of 'nosuch' - unknown setting 'nosuch'",
            "unable to parse value of 'swap' - type check ('integer') failed - got '+1'",
        ];
        assert_eq!(warnings, want);
    }

    fn any_section() -> impl Strategy<Value = Section> {
        let options = proptest::collection::btree_map(
            prop_oneof![
                Just(("memory", "512")),
                Just(("cores", "4")),
                Just(("cpulimit", "0.5")),
                Just(("hostname", "web-1")),
                Just(("net0", "name=eth0,bridge=vmbr0,type=veth")),
                Just(("rootfs", "local-lvm:vm-100-disk-0,size=8G")),
                Just(("onboot", "1")),
                Just(("tags", "a;b")),
            ]
            .prop_map(|(name, _)| name.to_owned()),
            Just(String::new()),
            0..8,
        );
        let fixed = |name: &str| match name {
            "memory" => "512",
            "cores" => "4",
            "cpulimit" => "0.5",
            "hostname" => "web-1",
            "net0" => "name=eth0,bridge=vmbr0,type=veth",
            "rootfs" => "local-lvm:vm-100-disk-0,size=8G",
            "tags" => "a;b",
            _ => "1",
        };
        let description = proptest::option::of(proptest::collection::vec("\\PC{0,20}", 1..3));
        let raw = proptest::collection::vec(("lxc\\.[a-z.]{1,10}", "[a-z0-9-]{1,8}"), 0..2);
        (options, description, raw).prop_map(move |(options, description, raw)| Section {
            options: options.into_keys().map(|name| (name.clone(), fixed(&name).to_owned())).collect(),
            description: description.map(|lines| lines.join("\n") + "\n"),
            raw,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            current in any_section(),
            pending in any_section(),
            snapshots in proptest::collection::btree_map("[a-zA-Z][a-z0-9_-]{1,10}", any_section(), 0..3),
        ) {
            let config = GuestConfig { current, pending, snapshots };
            let text = config.write();
            let (read, warnings) = GuestConfig::parse(&text);
            prop_assert_eq!(warnings, Vec::<String>::new());
            prop_assert_eq!(&read, &config);
            prop_assert_eq!(read.write(), text);
        }

        #[test]
        fn any_text_is_survived(text in "(\\PC{0,40}\n){0,8}") {
            let (config, _) = GuestConfig::parse(&text);
            prop_assert_eq!(GuestConfig::parse(&config.write()).0.write(), config.write());
        }
    }
}
