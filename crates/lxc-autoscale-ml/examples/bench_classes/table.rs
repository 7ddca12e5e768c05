//! The clusters, and their members.

use std::collections::BTreeMap;
use std::fmt::Write;

use lxc_autoscale_ml::classes::traits::Traits;
use lxc_autoscale_ml::classes::{Class, ClassModel};
use serde::Serialize;

use crate::Look;

/// The classes of the containers of one set.
#[derive(Serialize)]
pub(crate) struct Found {
    title: String,
    /// By container: the number of its days in each class.
    containers: BTreeMap<String, BTreeMap<Class, usize>>,
    /// Days whose cluster has the name that their own traits give.
    agreeing: usize,
    days: usize,
}

impl Found {
    pub(crate) fn new(title: &str, looks: &[Look], model: &ClassModel) -> Self {
        let mut containers: BTreeMap<String, BTreeMap<Class, usize>> = BTreeMap::new();
        let mut agreeing = 0;
        for look in looks {
            let Some(class) = model.class(&look.traits) else { continue };
            *containers.entry(look.name.clone()).or_default().entry(class).or_default() += 1;
            agreeing += usize::from(class == Class::of_traits(&look.traits));
        }
        Self { title: title.to_owned(), containers, agreeing, days: looks.len() }
    }

    /// The number of days in each class.
    fn shares(&self) -> BTreeMap<Class, usize> {
        let mut all = BTreeMap::new();
        for (class, days) in self.containers.values().flatten() {
            *all.entry(*class).or_default() += days;
        }
        all
    }
}

/// The centres of the clusters, then the number of days in each class.
pub(crate) fn markdown(model: &ClassModel, found: &[Found]) -> String {
    let mut text = format!("| class of a group | {} |\n", Traits::NAMES.join(" | "));
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(Traits::NAMES.len()));
    for group in &model.groups {
        let cells =
            group.middle.map(|value| format!("{:.2}", (100.0 * value).round() / 100.0 + 0.0)).join(" | ");
        let _ = writeln!(text, "| {} | {cells} |", group.class);
    }
    let _ = write!(text, "\n| days of containers |");
    for class in Class::ALL {
        let _ = write!(text, " {class} |");
    }
    let _ =
        writeln!(text, " named as by its own traits |\n| --- |{}", " ---: |".repeat(Class::ALL.len() + 1));
    for found in found {
        row(&mut text, &format!("**all {}**", found.title), &found.shares());
        let _ = writeln!(text, " {:.0} % |", 100.0 * found.agreeing as f64 / found.days.max(1) as f64);
    }
    // The numbers of recorded machines mean nothing to readers.
    for (name, classes) in found.last().into_iter().flat_map(|found| &found.containers) {
        row(&mut text, name, classes);
        text.push_str(" |\n");
    }
    text
}

fn row(text: &mut String, name: &str, classes: &BTreeMap<Class, usize>) {
    let _ = write!(text, "| {name} |");
    for class in Class::ALL {
        let _ = write!(text, " {} |", classes.get(&class).copied().unwrap_or_default());
    }
}
