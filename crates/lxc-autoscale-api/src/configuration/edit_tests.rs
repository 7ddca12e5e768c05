use proptest::prelude::*;
use serde_json::json;

use super::*;

const SHIPPED: &str = include_str!("../../../../config/lxc_autoscale_ml.toml");

fn set(text: &str, changes: &Json) -> Result<String, EditError> {
    let Json::Object(changes) = changes else { panic!("an object") };
    apply(text, &changes.clone().into_iter().collect(), &[])
}

fn remove(text: &str, key: &str) -> Result<String, EditError> {
    apply(text, &BTreeMap::new(), &[key.to_owned()])
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "rows of a table are read more easily so")]
fn check_set(text: &str, changes: Json, want: &str) {
    assert_eq!(set(text, &changes).unwrap(), want);
}

/// The lines that are only in `after`, and those that are only in `before`.
fn changed_lines<'a>(before: &'a str, after: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
    let missing =
        |from: &'a str, of: &'a str| from.lines().filter(|line| !of.lines().any(|l| l == *line)).collect();
    (missing(before, after), missing(after, before))
}

#[test]
fn one_value_of_the_shipped_file_changes_one_line() {
    let after = set(SHIPPED, &json!({"scaling.cpu.max_cores": 4})).unwrap();
    assert_eq!(changed_lines(SHIPPED, &after), (vec!["max_cores = 8"], vec!["max_cores = 4"]));
    assert_eq!(after.len(), SHIPPED.len());
}

#[test]
fn a_policy_for_the_shipped_file_is_as_somebody_would_write_it() {
    let changes = json!({"policy.web.tags": ["web"], "policy.web.scaling.memory.min_mib": 512});
    let after = set(SHIPPED, &changes).unwrap();
    let (gone, new) = changed_lines(SHIPPED, &after);
    assert_eq!(gone, [""; 0], "not one comment is lost");
    assert_eq!(new, ["[policy.web]", "scaling.memory.min_mib = 512", "tags = [\"web\"]"]);
    // Removing the keys again leaves only an empty table header.
    let keys = ["policy.web.tags", "policy.web.scaling.memory.min_mib"].map(str::to_owned);
    let back = apply(&after, &BTreeMap::new(), &keys).unwrap();
    assert_eq!(changed_lines(SHIPPED, &back), (vec![], vec!["[policy.web]"]));
    assert_eq!(remove(&back, "policy.web").unwrap(), SHIPPED);
}

#[test]
fn values_of_all_kinds_are_put_where_they_belong() {
    check_set("a = 1 # why\n", json!({"a": 2}), "a = 2 # why\n");
    check_set("a = 1\n", json!({"b": "x\"y"}), "a = 1\nb = 'x\"y'\n");
    check_set("", json!({"scaling.cpu.max_cores": 4.5}), "[scaling.cpu]\nmax_cores = 4.5\n");
    check_set("t = { a = 1 }\n", json!({"t.a": 2, "t.b": true}), "t = { a = 2 , b = true }\n");
    check_set("[t]\nu.a = 1\n", json!({"t.u.b": 2}), "[t]\nu.a = 1\nu.b = 2\n");
    check_set("[[s]]\na = 1\n[[s]]\na = 2\n", json!({"s.2.a": 3}), "[[s]]\na = 1\n[[s]]\na = 3\n");
    check_set("s = [{ a = 1 }]\n", json!({"s.1.a": 3}), "s = [{ a = 3 }]\n");
    check_set(
        "[policy.web]\nids = [1]\n",
        json!({"policy.web.schedule": [{"start": "08:00", "scaling": {"cpu": {"min_cores": 2}}}]}),
        "[policy.web]\nids = [1]\n\n[[policy.web.schedule]]\nscaling.cpu.min_cores = 2\nstart = \"08:00\"\n",
    );
}

#[test]
fn a_key_goes_and_its_comment_stays() {
    let text = "# why a\na = [\n  1,\n] # so\n# why b\nb = 2\n[t]\nu.c = 3";
    assert_eq!(remove(text, "a").unwrap(), "# why a\n# why b\nb = 2\n[t]\nu.c = 3\n");
    assert_eq!(remove(text, "t.u.c").unwrap(), "# why a\na = [\n  1,\n] # so\n# why b\nb = 2\n[t]\n");
    assert_eq!(remove("t = { a = 1, b = 2 }\n", "t.a").unwrap(), "t = { b = 2 }\n");
    assert_eq!(remove("[[s]]\na = 1\n[[s]]\na = 2\n", "s.1").unwrap(), "[[s]]\na = 2\n");
}

#[test]
fn what_cannot_be_done_is_named() {
    let error = |result: Result<String, EditError>| result.unwrap_err().to_string();
    for key in ["", ".", "a.", "a b", "a.\"b\"", "../../etc/passwd", "a\n", "ä", &"a".repeat(201)] {
        assert!(matches!(set("", &json!({key: 1})), Err(EditError::Key { .. })), "{key}");
        assert!(matches!(remove("", key), Err(EditError::Key { .. })), "{key}");
    }
    assert!(error(set("a = 1\n", &json!({"a.b": 1}))).contains("`a` in it"));
    assert!(error(set("[[s]]\n", &json!({"s.x": 1}))).contains("neither a table nor"));
    assert!(error(set("[[s]]\n", &json!({"s.3.a": 1}))).contains("neither a table nor"));
    for value in [json!(null), json!([1, null]), json!({"x": null}), json!(u64::MAX)] {
        assert!(matches!(set("", &json!({"a": value})), Err(EditError::Value { .. })), "{value}");
    }
    for key in ["a", "a.b", "s.2", "s.x"] {
        assert!(matches!(remove("[[s]]\n", key), Err(EditError::NoSuchKey { .. })), "{key}");
    }
    assert!(matches!(set("a = \n", &json!({"b": 1})), Err(EditError::Broken(_))));
    assert!(matches!(apply("", &BTreeMap::new(), &[]), Err(EditError::Count)));
    let both = apply("a = 1\n", &BTreeMap::from([("a".to_owned(), json!(1))]), &["a".to_owned()]);
    assert!(matches!(both, Err(EditError::Both { .. })));
}

#[test]
fn differences_are_told_by_key() {
    let setting =
        |key: &str, value: Json| ConfigSetting { key: key.to_owned(), value, line: None, default: None };
    let before = [setting("a", json!(1)), setting("b", json!(2)), setting("c", json!(3))];
    let after = [setting("a", json!(1)), setting("b", json!(5)), setting("d", json!(4))];
    let found: Vec<_> =
        differences(&before, &after).into_iter().map(|c| (c.key, c.before, c.after)).collect();
    let want =
        [("b", Some(json!(2)), Some(json!(5))), ("c", Some(json!(3)), None), ("d", None, Some(json!(4)))];
    assert_eq!(found, want.map(|(key, before, after)| (key.to_owned(), before, after)));
}

/// Any value that both JSON and TOML can represent.
fn any_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1e12..1e12).prop_map(Json::from),
        "\\PC{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

fn comments(text: &str) -> Vec<String> {
    let mut comments: Vec<_> =
        text.lines().filter(|line| line.trim_start().starts_with('#')).map(str::to_owned).collect();
    comments.sort_unstable();
    comments
}

fn at<'a>(value: &'a toml::Value, key: &str) -> Option<&'a toml::Value> {
    key.split('.').try_fold(value, |value, part| match value {
        toml::Value::Array(entries) => entries.get(index(part)?),
        table => table.get(part),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is set in the shipped file is there afterwards, with every comment and every other value.
    #[test]
    fn what_is_set_is_there_and_nothing_else_is_touched(
        key in prop_oneof![
            Just("scaling.cpu.max_cores".to_owned()),
            Just("containers.ignore".to_owned()),
            "(policy|shadow)\\.[a-z]{1,4}(\\.[a-z]{1,4}){0,3}",
            "[a-zA-Z0-9_-]{1,6}(\\.[a-zA-Z0-9_-]{1,6}){0,3}",
        ],
        value in any_value(),
    ) {
        let Ok(after) = set(SHIPPED, &json!({&key: &value})) else { return Ok(()) };
        prop_assert_eq!(comments(&after), comments(SHIPPED));
        let parsed: toml::Value = toml::from_str(&after).unwrap_or_else(|error| panic!("{error}\n{after}"));
        let before: toml::Value = toml::from_str(SHIPPED).unwrap();
        let found = at(&parsed, &key).map(|found| serde_json::to_value(found).unwrap());
        prop_assert_eq!(found.as_ref(), Some(&value), "{}", after);
        for other in ["interval_seconds", "scaling.cpu.min_cores", "model.consensus", "logging.file"] {
            if !other.starts_with(&key) && !key.starts_with(other) {
                prop_assert_eq!(at(&parsed, other), at(&before, other));
            }
        }
        // Setting it again changes nothing; after removing it, it is gone.
        prop_assert_eq!(&set(&after, &json!({&key: &value})).unwrap(), &after);
        let gone: toml::Value = toml::from_str(&remove(&after, &key).unwrap()).unwrap();
        prop_assert_eq!(at(&gone, &key), None);
    }

    /// However strange text and key are, the worst outcome is an error.
    #[test]
    fn strange_texts_and_keys_are_refused_or_stay_toml(
        text in prop_oneof!["\\PC{0,80}", "([a-c]( = |\\.|\\]|\\[|\\n|\\{ |1|\"|\\[\\[)){0,20}"],
        key in prop_oneof!["\\PC{0,20}", "[a-c1](\\.[a-c1]){0,3}"],
        value in any_value(),
    ) {
        for edited in [set(&text, &json!({&key: value})), remove(&text, &key)].into_iter().flatten() {
            prop_assert!(toml::from_str::<toml::Table>(&edited).is_ok(), "{}", edited);
        }
    }
}
