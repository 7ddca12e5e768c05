//! `[configuration]`: the files that `/config` shows and changes.

use std::path::PathBuf;

use lxc_autoscale_core::api::ConfigOwner;
use lxc_autoscale_core::config::BrokenRule;
use serde::Deserialize;

/// `[configuration]`: the paths of the other daemons' files and programs. This server's own file is the one it was
/// started with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManagedFilesConfig {
    /// The configuration file of lxc-autoscale-ml.
    pub ml_file: PathBuf,
    /// The program that reports its effective configuration.
    pub ml_program: PathBuf,
    /// The configuration file of lxc-monitor.
    pub monitor_file: PathBuf,
    /// The program that reports its effective configuration.
    pub monitor_program: PathBuf,
    /// How many former versions of a changed file are kept next to it.
    pub backup_count: u32,
}

impl Default for ManagedFilesConfig {
    fn default() -> Self {
        Self {
            ml_file: PathBuf::from("/etc/lxc_autoscale_ml/lxc_autoscale_ml.toml"),
            ml_program: PathBuf::from("/usr/local/bin/lxc-autoscale-ml"),
            monitor_file: PathBuf::from("/etc/lxc_autoscale_ml/lxc_monitor.toml"),
            monitor_program: PathBuf::from("/usr/local/bin/lxc-monitor"),
            backup_count: 5,
        }
    }
}

impl ManagedFilesConfig {
    /// File and program of a daemon; `None` for this server, which can read its own configuration without a program.
    pub fn of(&self, owner: ConfigOwner) -> Option<(&PathBuf, &PathBuf)> {
        match owner {
            ConfigOwner::Ml => Some((&self.ml_file, &self.ml_program)),
            ConfigOwner::Monitor => Some((&self.monitor_file, &self.monitor_program)),
            ConfigOwner::Api => None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), BrokenRule> {
        for (path, key) in [
            (&self.ml_file, "configuration.ml_file"),
            (&self.ml_program, "configuration.ml_program"),
            (&self.monitor_file, "configuration.monitor_file"),
            (&self.monitor_program, "configuration.monitor_program"),
        ] {
            BrokenRule::unless(path.is_absolute(), key, "must be an absolute path")?;
        }
        BrokenRule::unless(self.backup_count <= 100, "configuration.backup_count", "must be at most 100")
    }
}
