//! `pveum`: users, tokens, roles and access lists, as far as API tokens need them.

use crate::node::{NodeLayout, NodeSettings};
use crate::pve::Terminal;
use crate::pve::error::PctError;

use super::access::{Access, PRIVILEGES, SDN_USE};

/// Exit status of a Perl program that dies without an error number.
const DIED: u8 = 255;

/// Runs one call and returns its exit status.
pub fn run(layout: &NodeLayout, args: &[String], terminal: &mut Terminal<'_>) -> u8 {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let status = match act(layout, &words) {
        Ok(said) => write!(terminal.out, "{said}").map(|()| 0),
        Err(error) => terminal.err.write_all(error.report("").as_bytes()).map(|()| error.exit()),
    };
    // A reader that has gone cannot be told anything.
    status.unwrap_or(DIED)
}

/// Runs the command; returns its output.
fn act(layout: &NodeLayout, words: &[&str]) -> Result<String, PctError> {
    let mut access = Access::load(layout)?;
    let mut said = String::new();
    match words {
        ["user", "add", user, ..] => {
            if !access.add_user(user) {
                return Err(PctError::died(format!("create user failed: user '{user}' already exists")));
            }
        }
        ["user", "token", "add", user, name, options @ ..] => {
            if !access.has_user(user) {
                return Err(PctError::died(format!("no such user ('{user}')")));
            }
            let id = format!("{user}!{name}");
            let secret = secret()?;
            let separated = option(options, "privsep").is_none_or(|value| value != "0");
            if !access.add_token(&id, &secret, separated) {
                return Err(PctError::died("Token already exists."));
            }
            said = format!(
                "{{\"full-tokenid\":\"{id}\",\"info\":{{\"privsep\":\"{}\"}},\"value\":\"{secret}\"}}\n",
                u8::from(separated)
            );
        }
        ["role", verb @ ("add" | "modify"), role, options @ ..] => {
            let failed = |why: String| {
                let what = if *verb == "add" { "create" } else { "update" };
                Err(PctError::died(format!("{what} role failed: {why}")))
            };
            let privileges = option(options, "privs").unwrap_or_default();
            let names = || privileges.split([' ', ',']).filter(|name| !name.is_empty());
            let is_old = NodeSettings::load(layout)?.is_before((8, 0));
            let is_known = |name: &str| PRIVILEGES.contains(&name) && !(is_old && name == SDN_USE);
            if let Some(bad) = names().find(|name| !is_known(name)) {
                return failed(format!("invalid privilege '{bad}'"));
            }
            if *verb == "add" && !access.add_role(role, names()) {
                return failed(format!("role '{role}' already exists"));
            }
            let append = option(options, "append") == Some("1");
            if *verb == "modify" && !access.modify_role(role, names(), append) {
                return failed(format!("role '{role}' does not exist"));
            }
        }
        ["acl", "modify", path, options @ ..] => {
            let role = option(options, "roles").unwrap_or_default();
            if !access.has_role(role) {
                return Err(PctError::died(format!("ACL update failed: role '{role}' does not exist")));
            }
            let who = option(options, "users").or_else(|| option(options, "tokens"));
            let who = who.ok_or_else(|| PctError::died("ACL update failed: nobody is named"))?;
            access.grant(path, who, role);
        }
        _ => {
            return Err(PctError::died(
                "this node's pveum has `user add`, `user token add`, `role add`, `role modify`, `acl modify`",
            ));
        }
    }
    access.save(layout)?;
    Ok(said)
}

fn option<'a>(options: &[&'a str], name: &str) -> Option<&'a str> {
    let at = options.iter().position(|word| word.strip_prefix("--") == Some(name))?;
    options.get(at + 1).copied()
}

/// A random UUID, from the kernel.
fn secret() -> Result<String, PctError> {
    let path = std::path::Path::new("/proc/sys/kernel/random/uuid");
    Ok(crate::node::read_text(path)?.trim().to_owned())
}
