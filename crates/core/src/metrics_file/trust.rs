//! Decides whether a file may control this node, by who could have written its content.
//!
//! The records of the exchange file lead to changes made by root. So it is trusted only if nobody but root, the user
//! that reads it, and the user that the monitor runs as could have written them. A file that fails the checks is not
//! read at all, and the reason is returned.
//!
//! ## The checks
//!
//! 1. The file is regular, owned by one of these users ([`Believed`]), and writable by nobody else. It may be
//!    group-writable if the group has the same number as the owner, which is how distributions with a private group
//!    for each user create files.
//! 2. Nobody else can replace it in its directory, which is not writable by all unless it is sticky, as `/tmp` is.
//! 3. If the name is a symbolic link, the same holds for the link and its directory. Only one link is followed: the
//!    directory it leads to belongs to the monitor, and a program that runs as root must not open what somebody else
//!    points it at.
//! 4. The schema version is known to this program; in a newer one, the same names may mean something else.
//!
//! The age of a record is judged by its reader, which knows its purpose and has a clock.

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

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// It is a directory, FIFO, device or socket.
    #[error("it is not a regular file")]
    NotRegular,
    /// Another user owns it.
    #[error("it belongs to user {uid}, and must belong to {believed}")]
    Owner {
        /// Its owner.
        uid: u32,
        /// The permitted owners.
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
    /// It is a symbolic link that another user made.
    #[error("it is a symbolic link made by user {uid}")]
    Link {
        /// Who made it.
        uid: u32,
    },
    /// It is a symbolic link to another symbolic link.
    #[error("it is a symbolic link that leads to another one")]
    LinkToLink,
    /// Its owner and mode could not be read.
    #[error("its owner and mode cannot be read")]
    Unknown(#[from] io::Error),
}

/// Users whose files are trusted: root, the user this program runs as, and the user the monitor runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Believed {
    own_uid: u32,
    monitor: Option<String>,
}

impl Believed {
    /// Only root and the user that this program runs as.
    pub fn own() -> Self {
        Self { own_uid: rustix::process::geteuid().as_raw(), monitor: None }
    }

    /// These and the user with this name, whose number is looked up each time it is needed.
    #[must_use]
    pub fn and_monitor(self, name: impl Into<String>) -> Self {
        Self { monitor: Some(name.into()), ..self }
    }

    /// Checks that a file belongs to one of them.
    ///
    /// # Errors
    /// [`Distrust::Owner`] if it does not; [`Distrust::Unknown`] if the users of this machine cannot be read.
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
    /// Includes the monitor's user of the shipped unit.
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
/// The first [`Distrust`] found.
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

/// Checks the location of a file, which need not exist: its directory and, if its name is a symbolic link, the link
/// and the directory it leads to. Returns the path of the file itself.
///
/// # Errors
/// The first [`Distrust`] found.
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

/// Checks that the layout of a record is known to this program.
///
/// # Errors
/// The version stated in the record.
pub fn check_schema(snapshot: &Snapshot) -> Result<(), UnknownSchema> {
    match snapshot.summary.schema_version {
        Some(found) if SCHEMA_VERSION < found => Err(UnknownSchema { found }),
        _ => Ok(()),
    }
}

/// A record of a newer program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its schema version is {found}, and this program knows versions up to {SCHEMA_VERSION}; update it")]
pub struct UnknownSchema {
    /// The version.
    pub found: u32,
}

fn check_directory(directory: &Path) -> Result<(), Distrust> {
    let mode = match std::fs::metadata(directory) {
        Ok(metadata) => metadata.mode(),
        // Then the file does not exist either, and whoever opens it reports that better.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if mode & ALL_WRITABLE != 0 && mode & STICKY == 0 {
        return Err(Distrust::Directory { directory: directory.to_owned(), mode });
    }
    Ok(())
}
