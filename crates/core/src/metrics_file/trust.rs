//! Whether a file may steer this node: who could have written what is in it.
//!
//! The records of the exchange file end in changes made by root, so it counts only when nobody but root, the user
//! that reads it, or the one that the monitor runs as can have put them there. A file that fails is not read at all;
//! the reason is returned.
//!
//! ## What is asked
//!
//! 1. A regular file, owned by one of those ([`Believed`]), writable by nobody else. Group-writable is
//!    accepted where the group has the number of the owner, which is how distributions with a private group for
//!    each user create files.
//! 2. A directory in which nobody else can replace it: not writable by all unless sticky, as `/tmp` is.
//! 3. Where the name is a symbolic link, the same for the link and its directory. One link is followed and no more:
//!    the directory it leads to is the monitor's, and a program that runs as root opens nothing that somebody else
//!    points it at.
//! 4. A schema version that this program knows; a newer one may mean something else by the same names.
//!
//! The age of a record is for its reader to judge, who knows what for and has the clock.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::durable::directory_of;
use crate::snapshot::{SCHEMA_VERSION, Snapshot};
use crate::users;

/// The user that the shipped unit runs the monitor as.
pub const MONITOR_USER: &str = "lxc-monitor";

const STICKY: u32 = 0o1000;
const GROUP_WRITABLE: u32 = 0o020;
const ALL_WRITABLE: u32 = 0o002;

/// Why a file steers nothing.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// A directory, FIFO, device or socket stands in its place.
    #[error("it is not a regular file")]
    NotRegular,
    /// Somebody else owns it.
    #[error("it belongs to user {uid}, and must belong to {believed}")]
    Owner {
        /// Whom it belongs to.
        uid: u32,
        /// Whom it may belong to.
        believed: Believed,
    },
    /// Others may write to it.
    #[error("others may write to it (mode {:04o}); `chmod go-w` it", mode & 0o7777)]
    Writable {
        /// Its mode.
        mode: u32,
    },
    /// Others may replace it.
    #[error(
        "everybody may replace files in its directory `{}` (mode {:04o}); `chmod o-w` it, or keep the file elsewhere",
        directory.display(), mode & 0o7777
    )]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is a symbolic link that somebody else made.
    #[error("it is a symbolic link made by user {uid}")]
    Link {
        /// Who made it.
        uid: u32,
    },
    /// It is a symbolic link, and what that leads to is one, too.
    #[error("it is a symbolic link that leads to another one")]
    LinkToLink,
    /// It could not be looked at.
    #[error("its owner and mode cannot be read")]
    Unknown(#[from] io::Error),
}

/// Users whose files are believed: root, the one that the program runs as, and the one that the monitor runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    own_uid: u32,
    monitor: Option<String>,
}

impl Believed {
    /// Root and the user that this program runs as, and no other.
    pub fn own() -> Self {
        Self { own_uid: rustix::process::geteuid().as_raw(), monitor: None }
    }

    /// Those and the user with this name, whose number is looked up whenever it matters.
    #[must_use]
    pub fn and_monitor(self, name: impl Into<String>) -> Self {
        Self { monitor: Some(name.into()), ..self }
    }

    /// Whether a file is one of theirs.
    ///
    /// # Errors
    /// [`Distrust::Owner`] when it is not; [`Distrust::Unknown`] when the users of this machine cannot be read.
    pub fn check_owner(&self, metadata: &Metadata) -> Result<(), Distrust> {
        let uid = metadata.uid();
        if self.holds(uid)? { Ok(()) } else { Err(Distrust::Owner { uid, believed: self.clone() }) }
    }

    fn holds(&self, uid: u32) -> io::Result<bool> {
        if uid == 0 || uid == self.own_uid {
            return Ok(true);
        }
        let Some(name) = &self.monitor else { return Ok(false) };
        Ok(users::uid_of(name)? == Some(uid))
    }
}

impl Default for Believed {
    /// With the monitor's user of the shipped unit.
    fn default() -> Self {
        Self::own().and_monitor(MONITOR_USER)
    }
}

impl fmt::Display for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("root")?;
        if self.own_uid != 0 {
            write!(f, ", to user {}", self.own_uid)?;
        }
        let Some(name) = &self.monitor else { return Ok(()) };
        match users::uid_of(name) {
            Ok(Some(uid)) => write!(f, " or to the monitor's user `{name}` ({uid})"),
            Ok(None) => write!(f, " or to the monitor's user `{name}` (there is none of that name)"),
            Err(_) => write!(f, " or to the monitor's user `{name}`"),
        }
    }
}

/// Checks an open file.
///
/// # Errors
/// The first [`Distrust`] there is.
pub fn check_file(metadata: &Metadata, believed: &Believed) -> Result<(), Distrust> {
    if !metadata.is_file() {
        return Err(Distrust::NotRegular);
    }
    believed.check_owner(metadata)?;
    let has_private_group = metadata.gid() == metadata.uid();
    let forbidden = if has_private_group { ALL_WRITABLE } else { ALL_WRITABLE | GROUP_WRITABLE };
    if metadata.mode() & forbidden != 0 {
        return Err(Distrust::Writable { mode: metadata.mode() });
    }
    Ok(())
}

/// Checks the place of a file, which need not exist: the directory it is in and, where its name is a symbolic
/// link, the link and the directory it leads to. Returns where the file itself is.
///
/// # Errors
/// The first [`Distrust`] there is.
pub fn check_place(path: &Path, believed: &Believed) -> Result<PathBuf, Distrust> {
    check_directory(directory_of(path))?;
    match std::fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() => {
            let uid = link.uid();
            if !believed.holds(uid)? {
                return Err(Distrust::Link { uid });
            }
            let target = directory_of(path).join(std::fs::read_link(path)?);
            check_directory(directory_of(&target))?;
            match std::fs::symlink_metadata(&target) {
                Ok(found) if found.is_symlink() => Err(Distrust::LinkToLink),
                _ => Ok(target),
            }
        }
        _ => Ok(path.to_owned()),
    }
}

/// Whether a record has a layout that this program knows; says why not.
///
/// # Errors
/// What the record says its version is.
pub fn check_schema(snapshot: &Snapshot) -> Result<(), UnknownSchema> {
    match snapshot.summary.schema_version {
        Some(found) if SCHEMA_VERSION < found => Err(UnknownSchema { found }),
        _ => Ok(()),
    }
}

/// A record of a later program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its schema version is {found}, and this program knows versions up to {SCHEMA_VERSION}; update it")]
pub struct UnknownSchema {
    /// The version.
    pub found: u32,
}

fn check_directory(directory: &Path) -> Result<(), Distrust> {
    let mode = match std::fs::metadata(directory) {
        Ok(metadata) => metadata.mode(),
        // The file is not there either, and whoever opens it says so better.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if mode & ALL_WRITABLE != 0 && mode & STICKY == 0 {
        return Err(Distrust::Directory { directory: directory.to_owned(), mode });
    }
    Ok(())
}
