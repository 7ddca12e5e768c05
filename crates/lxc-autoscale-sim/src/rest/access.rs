//! Users, tokens, roles and access lists: `/etc/pve/user.cfg` and `/etc/pve/priv/token.cfg` in Proxmox's format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::node::{NodeError, NodeLayout, write_atomically};

/// The user who may do everything.
pub const ROOT: &str = "root@pam";
/// The role with all privileges.
const ADMINISTRATOR: &str = "Administrator";
/// The privilege to connect a container to a bridge, which Proxmox has since version 8.
pub const SDN_USE: &str = "SDN.Use";
/// The privileges that calls of this node need.
pub const PRIVILEGES: &[&str] = &[
    SDN_USE,
    "Datastore.AllocateSpace",
    "Datastore.Audit",
    "Sys.Audit",
    "Sys.Modify",
    "VM.Allocate",
    "VM.Audit",
    "VM.Clone",
    "VM.Config.CPU",
    "VM.Config.Disk",
    "VM.Config.Memory",
    "VM.Config.Network",
    "VM.Config.Options",
    "VM.PowerMgmt",
    "VM.Snapshot",
    "VM.Snapshot.Rollback",
];
/// Paths that `/access/permissions` always lists.
const SHOWN_PATHS: [&str; 6] = ["/", "/access", "/nodes", "/sdn", "/storage", "/vms"];

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    secret: String,
    /// Whether it may only do what both it and its user may do.
    is_separated: bool,
}

/// An entry of the access lists.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    is_passed_on: bool,
    path: String,
    who: String,
    role: String,
}

/// The users, and what they may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    users: BTreeSet<String>,
    tokens: BTreeMap<String, Token>,
    roles: BTreeMap<String, BTreeSet<String>>,
    grants: Vec<Grant>,
    /// Lines for groups and pools, which are not used here.
    others: Vec<String>,
}

impl Access {
    /// Reads the files; without them, there is only root.
    ///
    /// # Errors
    /// [`NodeError`] if one of them cannot be read.
    pub fn load(layout: &NodeLayout) -> Result<Self, NodeError> {
        let mut access = Self::default();
        access.users.insert(ROOT.to_owned());
        for line in read(&user_cfg(layout))?.lines() {
            access.take(line, &line.split(':').collect::<Vec<_>>());
        }
        for line in read(&token_cfg(layout))?.lines() {
            if let Some((id, secret)) = line.split_once(' ')
                && let Some(token) = access.tokens.get_mut(id)
            {
                secret.trim().clone_into(&mut token.secret);
            }
        }
        Ok(access)
    }

    /// Writes the files; the secrets are readable by root only.
    ///
    /// # Errors
    /// [`NodeError`] if one of them cannot be written.
    pub fn save(&self, layout: &NodeLayout) -> Result<(), NodeError> {
        let mut lines: Vec<String> =
            self.users.iter().map(|user| format!("user:{user}:1:0::::::\n")).collect();
        for (id, token) in &self.tokens {
            lines.push(format!("token:{id}:0:{}::\n", u8::from(token.is_separated)));
        }
        for (role, privileges) in &self.roles {
            let privileges = privileges.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            lines.push(format!("role:{role}:{privileges}:\n"));
        }
        for Grant { is_passed_on, path, who, role } in &self.grants {
            lines.push(format!("acl:{}:{path}:{who}:{role}:\n", u8::from(*is_passed_on)));
        }
        lines.extend(self.others.iter().map(|line| format!("{line}\n")));
        let secrets = self.tokens.iter().map(|(id, token)| format!("{id} {}\n", token.secret));
        let private = token_cfg(layout);
        if let Some(directory) = private.parent() {
            fs::create_dir_all(directory).map_err(NodeError::file("create", directory))?;
        }
        write_atomically(&private, &secrets.collect::<Vec<_>>().concat())?;
        write_atomically(&user_cfg(layout), &lines.concat())
    }

    fn take(&mut self, line: &str, fields: &[&str]) {
        match fields {
            ["user", user, ..] => {
                self.users.insert((*user).to_owned());
            }
            ["token", id, _, separated, ..] => {
                let token = Token { secret: String::new(), is_separated: *separated != "0" };
                self.tokens.insert((*id).to_owned(), token);
            }
            ["role", role, privileges, ..] => {
                let privileges = privileges.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
                self.roles.insert((*role).to_owned(), privileges.collect());
            }
            ["acl", passed_on, path, who, role, ..] => self.grants.push(Grant {
                is_passed_on: *passed_on != "0",
                path: (*path).to_owned(),
                who: (*who).to_owned(),
                role: (*role).to_owned(),
            }),
            [kind, ..] if !kind.trim().is_empty() => self.others.push(line.to_owned()),
            _ => {}
        }
    }

    /// Whether there is such a user.
    pub fn has_user(&self, user: &str) -> bool {
        self.users.contains(user)
    }

    /// Adds a user; false if the user exists.
    pub fn add_user(&mut self, user: &str) -> bool {
        self.users.insert(user.to_owned())
    }

    /// Adds a token; false if the token exists.
    pub fn add_token(&mut self, id: &str, secret: &str, is_separated: bool) -> bool {
        let token = Token { secret: secret.to_owned(), is_separated };
        !self.tokens.contains_key(id) && self.tokens.insert(id.to_owned(), token).is_none()
    }

    /// Adds a role; false if the role exists.
    pub fn add_role<'a>(&mut self, role: &str, privileges: impl Iterator<Item = &'a str>) -> bool {
        !self.roles.contains_key(role)
            && self.roles.insert(role.to_owned(), privileges.map(str::to_owned).collect()).is_none()
    }

    /// Adds or replaces privileges of a role; false if there is no such role.
    pub fn modify_role<'a>(
        &mut self,
        role: &str,
        privileges: impl Iterator<Item = &'a str>,
        append: bool,
    ) -> bool {
        let Some(held) = self.roles.get_mut(role) else { return false };
        if !append {
            held.clear();
        }
        held.extend(privileges.map(str::to_owned));
        true
    }

    /// Whether there is such a role.
    pub fn has_role(&self, role: &str) -> bool {
        role == ADMINISTRATOR || self.roles.contains_key(role)
    }

    /// Gives a role to a user or a token, for a path and everything below it.
    pub fn grant(&mut self, path: &str, who: &str, role: &str) {
        let grant =
            Grant { is_passed_on: true, path: path.to_owned(), who: who.to_owned(), role: role.to_owned() };
        if !self.grants.contains(&grant) {
            self.grants.push(grant);
        }
    }

    /// Identifies the owner of `credential`, which is `user@realm!name=secret`.
    ///
    /// # Errors
    /// Proxmox's text.
    pub fn authenticate(&self, credential: &str) -> Result<String, String> {
        let (id, secret) = credential.split_once(['=', ' ']).ok_or("invalid token value!")?;
        let token = self.tokens.get(id).ok_or_else(|| format!("no such token '{id}'"))?;
        if token.secret.is_empty() || token.secret != secret {
            return Err("invalid token value!".to_owned());
        }
        Ok(id.to_owned())
    }

    /// The privileges of a user or token on a path.
    pub fn privileges(&self, who: &str, path: &str) -> BTreeSet<&str> {
        let Some((user, _)) = who.split_once('!') else { return self.of_principal(who, path) };
        let users = self.of_principal(user, path);
        match self.tokens.get(who) {
            Some(token) if token.is_separated => {
                self.of_principal(who, path).intersection(&users).copied().collect()
            }
            Some(_) => users,
            None => BTreeSet::new(),
        }
    }

    /// The roles on the deepest path with an entry replace those from above.
    fn of_principal(&self, who: &str, path: &str) -> BTreeSet<&str> {
        if who == ROOT {
            return PRIVILEGES.iter().copied().collect();
        }
        let reaches = |grant: &&Grant| {
            let inside = grant.path == "/"
                || path.strip_prefix(grant.path.as_str()).is_some_and(|rest| rest.starts_with('/'));
            grant.who == who && (grant.path == path || (inside && grant.is_passed_on))
        };
        let deepest = self.grants.iter().filter(reaches).map(|grant| grant.path.len()).max();
        let roles = self
            .grants
            .iter()
            .filter(reaches)
            .filter(|grant| Some(grant.path.len()) == deepest)
            .map(|grant| grant.role.as_str());
        roles.flat_map(|role| self.of_role(role)).collect()
    }

    fn of_role(&self, role: &str) -> BTreeSet<&str> {
        if role == ADMINISTRATOR {
            return PRIVILEGES.iter().copied().collect();
        }
        self.roles.get(role).into_iter().flatten().map(String::as_str).collect()
    }

    /// The privileges of a user or token by path, for `/access/permissions`.
    pub fn permissions(&self, who: &str) -> BTreeMap<&str, BTreeSet<&str>> {
        let paths = SHOWN_PATHS.into_iter().chain(self.grants.iter().map(|grant| grant.path.as_str()));
        paths.map(|path| (path, self.privileges(who, path))).filter(|(_, found)| !found.is_empty()).collect()
    }
}

fn user_cfg(layout: &NodeLayout) -> PathBuf {
    layout.etc_pve().join("user.cfg")
}

fn token_cfg(layout: &NodeLayout) -> PathBuf {
    layout.etc_pve().join("priv/token.cfg")
}

fn read(path: &Path) -> Result<String, NodeError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(NodeError::file("read", path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "scale@pve!one";

    fn access() -> Access {
        let mut access = Access::default();
        access.add_user("scale@pve");
        assert!(access.add_token(TOKEN, "secret", true));
        access.add_role("Look", ["VM.Audit"].into_iter());
        access.add_role("Scale", ["VM.Audit", "VM.Config.CPU"].into_iter());
        access
    }

    fn may(access: &Access, path: &str, privilege: &str) -> bool {
        access.privileges(TOKEN, path).contains(privilege)
    }

    #[test]
    fn a_token_may_what_both_it_and_its_user_may() {
        let mut access = access();
        access.grant("/vms", TOKEN, "Scale");
        assert!(!may(&access, "/vms/100", "VM.Audit"), "its user may nothing");
        access.grant("/vms", "scale@pve", "Look");
        assert!(may(&access, "/vms/100", "VM.Audit"));
        assert!(!may(&access, "/vms/100", "VM.Config.CPU"));
    }

    #[test]
    fn a_deeper_entry_replaces_what_comes_from_above() {
        let mut access = access();
        for who in [TOKEN, "scale@pve"] {
            access.grant("/vms", who, "Scale");
            access.grant("/vms/104", who, "Look");
        }
        assert!(may(&access, "/vms/100", "VM.Config.CPU"));
        assert!(!may(&access, "/vms/104", "VM.Config.CPU"));
        assert!(may(&access, "/vms/1040", "VM.Config.CPU"), "another container");
    }

    #[test]
    fn the_files_hold_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let layout = NodeLayout::new(directory.path());
        fs::create_dir_all(layout.etc_pve()).unwrap();
        let mut access = access();
        access.grant("/vms", TOKEN, "Scale");
        access.add_user(ROOT);
        access.save(&layout).unwrap();
        assert_eq!(Access::load(&layout).unwrap(), access);
        assert_eq!(access.authenticate("scale@pve!one=secret"), Ok(TOKEN.to_owned()));
        assert_eq!(access.authenticate("scale@pve!one=other"), Err("invalid token value!".to_owned()));
        assert!(access.authenticate("scale@pve!two=secret").is_err());
    }
}
