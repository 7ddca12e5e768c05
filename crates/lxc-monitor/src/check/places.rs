//! Whether the monitor can write what it keeps: looked at as the user that its unit runs it as, and without making
//! anything.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use lxc_autoscale_core::regular_file;
use lxc_autoscale_core::service_user::{ServiceUser, user_of};
use lxc_autoscale_core::unit::Unit;
use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use rustix::io::Errno;

use super::Probe;
use crate::config::MonitorConfig;

const NAME: &str = "own files";
/// Where the monitor is installed as a service; elsewhere it runs as whoever starts it.
const UNIT: &str = "/etc/systemd/system/lxc_monitor.service";

/// What is kept at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A file that is written to.
    File,
    /// A file that is replaced as a whole.
    Replaced,
    /// A directory of files.
    Directory,
}

struct Place<'a> {
    what: &'static str,
    key: &'static str,
    path: &'a Path,
    kind: Kind,
    /// What comes of it when it cannot be written.
    otherwise: &'static str,
}

/// A place that cannot be written.
#[derive(Debug)]
enum Trouble {
    /// The directory that is to hold it is not there, and this user cannot make it.
    NoDirectory(PathBuf),
    Other(io::Error),
}

impl From<Errno> for Trouble {
    fn from(error: Errno) -> Self {
        Self::Other(error.into())
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Other(error)
    }
}

/// A line for each place that cannot be written, or one for all of them.
pub(super) fn probes(config: &MonitorConfig) -> Vec<Probe> {
    of(config, user_of(&Unit::read(Path::new(UNIT))).as_ref())
}

fn of(config: &MonitorConfig, user: Option<&ServiceUser>) -> Vec<Probe> {
    let places = places(config);
    let troubles: Vec<Probe> = places
        .iter()
        .filter_map(|place| look_as(place, user).err().map(|trouble| said(place, &trouble, user)))
        .collect();
    if troubles.is_empty() {
        let names: Vec<_> = places.iter().map(|place| place.what).collect();
        return vec![Probe::ok(NAME, format!("{} can be written", names.join(", ")))];
    }
    troubles
}

/// What the monitor keeps, with these settings, besides the metrics file.
fn places(config: &MonitorConfig) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    if config.alerts.enabled {
        places.push(Place {
            what: "the alerts' state",
            key: "alerts.state_file",
            path: &config.alerts.state_file,
            kind: Kind::Replaced,
            otherwise: "alerts may fire again after a restart",
        });
    }
    if config.notifications.queue().is_some() {
        places.push(Place {
            what: "the notifications",
            key: "notifications.directory",
            path: &config.notifications.directory,
            kind: Kind::Directory,
            otherwise: "nobody is told of alerts",
        });
    }
    if config.anomaly.enabled {
        places.push(Place {
            what: "what is usual",
            key: "anomaly.state_file",
            path: &config.anomaly.state_file,
            kind: Kind::Replaced,
            otherwise: "what is usual is learned anew after a restart",
        });
    }
    if config.history.enabled {
        places.push(Place {
            what: "the history",
            key: "history.file",
            path: &config.history.file,
            kind: Kind::File,
            otherwise: "there is no history",
        });
    }
    if !config.logging.file.as_os_str().is_empty() {
        places.push(Place {
            what: "the log",
            key: "logging.file",
            path: &config.logging.file,
            kind: Kind::File,
            otherwise: "the log is in the journal only",
        });
    }
    places
}

fn said(place: &Place<'_>, trouble: &Trouble, user: Option<&ServiceUser>) -> Probe {
    let shown = place.path.display();
    let whose =
        user.map_or("the monitor's user".to_owned(), |user| format!("the monitor's user ({})", user.uid));
    match trouble {
        // The unit's `StateDirectory` is made when it starts for the first time.
        Trouble::NoDirectory(directory) => Probe::note(
            NAME,
            format!("there is no `{}` yet for {}, `{shown}`", directory.display(), place.what),
            format!(
                "nothing, if it is the unit's own directory and the monitor has not run yet; otherwise make it for {whose}"
            ),
        ),
        Trouble::Other(error) => Probe::bad(
            NAME,
            format!("{}, `{shown}`, cannot be written: {error}; {}", place.what, place.otherwise),
            match Errno::from_io_error(error) {
                Some(Errno::NOSPC) => format!("make room there, or set `{}`", place.key),
                _ => format!(
                    "let {whose} write there (outside of the unit's own directories also in `ReadWritePaths=`), or set `{}`",
                    place.key
                ),
            },
        ),
    }
}

fn look_as(place: &Place<'_>, user: Option<&ServiceUser>) -> Result<(), Trouble> {
    match user {
        Some(user) => user.look(|| Ok(look(place.path, place.kind)))?,
        None => look(place.path, place.kind),
    }
}

fn look(path: &Path, kind: Kind) -> Result<(), Trouble> {
    // Where the file is, if its name is a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let found = match fs::metadata(&path) {
        Ok(found) => Some(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
    let directory = match (&found, kind) {
        (Some(found), Kind::Directory) if !found.is_dir() => return Err(Errno::NOTDIR.into()),
        (Some(_), Kind::Directory) => path,
        (Some(found), Kind::File | Kind::Replaced) if found.is_dir() => return Err(Errno::ISDIR.into()),
        (Some(_), Kind::File) => {
            drop(regular_file::open(File::options().append(true), &path)?);
            parent
        }
        (Some(_), Kind::Replaced) | (None, _) => parent,
    };
    let Some(existing) = directory.ancestors().find(|ancestor| ancestor.exists()) else {
        return Err(Errno::NOENT.into());
    };
    let may = accessat(CWD, existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    if existing != directory && may == Err(Errno::ACCESS) {
        return Err(Trouble::NoDirectory(directory));
    }
    may?;
    Ok(has_room(existing)?)
}

fn has_room(directory: &Path) -> io::Result<()> {
    let found = statvfs(directory)?;
    // A part is kept for root. A file system that tells no size tells no room either.
    let free = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    if 0 < found.f_blocks && free == 0 { Err(Errno::NOSPC.into()) } else { Ok(()) }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
