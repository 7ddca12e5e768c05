//! What the token may do, and what it would need.
//!
//! The privileges of each call are those of Proxmox's published API schema.

use std::collections::{BTreeMap, BTreeSet};

use super::token::Token;

/// `/access/permissions`: by path, the privileges and whether they are passed on.
pub(super) type Permissions = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

/// Something we do, and the privileges it takes, by where.
struct Feature {
    name: &'static str,
    needs: &'static [(&'static str, &'static str)],
}

const ALL: &str = "/";
const VMS: &str = "/vms";
const STORAGE: &str = "/storage";

const FEATURES: &[Feature] = &[
    Feature { name: "see containers", needs: &[(VMS, "VM.Audit")] },
    Feature { name: "change cores", needs: &[(VMS, "VM.Config.CPU")] },
    Feature { name: "change memory", needs: &[(VMS, "VM.Config.Memory")] },
    Feature {
        name: "grow disks",
        needs: &[(VMS, "VM.Config.Disk"), (VMS, "VM.Config.Options"), (STORAGE, "Datastore.AllocateSpace")],
    },
    Feature { name: "snapshots and rollback", needs: &[(VMS, "VM.Snapshot")] },
    Feature { name: "start and stop", needs: &[(VMS, "VM.PowerMgmt")] },
    Feature {
        name: "clone, and delete clones",
        needs: &[
            (VMS, "VM.Clone"),
            (VMS, "VM.Allocate"),
            (VMS, "VM.Config.Options"),
            (VMS, "VM.Snapshot"),
            (STORAGE, "Datastore.AllocateSpace"),
        ],
    },
    Feature { name: "see the cluster's nodes", needs: &[(ALL, "Sys.Audit")] },
];

/// A feature the token cannot do everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub feature: &'static str,
    /// The privileges that are missing, with the path they are missing on.
    pub privileges: Vec<(&'static str, &'static str)>,
    /// Whether some containers or storages have them all the same.
    pub partly: bool,
}

/// What is missing, feature by feature.
pub(super) fn missing(permissions: &Permissions) -> Vec<Missing> {
    let has = |path: &str, privilege: &str| {
        let holds = |path: &str| permissions.get(path).is_some_and(|found| found.contains_key(privilege));
        holds(path)
    };
    let below = |path: &str, privilege: &str| {
        let inside = format!("{path}/");
        permissions.iter().any(|(at, found)| at.starts_with(&inside) && found.contains_key(privilege))
    };
    let look = |feature: &Feature| {
        let privileges: Vec<_> =
            feature.needs.iter().copied().filter(|(path, name)| !has(path, name)).collect();
        let partly = privileges.iter().all(|(path, name)| below(path, name));
        (!privileges.is_empty()).then_some(Missing { feature: feature.name, privileges, partly })
    };
    FEATURES.iter().filter_map(look).collect()
}

/// The commands that grant what is missing, to the token and to its user: it can do what both may.
pub fn granting_commands(token: &Token, missing: &[Missing]) -> Vec<String> {
    let mut by_path: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, privilege) in missing.iter().flat_map(|missing| &missing.privileges) {
        by_path.entry(path).or_default().insert(privilege);
    }
    let mut commands = Vec::new();
    for (path, privileges) in by_path {
        // A deeper entry replaces what is inherited, so a role says all it needs where it is.
        let role = match path {
            VMS => "LxcAutoscale",
            STORAGE => "LxcAutoscaleStorage",
            _ => "LxcAutoscaleCluster",
        };
        let all: BTreeSet<&str> = FEATURES
            .iter()
            .flat_map(|feature| feature.needs)
            .filter(|(at, name)| *at == path && (*name == "VM.Audit" || privileges.contains(name)))
            .map(|(_, name)| *name)
            .collect();
        let privileges = all.into_iter().collect::<Vec<_>>().join(" ");
        commands.push(format!("pveum role add {role} --privs \"{privileges}\""));
        commands.push(format!("pveum acl modify {path} --users '{}' --roles {role}", token.user()));
        commands.push(format!("pveum acl modify {path} --tokens '{}' --roles {role}", token.id()));
    }
    commands
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn permissions(value: serde_json::Value) -> Permissions {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_token_without_privileges_lacks_everything() {
        let missing = missing(&Permissions::new());
        assert_eq!(missing.len(), FEATURES.len());
        assert!(missing.iter().all(|missing| !missing.partly));
    }

    #[test]
    fn a_token_for_scaling_lacks_the_rest_by_name() {
        let found = permissions(json!({
            "/vms": {"VM.Audit": 1, "VM.Config.CPU": 1, "VM.Config.Memory": 1},
            "/vms/104": {"VM.Audit": 1, "VM.Snapshot": 1}
        }));
        let missing = missing(&found);
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
        assert_eq!(missing[1].privileges, [("/vms", "VM.Snapshot")]);
        assert!(missing[1].partly && !missing[0].partly);
    }

    #[test]
    fn the_commands_grant_user_and_token_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "scale@pve!one=ab").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let token = Token::read(&path).unwrap();
        let found = permissions(json!({"/vms": {"VM.Audit": 1, "VM.Config.CPU": 1}}));
        let commands = granting_commands(&token, &missing(&found));
        assert_eq!(
            commands,
            [
                "pveum role add LxcAutoscaleCluster --privs \"Sys.Audit\"",
                "pveum acl modify / --users 'scale@pve' --roles LxcAutoscaleCluster",
                "pveum acl modify / --tokens 'scale@pve!one' --roles LxcAutoscaleCluster",
                "pveum role add LxcAutoscaleStorage --privs \"Datastore.AllocateSpace\"",
                "pveum acl modify /storage --users 'scale@pve' --roles LxcAutoscaleStorage",
                "pveum acl modify /storage --tokens 'scale@pve!one' --roles LxcAutoscaleStorage",
                "pveum role add LxcAutoscale --privs \"VM.Allocate VM.Audit VM.Clone VM.Config.Disk \
                 VM.Config.Memory VM.Config.Options VM.PowerMgmt VM.Snapshot\"",
                "pveum acl modify /vms --users 'scale@pve' --roles LxcAutoscale",
                "pveum acl modify /vms --tokens 'scale@pve!one' --roles LxcAutoscale",
            ]
        );
    }
}
