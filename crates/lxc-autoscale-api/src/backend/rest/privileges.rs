//! The privileges that the token has, and those it needs.
//!
//! The privileges of each call are those in Proxmox's published API schema.

use std::collections::{BTreeMap, BTreeSet};

use super::token::Token;

/// The answer of `/access/permissions`: for each path, the privileges and whether they propagate.
pub(super) type Permissions = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// A feature, with the privileges it needs on each path.
struct Feature {
    name: &'static str,
    needs: &'static [(&'static str, &'static str)],
}

const ALL: &str = "/";
const VMS: &str = "/vms";
const STORAGE: &str = "/storage";
/// The path of bridges that belong to no software-defined zone.
const BRIDGES: &str = "/sdn/zones/localnetwork";
/// The privilege to connect something to a bridge, and the version of Proxmox that introduced it.
const SDN_USE: (&str, u32) = ("SDN.Use", 8);

/// The privilege to start and stop a container.
pub(super) const POWER: &str = "VM.PowerMgmt";

const FEATURES: &[Feature] = &[
    Feature { name: "see containers", needs: &[(VMS, "VM.Audit")] },
    Feature { name: "change cores", needs: &[(VMS, "VM.Config.CPU")] },
    Feature { name: "change memory", needs: &[(VMS, "VM.Config.Memory")] },
    Feature {
        name: "grow disks",
        needs: &[(VMS, "VM.Config.Disk"), (VMS, "VM.Config.Options"), (STORAGE, "Datastore.AllocateSpace")],
    },
    // A rollback stops a running container, which is started again afterwards.
    Feature { name: "snapshots and rollback", needs: &[(VMS, "VM.Snapshot"), (VMS, POWER)] },
    Feature { name: "start and stop", needs: &[(VMS, POWER)] },
    Feature {
        name: "clone, and delete clones",
        needs: &[
            (VMS, "VM.Clone"),
            (VMS, "VM.Allocate"),
            (VMS, "VM.Config.Options"),
            (VMS, "VM.Snapshot"),
            // A running copy is stopped before it is removed.
            (VMS, POWER),
            (STORAGE, "Datastore.AllocateSpace"),
            (BRIDGES, SDN_USE.0),
        ],
    },
    Feature { name: "see the cluster's nodes", needs: &[(ALL, "Sys.Audit")] },
];

/// Without this no container is seen.
const SEEING: &str = "VM.Audit";
/// Without both of these no container can be resized. One alone is enough for those who scale one resource.
const RESIZING: [&str; 2] = ["VM.Config.CPU", "VM.Config.Memory"];

/// Whether the privileges that Proxmox tells of a container suffice to start it.
pub(super) fn may_start(found: Permissions, place: &str) -> bool {
    Privileges { found, major: None }.held(place).contains(POWER)
}

/// A feature for which the token lacks privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The feature.
    pub feature: &'static str,
    /// The privileges that are missing, with the path they are missing on.
    pub privileges: Vec<(&'static str, &'static str)>,
    /// Whether some containers or storages grant them all the same.
    pub partly: bool,
}

/// The current privileges of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    found: Permissions,
    /// The major version of Proxmox; `None` if unknown.
    major: Option<u32>,
}

impl Privileges {
    /// The privileges on this version of Proxmox, such as `8.4.21`.
    pub(super) fn new(found: Permissions, version: &str) -> Self {
        let major = version.split(['.', '-']).next().and_then(|number| number.parse().ok());
        Self { found, major }
    }

    /// Whether this version of Proxmox knows a privilege.
    fn knows(&self, privilege: &str) -> bool {
        let (name, since) = SDN_USE;
        privilege != name || self.major.is_none_or(|major| since <= major)
    }

    /// The features that lack privileges.
    pub fn missing(&self) -> Vec<Missing> {
        let below = |path: &str, privilege: &str| {
            let inside = format!("{path}/");
            self.found.iter().any(|(at, found)| at.starts_with(&inside) && found.contains_key(privilege))
        };
        let look = |feature: &Feature| {
            let privileges: Vec<_> = feature
                .needs
                .iter()
                .copied()
                .filter(|(path, name)| self.knows(name) && !self.held(path).contains(name))
                .collect();
            let partly = privileges.iter().all(|(path, name)| below(path, name));
            (!privileges.is_empty()).then_some(Missing { feature: feature.name, privileges, partly })
        };
        FEATURES.iter().filter_map(look).collect()
    }

    /// The privileges for want of which no container at all can be resized.
    pub fn missing_everywhere(&self) -> Vec<&'static str> {
        let is_missing = |privilege: &&str| !self.reaches_a_container(privilege);
        let seeing = Some(SEEING).filter(is_missing);
        let resizing = Some(RESIZING).filter(|all| all.iter().all(is_missing));
        seeing.into_iter().chain(resizing.into_iter().flatten()).collect()
    }

    /// Whether the token has a privilege for all containers, or for some: Proxmox also reports those that have it by
    /// their pool.
    fn reaches_a_container(&self, privilege: &str) -> bool {
        let inside = format!("{VMS}/");
        self.found.iter().any(|(path, found)| match found.get(privilege) {
            Some(value) => path.starts_with(&inside) || path == VMS && is_passed_on(value),
            None => false,
        })
    }

    /// The commands that grant what is missing, both to the token and to its user, because a token can do only what
    /// both may.
    ///
    /// They take nothing from the token and can be repeated. An entry on a path replaces what is inherited there, so
    /// each role holds everything that is needed on its path and what the token already has there.
    pub fn granting_commands(&self, token: &Token) -> Vec<String> {
        let missing = self.missing();
        let paths: BTreeSet<&str> =
            missing.iter().flat_map(|missing| &missing.privileges).map(|(path, _)| *path).collect();
        let mut commands = Vec::new();
        for path in paths {
            let role = match path {
                VMS => "LxcAutoscale",
                STORAGE => "LxcAutoscaleStorage",
                BRIDGES => "LxcAutoscaleNetwork",
                _ => "LxcAutoscaleCluster",
            };
            let needs = FEATURES.iter().flat_map(|feature| feature.needs).filter(|(at, _)| *at == path);
            let mut all: BTreeSet<&str> = needs.map(|(_, name)| *name).collect();
            // Nothing is inherited on the topmost path, and what is granted there propagates.
            if path != ALL {
                all.extend(self.held(path));
            }
            let privileges = all.into_iter().collect::<Vec<_>>().join(" ");
            commands.push(format!(
                "pveum role add {role} --privs \"{privileges}\" || pveum role modify {role} --append 1 --privs \"{privileges}\""
            ));
            commands.push(format!("pveum acl modify {path} --users '{}' --roles {role}", token.user()));
            commands.push(format!("pveum acl modify {path} --tokens '{}' --roles {role}", token.id()));
        }
        commands
    }

    /// The privileges on a path, inherited or not. Proxmox reports the topmost paths and those with entries of their
    /// own; any other path has what propagates to it.
    fn held(&self, path: &str) -> BTreeSet<&str> {
        let above = |path: &str| path.rfind('/').filter(|at| 0 < *at).map(|at| path[..at].to_owned());
        let mut at = path.to_owned();
        while !self.found.contains_key(&at) {
            match above(&at) {
                Some(next) => at = next,
                None => return BTreeSet::new(),
            }
        }
        let reaches = |value: &serde_json::Value| at == path || is_passed_on(value);
        let found = self.found.get(&at).into_iter().flatten().filter(|(_, value)| reaches(value));
        found.map(|(name, _)| name.as_str()).collect()
    }
}

/// Whether a privilege propagates to the paths below.
fn is_passed_on(value: &serde_json::Value) -> bool {
    !matches!(value, serde_json::Value::Bool(false) | serde_json::Value::Null)
        && value.as_u64() != Some(0)
        && value.as_str() != Some("0")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn privileges(value: serde_json::Value) -> Privileges {
        Privileges::new(serde_json::from_value(value).unwrap(), "8.4.21")
    }

    #[test]
    fn a_token_without_privileges_lacks_everything() {
        let missing = privileges(json!({})).missing();
        assert_eq!(missing.len(), FEATURES.len());
        assert!(missing.iter().all(|missing| !missing.partly));
    }

    #[test]
    fn a_token_for_scaling_lacks_the_rest_by_name() {
        let found = privileges(json!({
            "/vms": {"VM.Audit": 1, "VM.Config.CPU": 1, "VM.Config.Memory": 1},
            "/vms/104": {"VM.Audit": 1, "VM.Snapshot": 1}
        }));
        let missing = found.missing();
        let names: Vec<_> = missing.iter().map(|missing| missing.feature).collect();
        assert_eq!(
            names,
            [
                "grow disks",
                "snapshots and rollback",
                "start and stop",
                "clone, and delete clones",
                "see the cluster's nodes"
            ]
        );
        assert_eq!(missing[1].privileges, [("/vms", "VM.Snapshot"), ("/vms", "VM.PowerMgmt")]);
        assert!(!missing[1].partly && !missing[0].partly);
    }

    #[test]
    fn what_scaling_needs_is_missing_only_if_no_container_has_it() {
        for (found, want) in [
            (json!({}), &["VM.Audit", "VM.Config.CPU", "VM.Config.Memory"][..]),
            (
                json!({"/": {"Sys.Audit": 1}, "/vms": {"VM.Snapshot": 1}}),
                &["VM.Audit", "VM.Config.CPU", "VM.Config.Memory"],
            ),
            (json!({"/vms": {"VM.Config.CPU": 1, "VM.Config.Memory": 1}}), &["VM.Audit"]),
            // One of the two resources can be changed.
            (json!({"/vms": {"VM.Audit": 1, "VM.Config.Memory": 1}}), &[]),
            (json!({"/vms": {"VM.Audit": 1, "VM.Config.CPU": 1, "VM.Config.Memory": 1}}), &[]),
            (json!({"/vms": {"VM.Audit": 1}}), &["VM.Config.CPU", "VM.Config.Memory"]),
            // On some containers only, or by a pool: something can be changed.
            (json!({"/vms/104": {"VM.Audit": 1, "VM.Config.CPU": 1, "VM.Config.Memory": 0}}), &[]),
            (
                json!({"/vms": {"VM.Audit": 1, "VM.Config.Memory": "1"}, "/vms/104": {"VM.Config.CPU": 1}}),
                &[],
            ),
            // On the path itself, and not passed on to any container.
            (
                json!({"/vms": {"VM.Audit": 1, "VM.Config.CPU": 0, "VM.Config.Memory": 0}}),
                &["VM.Config.CPU", "VM.Config.Memory"],
            ),
        ] {
            assert_eq!(privileges(found.clone()).missing_everywhere(), want, "{found}");
        }
    }

    /// A rollback stops a running container and starts it again, and so does the removal of a running copy.
    #[test]
    fn what_stops_and_starts_containers_takes_the_privilege_for_that() {
        let found = privileges(json!({
            "/vms": {"VM.Audit": 1, "VM.Snapshot": 1, "VM.Clone": 1, "VM.Allocate": 1, "VM.Config.Options": 1},
            "/storage": {"Datastore.AllocateSpace": 1},
            "/sdn": {"SDN.Use": 1},
            "/vms/104": {"VM.PowerMgmt": 1}
        }));
        let missing: Vec<_> = found
            .missing()
            .into_iter()
            .filter(|missing| missing.privileges == [("/vms", "VM.PowerMgmt")])
            .map(|missing| (missing.feature, missing.partly))
            .collect();
        let names = ["snapshots and rollback", "start and stop", "clone, and delete clones"];
        assert_eq!(missing, names.map(|name| (name, true)));
    }

    #[test]
    fn bridges_take_a_privilege_since_version_8_and_it_may_be_inherited() {
        let clone = |version: &str, sdn: serde_json::Value| {
            let found = json!({"/": {"SDN.Use": 1}, "/sdn": sdn});
            let missing = Privileges::new(serde_json::from_value(found).unwrap(), version).missing();
            let clone = missing.into_iter().find(|missing| missing.feature.starts_with("clone")).unwrap();
            clone.privileges.contains(&("/sdn/zones/localnetwork", "SDN.Use"))
        };
        for (version, sdn, want) in [
            ("7.4-17", json!({}), false),
            ("8.0.3", json!({}), true),
            ("9.1.4", json!({"SDN.Use": 1}), false),
            ("9.1.4", json!({"SDN.Use": "1"}), false),
            ("9.1.4", json!({"SDN.Use": 0}), true),
            ("9.1.4", json!({"SDN.Audit": 1}), true),
            ("unknown", json!({}), true),
        ] {
            assert_eq!(clone(version, sdn.clone()), want, "{version} {sdn}");
        }
    }

    #[test]
    fn the_commands_grant_user_and_token_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "scale@pve!one=ab").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let token = Token::read(&path).unwrap();
        // All that the token already has on the path is kept, inherited or not.
        let found = privileges(json!({
            "/": {"Sys.Audit": 1, "VM.Audit": 1},
            "/sdn": {"SDN.Audit": 1},
            "/vms": {"VM.Audit": 1, "VM.Config.CPU": 1, "VM.Migrate": 1}
        }));
        let all = "VM.Allocate VM.Audit VM.Clone VM.Config.CPU VM.Config.Disk VM.Config.Memory VM.Config.Options VM.Migrate \
                   VM.PowerMgmt VM.Snapshot";
        assert_eq!(
            found.granting_commands(&token),
            [
                "pveum role add LxcAutoscaleNetwork --privs \"SDN.Audit SDN.Use\" || \
                 pveum role modify LxcAutoscaleNetwork --append 1 --privs \"SDN.Audit SDN.Use\"",
                "pveum acl modify /sdn/zones/localnetwork --users 'scale@pve' --roles LxcAutoscaleNetwork",
                "pveum acl modify /sdn/zones/localnetwork --tokens 'scale@pve!one' --roles LxcAutoscaleNetwork",
                "pveum role add LxcAutoscaleStorage --privs \"Datastore.AllocateSpace\" || \
                 pveum role modify LxcAutoscaleStorage --append 1 --privs \"Datastore.AllocateSpace\"",
                "pveum acl modify /storage --users 'scale@pve' --roles LxcAutoscaleStorage",
                "pveum acl modify /storage --tokens 'scale@pve!one' --roles LxcAutoscaleStorage",
                &format!(
                    "pveum role add LxcAutoscale --privs \"{all}\" || \
                     pveum role modify LxcAutoscale --append 1 --privs \"{all}\""
                ),
                "pveum acl modify /vms --users 'scale@pve' --roles LxcAutoscale",
                "pveum acl modify /vms --tokens 'scale@pve!one' --roles LxcAutoscale",
            ]
        );
    }
}
