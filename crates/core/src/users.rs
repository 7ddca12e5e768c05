//! Users of this machine by name and number, from `/etc/passwd`.
//!
//! System users are listed there. Users of a directory service are not, but none of ours is one.

use std::fs;
use std::io;

const PASSWD: &str = "/etc/passwd";

/// The number of the user with this name; `None` if there is none.
///
/// # Errors
/// If the list of users cannot be read.
pub fn uid_of(name: &str) -> io::Result<Option<u32>> {
    Ok(uid_in(&fs::read_to_string(PASSWD)?, name))
}

/// The name of the user with this number; `None` if there is none.
///
/// # Errors
/// If the list of users cannot be read.
pub fn name_of(uid: u32) -> io::Result<Option<String>> {
    Ok(name_in(&fs::read_to_string(PASSWD)?, uid))
}

/// Whether a text can be the name of a user, so that it cannot forge a line or a field of the list.
pub fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    (1..=32).contains(&text.len()) && text.chars().all(is_part) && !text.starts_with(['-', '.'])
}

fn uid_in(passwd: &str, name: &str) -> Option<u32> {
    entries(passwd).find(|(found, _)| *found == name).map(|(_, uid)| uid)
}

fn name_in(passwd: &str, uid: u32) -> Option<String> {
    entries(passwd).find(|(_, found)| *found == uid).map(|(name, _)| name.to_owned())
}

/// Names and numbers of the valid lines.
fn entries(passwd: &str) -> impl Iterator<Item = (&str, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?);
        Some((name, uid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n\
                        +::::::\ntwin:x:1000:1000::/:/bin/sh\n";

    #[test]
    fn a_user_has_a_name_and_a_number() {
        for (name, uid) in [("root", Some(0)), ("alice", Some(1000)), ("twin", Some(1000)), ("broken", None)]
        {
            assert_eq!(uid_in(LIST, name), uid, "{name}");
        }
        for (uid, name) in [(0, Some("root")), (1000, Some("alice")), (7, None)] {
            assert_eq!(name_in(LIST, uid).as_deref(), name, "{uid}");
        }
    }

    #[test]
    fn this_machine_has_a_root() {
        assert_eq!(uid_of("root").unwrap(), Some(0));
        assert_eq!(name_of(0).unwrap().as_deref(), Some("root"));
    }

    #[test]
    fn a_name_is_one_word_of_a_list_of_users() {
        for name in ["root", "lxc-monitor", "_apt", "alice.b", "machine$"] {
            assert!(is_name(name), "{name}");
        }
        for text in ["", "a:b", "a b", "a\nroot", "-x", "0123456789012345678901234567890123"] {
            assert!(!is_name(text), "{text:?}");
        }
    }
}
