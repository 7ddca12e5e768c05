//! Who runs this program, as the ledger keeps it.

use std::env;
use std::fs;

/// `alice (uid 1000)`, or `root (uid 0, sudo by alice)`.
///
/// The user id is the kernel's word; what `sudo` says in the environment is a hint, and marked as one.
pub fn caller() -> String {
    let uid = rustix::process::getuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let sudo = env::var("SUDO_USER").ok().filter(|name| !name.is_empty());
    describe(uid, name_in(&passwd, uid).as_deref(), sudo.as_deref())
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
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
        let passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(passwd, 7), None);
        assert_eq!(describe(1000, Some("alice"), None), "alice (uid 1000)");
        assert_eq!(describe(0, Some("root"), Some("bob\n")), "root (uid 0, sudo by bob)");
        assert_eq!(describe(7, None, None), "unnamed user (uid 7)");
    }
}
