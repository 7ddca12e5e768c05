//! What the unit of a daemon says of it: the user it runs as, and the credentials that systemd passes to it.
//!
//! A shell has neither, so a command in a shell that is to speak of the service (`check`) looks here. The daemon itself
//! never does: it uses what systemd has passed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The settings of a unit that matter here, with its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    user: Option<String>,
    group: Option<String>,
    more_groups: Vec<String>,
    /// The files of the credentials, by name; `None` for what only systemd can pass on, such as an encrypted one.
    credentials: BTreeMap<String, Option<PathBuf>>,
}

impl Unit {
    /// Reads a unit, and the drop-ins in the directory beside it that systemd reads (`FILE.d/*.conf`). One that is not
    /// there says nothing, as on a machine where the server is started by hand.
    pub fn read(path: &Path) -> Self {
        let mut directory = path.as_os_str().to_owned();
        directory.push(".d");
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
        // A later one replaces what an earlier one says.
        files.sort();
        let mut unit = Self::default();
        for file in [path.to_owned()].into_iter().chain(files) {
            unit.take(&fs::read_to_string(file).unwrap_or_default());
        }
        unit
    }

    /// Takes in the text of one file (systemd.syntax(7)).
    fn take(&mut self, text: &str) {
        let joined = text.replace("\\\n", " ");
        let mut is_service = false;
        for line in joined.lines().map(str::trim) {
            if line.starts_with('[') {
                is_service = line == "[Service]";
            }
            let Some((key, value)) = line.split_once('=').filter(|_| is_service) else { continue };
            let (key, value) = (key.trim_end(), value.trim_start());
            match key {
                "User" => self.user = Some(value.to_owned()).filter(|user| !user.is_empty()),
                "Group" => self.group = Some(value.to_owned()).filter(|group| !group.is_empty()),
                "SupplementaryGroups" if value.is_empty() => self.more_groups.clear(),
                "SupplementaryGroups" => {
                    self.more_groups.extend(value.split_whitespace().map(str::to_owned));
                }
                // An empty value takes back what was said before.
                "LoadCredential" | "LoadCredentialEncrypted" | "SetCredential" | "SetCredentialEncrypted"
                    if value.is_empty() =>
                {
                    self.credentials.clear();
                }
                "LoadCredential" => {
                    let (name, file) = value.split_once(':').unwrap_or((value, ""));
                    // Without an absolute path, it is one that systemd itself was passed.
                    let file = Some(PathBuf::from(file)).filter(|file| file.is_absolute());
                    self.credentials.insert(name.to_owned(), file);
                }
                "LoadCredentialEncrypted" | "SetCredential" | "SetCredentialEncrypted" => {
                    let name = value.split(':').next().unwrap_or_default();
                    self.credentials.insert(name.to_owned(), None);
                }
                _ => {}
            }
        }
    }

    /// The user that the service runs as, if that is not root.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref().filter(|user| !["root", "0"].contains(user))
    }

    /// The group that the service runs in, if that is not its user's own.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// The groups that the service is in besides those of its user.
    pub fn more_groups(&self) -> &[String] {
        &self.more_groups
    }

    /// The file that systemd passes to the service as the credential of this name: `None` if it passes none,
    /// `Some(None)` if that is no file that others can read.
    pub fn credential(&self, name: &str) -> Option<Option<&Path>> {
        self.credentials.get(name).map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "/etc/lxc_autoscale_ml/proxmox_token";

    fn read(unit: &str, additions: &[(&str, &str)]) -> Unit {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lxc_autoscale_api.service");
        fs::write(&path, unit).unwrap();
        let beside = directory.path().join("lxc_autoscale_api.service.d");
        fs::create_dir(&beside).unwrap();
        for (name, text) in additions {
            fs::write(beside.join(name), text).unwrap();
        }
        Unit::read(&path)
    }

    const SHIPPED: &str = include_str!("../../../systemd/lxc_autoscale_api.service");
    const REST: &str = include_str!("../../../systemd/lxc_autoscale_api.service.d/rest.conf");

    #[test]
    fn the_shipped_unit_is_roots_and_its_addition_has_a_user_and_the_token() {
        let unit = read(SHIPPED, &[]);
        assert_eq!((unit.user(), unit.credential("proxmox_token")), (None, None));
        let unit = read(SHIPPED, &[("rest.conf", REST), ("notes.txt", "[Service]\nUser=root\n")]);
        assert_eq!(unit.user(), Some("lxc-autoscale-api"));
        assert_eq!((unit.group(), unit.more_groups()), (Some("lxc-autoscale"), &["www-data".to_owned()][..]));
        assert_eq!(unit.credential("proxmox_token"), Some(Some(Path::new(TOKEN))));
        assert_eq!(unit.credential("other"), None);
    }

    #[test]
    fn the_last_word_counts() {
        let other = "[Service]\nLoadCredential=\nLoadCredential = proxmox_token:/srv/token\n";
        let unit = read(SHIPPED, &[("rest.conf", REST), ("zz.conf", other)]);
        assert_eq!(unit.credential("proxmox_token"), Some(Some(Path::new("/srv/token"))));
        let none = "[Unit]\nUser=x\n[Service]\nUser=\nLoadCredential=\n";
        let unit = read(SHIPPED, &[("rest.conf", REST), ("zz.conf", none)]);
        assert_eq!((unit.user(), unit.credential("proxmox_token")), (None, None));
    }

    #[test]
    fn a_credential_that_is_no_file_to_read_is_one_all_the_same() {
        for line in [
            "LoadCredential=proxmox_token",
            "LoadCredentialEncrypted=proxmox_token:/etc/token.cred",
            "SetCredentialEncrypted=proxmox_token: \\\n  AAAA \\\n  BBBB",
        ] {
            assert_eq!(read(&format!("[Service]\n{line}\n"), &[]).credential("proxmox_token"), Some(None));
        }
    }

    #[test]
    fn a_unit_that_is_not_there_says_nothing() {
        assert_eq!(Unit::read(Path::new("/nonexistent/x.service")), Unit::default());
    }
}
