//! The configurations of a node's containers.

use std::fs;
use std::io::{self, Write};

use lxc_autoscale_core::Vmid;

use super::config::{GuestConfig, digest};
use super::error::PctError;
use crate::node::{NodeError, NodeLayout, write_atomically};

/// A configuration that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its content.
    pub config: GuestConfig,
    /// The digest of the file.
    pub digest: String,
}

/// The configurations of a node's containers.
#[derive(Clone, Debug)]
pub struct ConfigStore {
    layout: NodeLayout,
    node: String,
}

impl ConfigStore {
    /// The store of the node with this name.
    pub fn new(layout: &NodeLayout, node: &str) -> Self {
        Self { layout: layout.clone(), node: node.to_owned() }
    }

    /// The containers that have a configuration, lowest id first.
    ///
    /// # Errors
    /// [`NodeError::File`] if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<Vmid>, NodeError> {
        let path = self.layout.configs();
        let entries = fs::read_dir(&path).map_err(NodeError::file("read", &path))?;
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(NodeError::file("read", &path))?.file_name();
            ids.extend(name.to_str().and_then(Vmid::from_config_file_name));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Whether the container has a configuration.
    pub fn contains(&self, id: Vmid) -> bool {
        self.layout.config(id).is_file()
    }

    /// Reads a configuration, and warns about lines that cannot be parsed.
    ///
    /// # Errors
    /// Proxmox's text if there is none.
    pub fn load(&self, id: Vmid, warnings: &mut dyn Write) -> Result<Loaded, PctError> {
        let path = self.layout.config(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.missing(id)),
            Err(error) => return Err(NodeError::file("read", &path)(error).into()),
        };
        let (config, dropped) = GuestConfig::parse(&String::from_utf8_lossy(&bytes));
        for line in dropped {
            writeln!(warnings, "vm {id} - {line}")?;
        }
        Ok(Loaded { config, digest: digest(&bytes) })
    }

    /// Writes a configuration.
    ///
    /// # Errors
    /// [`NodeError::File`] if the file cannot be written.
    pub fn save(&self, id: Vmid, config: &GuestConfig) -> Result<(), NodeError> {
        write_atomically(&self.layout.config(id), &config.write())
    }

    /// Removes a configuration.
    ///
    /// # Errors
    /// [`NodeError::File`] if the file cannot be removed.
    pub fn remove(&self, id: Vmid) -> Result<(), NodeError> {
        let path = self.layout.config(id);
        fs::remove_file(&path).map_err(NodeError::file("remove", &path))
    }

    fn missing(&self, id: Vmid) -> PctError {
        PctError::died_without_file(format!(
            "Configuration file 'nodes/{}/lxc/{id}.conf' does not exist",
            self.node
        ))
    }
}
