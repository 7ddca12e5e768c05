//! Whether an id belongs to another container by now may still be open when the daemon ends.

use ciborium::Value;

use super::*;
use crate::checkpoint::{self, Header};
use crate::policy::learning::learnt_by;

/// Container 100, started anew at the minute 60, with this name if its configuration could be read.
fn after_its_start(minute: i64, name: Option<&str>) -> Snapshot {
    let mut snapshot = snapshot(minute);
    let record = snapshot.containers.get_mut(&vmid(100)).unwrap();
    record.uptime_seconds = Some(60.0 * (minute - 60) as f64 + 20.0);
    record.configuration = name.map(|name| ContainerConfig::parse(&format!("hostname: {name}\n")).0.into());
    snapshot
}

/// How many seconds of container 100 are known after its name could be read again, with a restart of the daemon before.
fn known_seconds(name: &str, change: impl Fn(&Path, &Config)) -> u64 {
    let scratch = tempfile::tempdir().unwrap();
    let config = config(scratch.path());
    let mut pipeline = begin(&config);
    (1..60).for_each(|minute| pipeline.take(snapshot(minute)));
    pipeline.take(after_its_start(60, None));
    pipeline.write_checkpoint(&config.state.checkpoint()).unwrap();
    change(&config.state.checkpoint(), &config);
    let mut pipeline = begin(&config);
    assert!(pipeline.restore(&config.state.checkpoint()).unwrap());
    (61..70).for_each(|minute| pipeline.take(after_its_start(minute, Some(name))));
    let container = pipeline.history().container(vmid(100)).unwrap();
    container.model.recommend(at(69)).cpu.unwrap().known_seconds
}

#[test]
fn a_doubt_outlasts_a_restart() {
    let unchanged = |_: &Path, _: &Config| {};
    assert!(known_seconds("other", unchanged) <= 600);
    assert!(3000 <= known_seconds("web", unchanged));
}

/// A checkpoint of a version that knew no doubt.
#[test]
fn a_checkpoint_without_doubts_is_good() {
    let without_doubts = |path: &Path, config: &Config| {
        let (mut items, mut taken): (Vec<Value>, _) = (Vec::new(), 0);
        let learnt_by = learnt_by(config);
        let general =
            checkpoint::read::<Value, Value>(path, &learnt_by, |item| items.push(item)).unwrap().unwrap();
        for item in &mut items {
            let fields = item.as_map_mut().unwrap();
            let (_, history) = fields.iter_mut().find(|(name, _)| name.as_text() == Some("history")).unwrap();
            let fields = history.as_map_mut().unwrap();
            let all = fields.len();
            fields.retain(|(name, _)| name.as_text() != Some("in_doubt"));
            taken += all - fields.len();
        }
        assert_eq!(taken, 3);
        let header = Header::new(learnt_by, items.len(), general);
        checkpoint::write(path, &header, items.into_iter()).unwrap();
    };
    assert!(3000 <= known_seconds("web", without_doubts));
}
