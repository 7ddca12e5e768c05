//! As whom the service runs, to look at what it may do: a shell of root may do more.

use std::fs;

use lxc_autoscale_core::users;

use crate::audit::Other;
use crate::unit::Unit;

/// The user that the unit runs the service as, with its groups; `None` if that is the user who asks, as far as known.
/// Only root can look as somebody else.
pub(super) fn user_of(unit: &Unit) -> Option<Other> {
    let name = unit.user().filter(|_| rustix::process::geteuid().is_root())?;
    let uid = users::uid_of(name).ok().flatten()?;
    let (passwd, groups) = (fs::read_to_string("/etc/passwd").ok()?, fs::read_to_string("/etc/group").ok()?);
    let main = unit.group().map_or_else(|| main_group_in(&passwd, name), |group| group_in(&groups, group))?;
    let more = unit.more_groups().iter().filter_map(|group| group_in(&groups, group));
    Some(Other { uid, gid: main, groups: more.chain(groups_with(&groups, name)).collect() })
}

/// The group of a user in the list of users.
fn main_group_in(passwd: &str, user: &str) -> Option<u32> {
    rows(passwd).find(|row| row.first() == Some(&user))?.get(3)?.parse().ok()
}

/// The number of a group in the list of groups, by its name or as a number.
fn group_in(groups: &str, name: &str) -> Option<u32> {
    let named = rows(groups).find(|row| row.first() == Some(&name)).and_then(|row| row.get(2)?.parse().ok());
    named.or_else(|| name.parse().ok())
}

/// The groups that list a user as their member.
fn groups_with<'a>(groups: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    rows(groups).filter_map(move |row| {
        let is_member = row.get(3)?.split(',').any(|member| member == user);
        row.get(2)?.parse().ok().filter(|_| is_member)
    })
}

fn rows(list: &str) -> impl Iterator<Item = Vec<&str>> {
    list.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_number_and_member() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\napi:x:901:902::/:/bin/false\n";
        let groups = "root:x:0:\nlxc-autoscale:x:77:api,ml\nwww-data:x:33:ml\nlogs:x:88:api\nbroken\n";
        assert_eq!((main_group_in(passwd, "api"), main_group_in(passwd, "nobody")), (Some(902), None));
        assert_eq!(["www-data", "12", "none"].map(|name| group_in(groups, name)), [Some(33), Some(12), None]);
        assert_eq!(groups_with(groups, "api").collect::<Vec<_>>(), [77, 88]);
    }
}
