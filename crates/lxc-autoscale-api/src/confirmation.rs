//! Confirmations of changes that cannot be undone, which prove that the caller has seen what will be lost.
//!
//! The first request is answered with what would be lost and with a confirmation, which the second request must
//! contain. A confirmation is valid for a minute, for the same caller, and for the container as it was: its whole
//! configuration, including the parts that were not shown. It is computed from a secret of this process, so nobody
//! else can make one, and the server stores none.

use std::io;
use std::sync::OnceLock;

use jiff::{SignedDuration, Timestamp};
use lxc_autoscale_core::Vmid;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::auth::caller::Identity;
use crate::auth::keys::{hex, random};
use crate::backend::Stored;

/// How long a confirmation is valid.
pub const LIFETIME: SignedDuration = SignedDuration::from_secs(60);

/// Issues and checks confirmations.
#[derive(Debug, Default)]
pub struct Confirmations {
    secret: OnceLock<[u8; 32]>,
}

/// What is to be confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Who asks.
    pub caller: &'a Identity,
    /// The container to be removed.
    pub vmid: Vmid,
    /// The state of the container as stored by Proxmox.
    pub stored: &'a Stored,
}

impl Confirmations {
    /// A confirmation that is valid until `expires`.
    ///
    /// # Errors
    /// If the kernel provides no random bytes.
    pub fn issue(&self, subject: &Subject<'_>, expires: Timestamp) -> io::Result<String> {
        Ok(format!("{}-{}", expires.as_second(), self.seal(subject, expires.as_second())?))
    }

    /// Whether this is a valid confirmation of `subject`.
    ///
    /// # Errors
    /// If the kernel provides no random bytes.
    pub fn holds(&self, confirmation: &str, subject: &Subject<'_>, now: Timestamp) -> io::Result<bool> {
        let Some((expires, seal)) = confirmation.split_once('-') else { return Ok(false) };
        let Ok(expires) = expires.parse::<i64>() else { return Ok(false) };
        // The seal also covers the time; if the clock was set back, the confirmation must not last longer.
        let is_in_time =
            (now.as_second()..=now.as_second().saturating_add(LIFETIME.as_secs())).contains(&expires);
        let known = self.seal(subject, expires)?;
        Ok(is_in_time && bool::from(known.as_bytes().ct_eq(seal.as_bytes())))
    }

    fn seal(&self, subject: &Subject<'_>, expires: i64) -> io::Result<String> {
        let Subject { caller, vmid, stored } = *subject;
        // The digest covers the whole configuration, and so what the identity and the rest are made of.
        let Stored { config, parent, snapshots, volumes, digest, home, .. } = stored;
        let secret = if let Some(secret) = self.secret.get() {
            secret
        } else {
            let fresh = random()?;
            self.secret.get_or_init(|| fresh)
        };
        let shown = (config, parent, snapshots, volumes, digest, home);
        // A key that was made again under its old name is another caller.
        let made = match caller {
            Identity::Key { made, .. } => Some(made),
            Identity::User(_) | Identity::Server => None,
        };
        let text = serde_json::to_string(&(caller.to_string(), made, vmid, expires, shown))?;
        // Only half of the hash: with the other half unknown, nobody can extend the hashed text.
        let hash = Sha256::new().chain_update(secret).chain_update(text).finalize();
        Ok(hex(&hash[..16]))
    }
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::container_config::ContainerConfig;

    use super::*;
    use crate::backend::ContainerIdentity;

    fn stored(text: &str) -> Stored {
        Stored {
            config: ContainerConfig::parse(text).0,
            parent: None,
            snapshots: vec!["before".to_owned()],
            incomplete: std::collections::BTreeMap::new(),
            notes: None,
            volumes: vec![],
            digest: text.to_owned(),
            home: String::new(),
            identity: ContainerIdentity::default(),
        }
    }

    #[test]
    fn a_confirmation_is_for_who_asked_what_was_shown_and_a_minute() {
        let confirmations = Confirmations::default();
        let root = Identity::User(0);
        let [key, made_again] = [1, 2].map(|made| Identity::Key {
            name: "backup".to_owned(),
            made: Timestamp::from_second(made).unwrap(),
        });
        let (vmid, other) = (Vmid::try_from(104).unwrap(), Vmid::try_from(105).unwrap());
        let (shown, changed) = (stored("hostname: mail\n"), stored("hostname: web\n"));
        let more = Stored { snapshots: vec![], ..shown.clone() };
        let other_disk = Stored { digest: "another".to_owned(), ..shown.clone() };
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let subject = Subject { caller: &root, vmid, stored: &shown };
        let given = confirmations.issue(&subject, now + LIFETIME).unwrap();
        let holds = |confirmation: &str, subject: &Subject<'_>, seconds: i64| {
            confirmations.holds(confirmation, subject, now + SignedDuration::from_secs(seconds)).unwrap()
        };
        for (seconds, want) in [(-1, false), (0, true), (60, true), (61, false)] {
            assert_eq!(holds(&given, &subject, seconds), want, "{seconds} s later");
        }
        for subject in [
            Subject { caller: &key, ..subject },
            Subject { vmid: other, ..subject },
            Subject { stored: &changed, ..subject },
            Subject { stored: &more, ..subject },
            Subject { stored: &other_disk, ..subject },
        ] {
            assert!(!holds(&given, &subject, 0), "{subject:?}");
        }
        let by_key = Subject { caller: &key, ..subject };
        let given_to_key = confirmations.issue(&by_key, now + LIFETIME).unwrap();
        assert!(holds(&given_to_key, &by_key, 0));
        assert!(!holds(&given_to_key, &Subject { caller: &made_again, ..subject }, 0));
        let (time, seal) = given.split_once('-').unwrap();
        let later = time.parse::<i64>().unwrap() + 30;
        for made_up in
            [String::new(), "-".to_owned(), format!("{later}-{seal}"), format!("{time}-"), seal.to_owned()]
        {
            assert!(!holds(&made_up, &subject, 30), "{made_up}");
        }
        assert!(!Confirmations::default().holds(&given, &subject, now).unwrap(), "of another process");
    }
}
