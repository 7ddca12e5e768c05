//! Notifications for people, and the queue in which they wait to be sent.
//!
//! The daemon that notices something never sends it itself, because a mail server that does not respond must not
//! delay a cycle. It puts a [`Notification`] into the [`Queue`], a directory with one file per notification, and
//! continues; the sender takes them from there in order. All daemons may put notifications at the same time; only one
//! consumer takes them.
//!
//! ## Guarantees
//!
//! A notification is either complete and durable in the queue or not there at all: it is written under a hidden name,
//! made durable, and renamed in one step. Putting the same one twice has the same effect as putting it once, so a
//! producer that was killed in between simply repeats. A notification that was taken stays until it is acknowledged,
//! so a consumer that was killed takes it again. Each is therefore delivered **at least once**, unless the queue is
//! full; then the oldest are dropped and counted.

mod config;
mod queue;

use std::collections::BTreeMap;
use std::fmt;
use std::process;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

pub use config::QueueConfig;
pub use queue::{Consumer, Limits, Pending, Put, Queue, QueueError, Unreadable};

use crate::{RecordTime, Vmid};

/// One notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Its name in the queue, which sorts by time.
    pub id: NotificationId,
    /// When it happened.
    pub time: RecordTime,
    /// The daemon that noticed it.
    pub source: Source,
    /// How urgent it is.
    pub severity: Severity,
    /// What it is about.
    pub kind: Kind,
    /// The container; absent if it is about the node or the product itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Vmid>,
    /// One line, for a subject or a push message.
    pub title: String,
    /// The whole text, for humans.
    pub text: String,
    /// The same information for programs, such as `rule`, `metric` and `value`; the names depend on the kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// The daemon that noticed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The monitor.
    #[serde(rename = "lxc-monitor")]
    Monitor,
    /// The daemon that learns and decides.
    #[serde(rename = "lxc-autoscale-ml")]
    Ml,
    /// The daemon that changes containers.
    #[serde(rename = "lxc-autoscale-api")]
    Api,
}

/// The urgency, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For information.
    Info,
    /// Needs attention.
    Warning,
    /// Needs attention at once.
    Critical,
}

/// The kind of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An alert has started.
    Fired,
    /// An alert has ended.
    Cleared,
    /// An event without an end of its own, such as a change of a container.
    Event,
}

/// Unique name of a notification: the time in microseconds since 1970, the process, and a number within the process.
///
/// All three have a fixed width, so ids sort by time as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NotificationId(String);

/// A text that is not the id of a notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` does not name a notification")]
pub struct InvalidNotificationId {
    text: String,
}

/// Number of digits of the time, of the process and of the number.
const ID_WIDTHS: [usize; 3] = [17, 10, 10];

impl Source {
    /// The program's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "lxc-monitor",
            Self::Ml => "lxc-autoscale-ml",
            Self::Api => "lxc-autoscale-api",
        }
    }
}

impl Severity {
    /// Its name, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl NotificationId {
    /// A new id for something that happened at `time`.
    pub fn new(time: RecordTime) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let micros = time.instant().as_microsecond().max(0);
        let [time_width, process_width, number_width] = ID_WIDTHS;
        Self(format!("{micros:0time_width$}-{:0process_width$}-{number:0number_width$}", process::id()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NotificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for NotificationId {
    type Err = InvalidNotificationId;

    fn from_str(text: &str) -> Result<Self, InvalidNotificationId> {
        let parts: Vec<&str> = text.split('-').collect();
        let is_id = parts.len() == ID_WIDTHS.len()
            && parts
                .iter()
                .zip(ID_WIDTHS)
                .all(|(part, width)| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()));
        if is_id {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidNotificationId { text: text.chars().take(60).collect() })
        }
    }
}

impl TryFrom<String> for NotificationId {
    type Error = InvalidNotificationId;

    fn try_from(text: String) -> Result<Self, InvalidNotificationId> {
        text.parse()
    }
}

impl From<NotificationId> for String {
    fn from(id: NotificationId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_at(time: &str) -> NotificationId {
        NotificationId::new(time.parse().unwrap())
    }

    #[test]
    fn ids_sort_by_time_and_never_repeat() {
        let ids = [
            id_at("1970-01-01T00:00:00Z"),
            id_at("2026-11-23T17:20:00.5Z"),
            id_at("2026-11-23T17:20:00.5Z"),
            id_at("2026-11-23T19:20:01+01:00"),
            id_at("2526-11-23T17:20:00Z"),
        ];
        assert!(ids.is_sorted_by(|earlier, later| earlier < later), "{ids:?}");
        for id in ids {
            assert_eq!(id.as_str().parse(), Ok(id));
        }
    }

    #[test]
    fn only_what_was_made_here_is_an_id() {
        let id = id_at("2026-11-23T17:20:00Z");
        let text = id.as_str();
        for bad in ["", "..", "../x", &text[1..], &format!("{text}0"), &text.replace('-', "/"), "1-2-3", "--"]
        {
            assert!(bad.parse::<NotificationId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_file_format_is_this() {
        let text = r#"{"id":"01795454400500000-0000000077-0000000003","time":"2026-11-23T17:20:00.5+01:00",
            "source":"lxc-monitor","severity":"critical","kind":"fired","container":104,
            "title":"104 web: rootfs 98 %","text":"…","details":{"rule":"rootfs","value":98.0}}"#;
        let notification: Notification = serde_json::from_str(text).unwrap();
        assert_eq!(notification.severity, Severity::Critical);
        assert_eq!(notification.details["value"], 98.0);
        let again = serde_json::to_value(&notification).unwrap();
        assert_eq!(again, serde_json::from_str::<serde_json::Value>(text).unwrap());
    }
}
