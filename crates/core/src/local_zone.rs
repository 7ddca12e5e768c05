//! The time zone of this machine.
//!
//! The library's own look-up reads and keeps the names of all six hundred zones to find this one, which takes a sixth
//! of a MiB in each daemon for a single offset.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

/// The time zone set by the administrator, in the format of tzfile(5); usually a link to one of the system's files.
const LOCAL_TIME: &str = "/etc/localtime";
/// A change takes effect after this time, without a restart.
const READ_AGAIN: Duration = Duration::from_mins(5);

static KNOWN: Mutex<Option<(Instant, TimeZone)>> = Mutex::new(None);

/// The time zone of this machine, or the one named by `TZ`, as in the C library; UTC if there is none.
pub fn local_zone() -> TimeZone {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    if let Some((read, zone)) = &*known
        && now.duration_since(*read) < READ_AGAIN
    {
        return zone.clone();
    }
    let is_named = std::env::var_os("TZ").is_some();
    let stored = if is_named { None } else { fs::read(LOCAL_TIME).ok() };
    let zone = stored.and_then(|tzfile| TimeZone::tzif("", &tzfile).ok()).unwrap_or_else(TimeZone::system);
    *known = Some((now, zone.clone()));
    zone
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn it_has_the_offsets_that_the_library_finds_by_name() {
        let (own, named) = (local_zone(), TimeZone::system());
        for second in (-2_000_000_000..4_000_000_000).step_by(86_400 * 50) {
            let at = Timestamp::from_second(second).unwrap();
            assert_eq!(own.to_offset(at), named.to_offset(at), "{at}");
        }
    }
}
