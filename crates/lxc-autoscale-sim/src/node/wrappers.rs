//! The commands that daemons find on their `PATH`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::files::write_atomically;
use super::{NodeError, NodeLayout};

/// Writes `pct`, `pvesh` and `pveum` into `bin`: scripts that run this program on the node.
///
/// # Errors
/// [`NodeError::File`] if a script cannot be written, or the path of this program is not known.
pub fn write_wrappers(layout: &NodeLayout, bin: &Path) -> Result<(), NodeError> {
    let program = std::env::current_exe().map_err(NodeError::file("find", Path::new("lxc-autoscale-sim")))?;
    write_wrappers_for(&program, layout, bin)
}

/// [`write_wrappers`] for a program other than the running one.
///
/// # Errors
/// [`NodeError::File`] if a script cannot be written.
pub fn write_wrappers_for(program: &Path, layout: &NodeLayout, bin: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(bin).map_err(NodeError::file("create", bin))?;
    let root = std::path::absolute(layout.root()).map_err(NodeError::file("resolve", layout.root()))?;
    for name in ["pct", "pvesh", "pveum"] {
        let path = bin.join(name);
        let script = format!(
            "#!/bin/sh\nexec {} --node {} {name} \"$@\"\n",
            quoted(&program.to_string_lossy()),
            quoted(&root.to_string_lossy())
        );
        write_atomically(&path, &script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(NodeError::file("change", &path))?;
    }
    Ok(())
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
