//! As whom the service runs, to look at what it may do: a shell of root may do more.

use std::fs;
use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::unit::Unit;
use crate::users;

/// Another user than the one this runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUser {
    /// The user.
    pub uid: u32,
    /// The main group.
    pub gid: u32,
    /// The other groups.
    pub groups: Vec<u32>,
}

impl ServiceUser {
    /// Does something as this user, on a thread of its own, which ends with it. Only root can.
    ///
    /// # Errors
    /// That of `what`, or of becoming the user.
    pub fn look<T: Send>(&self, what: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let looked = std::thread::scope(|scope| scope.spawn(|| self.be().and_then(|()| what())).join());
        looked.unwrap_or_else(|_| Err(io::Error::other("the look at it crashed")))
    }

    /// Makes the calling thread this user's; there is no way back.
    fn be(&self) -> io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        set_thread_groups(&groups)?;
        set_thread_gid(Gid::from_raw(self.gid))?;
        Ok(set_thread_uid(Uid::from_raw(self.uid))?)
    }
}

/// The user that the unit runs the service as, with its groups; `None` if that is the user who asks, as far as known.
/// Only root can look as somebody else.
pub fn user_of(unit: &Unit) -> Option<ServiceUser> {
    let name = unit.user().filter(|_| rustix::process::geteuid().is_root())?;
    let uid = users::uid_of(name).ok().flatten()?;
    let (passwd, groups) = (fs::read_to_string("/etc/passwd").ok()?, fs::read_to_string("/etc/group").ok()?);
    let main = unit.group().map_or_else(|| main_group_in(&passwd, name), |group| group_in(&groups, group))?;
    let more = unit.more_groups().iter().filter_map(|group| group_in(&groups, group));
    Some(ServiceUser { uid, gid: main, groups: more.chain(groups_with(&groups, name)).collect() })
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
