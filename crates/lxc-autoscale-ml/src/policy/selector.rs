//! Which containers a policy applies to.

use std::fmt;

use lxc_autoscale_core::Vmid;
use lxc_autoscale_core::container_config::has_tag;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The pool of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pool {
    /// It could not be read yet.
    #[default]
    Unknown,
    /// It is in none.
    None,
    /// It is in this one.
    In(String),
}

impl Pool {
    /// The pool by its name in a record: an empty name is none.
    pub fn named(name: &str) -> Self {
        if name.is_empty() { Self::None } else { Self::In(name.to_owned()) }
    }
}

/// The properties by which a container is selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub id: Vmid,
    /// Its name; `None` when unknown.
    pub name: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its pool.
    pub pool: Pool,
}

impl Identity {
    /// A container of which only the id is known.
    pub fn of(id: Vmid) -> Self {
        Self { id, name: None, tags: Vec::new(), pool: Pool::Unknown }
    }
}

/// One id, or a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// This one.
    One(Vmid),
    /// A range, both ends included.
    Range(Vmid, Vmid),
}

/// The selectors of a policy. Any entry of a list may match, and all lists that are not empty must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Ids and ranges of ids.
    pub ids: Vec<Ids>,
    /// Names, with `*` and `?`.
    pub names: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Pools.
    pub pools: Vec<String>,
}

/// How narrowly a policy selects a container: narrower wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Specificity {
    /// By its pool.
    Pool,
    /// By a range of ids.
    Range,
    /// By a tag.
    Tag,
    /// By its name.
    Name,
    /// By its id alone: the container's own policy.
    Own,
}

/// Whether a policy applies to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// It does.
    Yes(Specificity),
    /// It does not.
    No,
    /// Unknown, because the container's pool could not be read.
    Unknown,
}

impl Selector {
    /// Whether it has no selector.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it applies to this container, by the narrowest selector that matched.
    pub fn matches(&self, identity: &Identity) -> Match {
        let mut narrowest = None;
        let mut note = |specificity: Specificity| narrowest = narrowest.max(Some(specificity));
        if !self.ids.is_empty() {
            let found = self.ids.iter().filter_map(|ids| ids.matches(identity.id)).max();
            let Some(found) = found else { return Match::No };
            note(found);
        }
        if !self.names.is_empty() {
            let name = identity.name.as_deref();
            let matches = |glob: &String| name.is_some_and(|name| glob_matches(glob, name));
            if !self.names.iter().any(matches) {
                return Match::No;
            }
            note(Specificity::Name);
        }
        if !self.tags.is_empty() {
            if !self.tags.iter().any(|tag| has_tag(&identity.tags, tag)) {
                return Match::No;
            }
            note(Specificity::Tag);
        }
        if !self.pools.is_empty() {
            match &identity.pool {
                Pool::Unknown => return Match::Unknown,
                Pool::In(pool) if self.pools.contains(pool) => note(Specificity::Pool),
                Pool::In(_) | Pool::None => return Match::No,
            }
        }
        narrowest.map_or(Match::No, Match::Yes)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.ids.iter().map(ToString::to_string).collect();
        let lists = [("ids", &ids), ("names", &self.names), ("tags", &self.tags), ("pools", &self.pools)];
        let parts = lists.iter().filter(|(_, list)| !list.is_empty());
        let parts: Vec<String> = parts.map(|(word, list)| format!("{word} {}", list.join(", "))).collect();
        f.write_str(&parts.join(" and "))
    }
}

impl Ids {
    fn matches(self, id: Vmid) -> Option<Specificity> {
        match self {
            Self::One(one) => (one == id).then_some(Specificity::Own),
            Self::Range(first, last) => (first..=last).contains(&id).then_some(Specificity::Range),
        }
    }
}

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(id) => write!(f, "{id}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdsVisitor;
        impl de::Visitor<'_> for IdsVisitor {
            type Value = Ids;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a container id such as 104, or a range such as \"100-199\"")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Ids, E> {
                parse_id(&id.to_string()).map(Ids::One).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, id: i64) -> Result<Ids, E> {
                parse_id(&id.to_string()).map(Ids::One).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ids, E> {
                let Some((first, last)) = text.split_once('-') else {
                    return parse_id(text.trim()).map(Ids::One).map_err(E::custom);
                };
                let first = parse_id(first.trim()).map_err(E::custom)?;
                let last = parse_id(last.trim()).map_err(E::custom)?;
                if last < first {
                    return Err(E::custom(format!("the range `{text}` ends before it begins")));
                }
                Ok(Ids::Range(first, last))
            }
        }
        deserializer.deserialize_any(IdsVisitor)
    }
}

fn parse_id(text: &str) -> Result<Vmid, String> {
    text.parse().map_err(|error: lxc_autoscale_core::vmid::InvalidVmid| error.to_string())
}

/// Whether `text` matches `glob`: `*` is any text, `?` any one character, case is ignored.
pub fn glob_matches(glob: &str, text: &str) -> bool {
    let fold = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (glob, text) = (fold(glob), fold(text));
    let (mut g, mut t) = (0, 0);
    // The position of the last `*`, and how much of the text it has matched.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (g, t) = (g + 1, t + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (g, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity() -> Identity {
        Identity {
            id: 104.try_into().unwrap(),
            name: Some("db-main".to_owned()),
            tags: vec!["db".to_owned(), "prod".to_owned()],
            pool: Pool::In("services".to_owned()),
        }
    }

    #[track_caller]
    fn check(selector: &str, want: Match) {
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Lists {
            ids: Vec<Ids>,
            names: Vec<String>,
            tags: Vec<String>,
            pools: Vec<String>,
        }
        let Lists { ids, names, tags, pools } = serde_json::from_str(selector).unwrap();
        let selector = Selector { ids, names, tags, pools };
        assert_eq!(selector.matches(&identity()), want, "{selector}");
    }

    #[test]
    fn any_entry_of_a_list_and_every_list_must_match() {
        use Match::{No, Yes};
        check(r#"{"ids": [104]}"#, Yes(Specificity::Own));
        check(r#"{"ids": ["100-199"]}"#, Yes(Specificity::Range));
        check(r#"{"ids": ["100-199", "104"]}"#, Yes(Specificity::Own));
        check(r#"{"ids": [105, "200-299"]}"#, No);
        check(r#"{"names": ["web*", "db-*"]}"#, Yes(Specificity::Name));
        check(r#"{"tags": ["prod"]}"#, Yes(Specificity::Tag));
        check(r#"{"pools": ["services"]}"#, Yes(Specificity::Pool));
        check(r#"{"tags": ["prod"], "pools": ["other"]}"#, No);
        check(r#"{"tags": ["prod"], "pools": ["services"]}"#, Yes(Specificity::Tag));
        check("{}", No);
    }

    #[test]
    fn a_pool_that_could_not_be_read_is_not_none() {
        let selector = Selector { pools: vec!["services".to_owned()], ..Selector::default() };
        let unknown = Identity { pool: Pool::Unknown, ..identity() };
        assert_eq!(selector.matches(&unknown), Match::Unknown);
        assert_eq!(selector.matches(&Identity { pool: Pool::None, ..identity() }), Match::No);
        let other = Selector { tags: vec!["web".to_owned()], ..selector };
        assert_eq!(other.matches(&unknown), Match::No, "another list rules it out");
    }

    #[test]
    fn globs() {
        for (glob, text, want) in [
            ("*", "", true),
            ("*", "web", true),
            ("web", "web", true),
            ("web", "web1", false),
            ("WEB?", "web1", true),
            ("w*b*1", "web-b-11", true),
            ("*sql", "postgresql", true),
            ("*sql", "postgresql-2", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob_matches(glob, text), want, "{glob} {text}");
        }
    }

    proptest! {
        /// A text matches itself, also with any part replaced by a star.
        #[test]
        fn a_part_may_become_a_star(text in "[a-z0-9-]{0,12}", from in 0usize..13, to in 0usize..13) {
            prop_assert!(glob_matches(&text, &text));
            let (from, to) = (from.min(text.len()), to.min(text.len()));
            if from <= to {
                let glob = format!("{}*{}", &text[..from], &text[to..]);
                prop_assert!(glob_matches(&glob, &text));
            }
        }
    }
}
