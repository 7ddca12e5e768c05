//! The user of this program, as stored in the ledger.

use std::env;

use lxc_autoscale_core::users;

/// `alice (uid 1000)`, or `root (uid 0, sudo by alice)`.
///
/// The user id comes from the kernel; what `sudo` puts into the environment is a hint, and marked as one.
pub fn caller() -> String {
    let uid = rustix::process::getuid().as_raw();
    let name = users::name_of(uid).ok().flatten();
    let sudo = env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    describe(uid, name.as_deref(), sudo.as_deref())
}

fn describe(uid: u32, name: Option<&str>, sudo: Option<&str>) -> String {
    let name = name.unwrap_or("unnamed user");
    match sudo {
        // The name comes from the environment, and may be anything.
        Some(sudo) => {
            let sudo: String = sudo.chars().filter(|c| !c.is_control()).take(32).collect();
            format!("{name} (uid {uid}, sudo by {sudo})")
        }
        None => format!("{name} (uid {uid})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_and_a_number() {
        assert_eq!(describe(1000, Some("alice"), None), "alice (uid 1000)");
        assert_eq!(describe(0, Some("root"), Some("bob\n")), "root (uid 0, sudo by bob)");
        assert_eq!(describe(7, None, None), "unnamed user (uid 7)");
    }
}
