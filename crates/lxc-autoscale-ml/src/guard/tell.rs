//! Notifies people of the guards' findings through the notification queue.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lxc_autoscale_core::RecordTime;
use lxc_autoscale_core::notification::{Kind, Notification, NotificationId, Severity, Source};

use super::NewLeak;

/// The notification about a leak noticed at `now`.
pub fn of_leak(new: &NewLeak, now: Timestamp) -> Notification {
    let (time, leak) = (RecordTime::utc(now), &new.leak);
    let name = new.name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let hours = leak.full_at.duration_since(now).as_secs_f64().max(0.0) / 3600.0;
    let full = leak.full_at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let details = BTreeMap::from([
        ("finding".to_owned(), "leak".into()),
        ("mib_per_hour".to_owned(), leak.mib_per_hour.into()),
        ("working_set_mib".to_owned(), leak.level_mib.into()),
        ("memory_mib".to_owned(), leak.size_mib.into()),
        ("full_at".to_owned(), leak.full_at.to_string().into()),
    ]);
    Notification {
        id: NotificationId::new(time),
        time,
        source: Source::Ml,
        severity: Severity::Warning,
        kind: Kind::Event,
        container: Some(new.id),
        title: format!("{}{name}: memory leaks, full in {hours:.0} h", new.id),
        text: format!(
            "The working set of container {}{name} grows by {:.1} MiB per hour and never comes back; it holds \
             {:.0} of {:.0} MiB and will be full at {full}. It is given little more meanwhile: a leak that is \
             fed ends with all memory of the node in it. Restart what leaks, or set its memory by hand.",
            new.id, leak.mib_per_hour, leak.level_mib, leak.size_mib
        ),
        details,
    }
}
