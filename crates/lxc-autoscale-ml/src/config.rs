//! The configuration file, and its translation for the modules.

mod approval;
mod model;
mod scaling;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use lxc_autoscale_core::config::{BrokenRule, Validate};
use lxc_autoscale_core::metrics_file::trust::{Believed, MONITOR_USER};
use lxc_autoscale_core::notification::QueueConfig;
use lxc_autoscale_core::telemetry::LoggingConfig;
use lxc_autoscale_core::{Vmid, users};
use serde::{Deserialize, Deserializer};

pub use approval::ProposalsConfig;
pub use model::ModelConfig;
pub use scaling::ScalingConfig;

use crate::act::{Endpoint, Patience};
use crate::decide::Policy;
use crate::exporter::ExporterConfig;
use crate::policy::given::raise_to_minimum;
use crate::policy::{PolicyBook, PolicyConfig, PolicyError, PresetsConfig, ShadowConfig};
use crate::recommend::{RecommendConfig, Shared, SharedError};

/// The file that is shipped: every key at its default, with its reason.
pub const SHIPPED: &str = include_str!("../../../config/lxc_autoscale_ml.toml");

/// The content of `lxc_autoscale_ml.toml`. Each key has a default, so an empty file is valid.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Seconds between cycles.
    pub interval_seconds: u64,
    /// The source of the measurements.
    pub metrics: MetricsConfig,
    /// The API that carries decisions out.
    pub api: ApiConfig,
    /// What survives a restart.
    pub state: StateConfig,
    /// The detector of unusual behaviour.
    pub model: ModelConfig,
    /// The prices, which determine the headroom.
    pub recommend: RecommendConfig,
    /// What `forecast` shows.
    pub forecast: ForecastConfig,
    /// When and how far containers are resized.
    pub scaling: ScalingConfig,
    /// Whether presets apply without a policy that names them.
    pub presets: PresetsConfig,
    /// Rules for some of the containers.
    pub policy: BTreeMap<String, PolicyConfig>,
    /// Candidates that are evaluated and never act.
    pub shadow: BTreeMap<String, ShadowConfig>,
    /// Changes that wait for approval.
    pub proposals: ProposalsConfig,
    /// Exceptions.
    pub containers: ContainersConfig,
    /// The queue of notifications to people.
    pub notifications: QueueConfig,
    /// The daemon's Prometheus exporter.
    pub exporter: ExporterConfig,
    /// Logging.
    #[serde(deserialize_with = "logging_over_our_default")]
    pub logging: LoggingConfig,
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// The exchange file.
    pub file: PathBuf,
    /// The user whose file is trusted besides root and our own: the one that the monitor runs as.
    pub owner: String,
    /// The monitor's history, for the time before the exchange file; empty for none.
    pub history: PathBuf,
    /// An older measurement is not used for decisions.
    pub max_age_seconds: u64,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// The address: a unix socket (`unix:/path`) or a base address of this machine (`http://` only).
    pub url: String,
    /// Time limit for a connection.
    pub connect_timeout_seconds: f64,
    /// Time limit for one answer.
    pub timeout_seconds: f64,
    /// Retries of a call after a temporary failure.
    pub retries: u32,
    /// Time limit for one call with all its retries.
    pub deadline_seconds: f64,
}

impl MetricsConfig {
    /// Whose exchange file is trusted.
    pub fn believed(&self) -> Believed {
        Believed::own().and_monitor(&self.owner)
    }

    /// The oldest measurement that is used.
    pub fn max_age(&self) -> Duration {
        Duration::from_secs(self.max_age_seconds)
    }
}

/// `[state]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// Directory of the ledger.
    pub directory: PathBuf,
    /// Days for which decisions are kept.
    pub retention_days: u32,
    /// Most decisions that are kept, whatever their age.
    pub max_decisions: u64,
    /// Seconds between checkpoints of the learnt state.
    pub checkpoint_seconds: u64,
}

/// `[forecast]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForecastConfig {
    /// The time zone of daily and weekly habits; empty for the node's.
    pub time_zone: String,
}

/// `[containers]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainersConfig {
    /// Containers that are left alone.
    pub ignore: BTreeSet<Vmid>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval_seconds: 60,
            metrics: MetricsConfig::default(),
            api: ApiConfig::default(),
            state: StateConfig::default(),
            model: ModelConfig::default(),
            recommend: RecommendConfig::default(),
            forecast: ForecastConfig::default(),
            scaling: ScalingConfig::default(),
            presets: PresetsConfig::default(),
            policy: BTreeMap::new(),
            shadow: BTreeMap::new(),
            proposals: ProposalsConfig::default(),
            containers: ContainersConfig::default(),
            notifications: QueueConfig::default(),
            exporter: ExporterConfig::default(),
            logging: default_logging(),
        }
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::from("/var/log/lxc_metrics.json"),
            owner: MONITOR_USER.to_owned(),
            history: PathBuf::from("/var/lib/lxc_autoscale_ml/monitor/metrics.sqlite"),
            max_age_seconds: 300,
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            url: "unix:/run/lxc_autoscale_ml/api.sock".to_owned(),
            connect_timeout_seconds: 3.0,
            timeout_seconds: 120.0,
            retries: 3,
            deadline_seconds: 150.0,
        }
    }
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("/var/lib/lxc_autoscale_ml/ml"),
            retention_days: 90,
            max_decisions: 1_000_000,
            checkpoint_seconds: 600,
        }
    }
}

impl Config {
    /// Time between cycles.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_seconds)
    }

    /// The rules that apply unless a policy says otherwise.
    pub fn policy(&self) -> Policy {
        let mut scaling = self.scaling.clone();
        raise_to_minimum(&mut scaling, &BTreeMap::new());
        scaling.policy(self.metrics.max_age_seconds)
    }

    /// The policies, with the node's time zone for the schedules that name none.
    ///
    /// # Errors
    /// [`PolicyError`] when one of them cannot be used, which [`Validate`] rules out.
    pub fn policy_book(&self) -> Result<PolicyBook, PolicyError> {
        PolicyBook::new(self, &TimeZone::system())
    }

    /// What the models of all containers share.
    ///
    /// # Errors
    /// [`SharedError`] when the configured demand model or time zone cannot be used, which [`Validate`] rules out.
    pub fn shared(&self) -> Result<Shared, SharedError> {
        Ok(Shared::load(&self.recommend)?.in_zone(self.forecast.zone()?))
    }
}

impl ForecastConfig {
    /// The time zone of daily and weekly habits.
    ///
    /// # Errors
    /// [`jiff::Error`] when there is no such zone, which [`Validate`] rules out.
    pub fn zone(&self) -> Result<TimeZone, jiff::Error> {
        if self.time_zone.is_empty() { Ok(TimeZone::system()) } else { TimeZone::get(&self.time_zone) }
    }
}

impl ApiConfig {
    /// Time limits and retries of API calls.
    pub fn patience(&self) -> Patience {
        Patience {
            connect: Duration::from_secs_f64(self.connect_timeout_seconds),
            answer: Duration::from_secs_f64(self.timeout_seconds),
            deadline: Duration::from_secs_f64(self.deadline_seconds),
            retries: self.retries,
        }
    }
}

impl StateConfig {
    /// The ledger's file.
    pub fn ledger(&self) -> PathBuf {
        self.directory.join("decisions.sqlite")
    }

    /// The checkpoint file.
    pub fn checkpoint(&self) -> PathBuf {
        self.directory.join("learnt.checkpoint")
    }

    /// How long decisions are kept.
    pub fn retention(&self) -> SignedDuration {
        SignedDuration::from_hours(24 * i64::from(self.retention_days))
    }
}

impl Validate for Config {
    fn validate(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        unless((1..=86_400).contains(&self.interval_seconds), "interval_seconds", "must be from 1 to 86400")?;
        let age = self.metrics.max_age_seconds;
        unless((1..=86_400).contains(&age), "metrics.max_age_seconds", "must be from 1 to 86400")?;
        unless(self.metrics.file.is_absolute(), "metrics.file", "must be an absolute path")?;
        unless(users::is_name(&self.metrics.owner), "metrics.owner", "must be the name of a user")?;
        let zone = self.forecast.zone().is_ok();
        unless(
            zone,
            "forecast.time_zone",
            "must be a time zone such as \"Europe/Berlin\", or empty for the node's",
        )?;
        unless(self.state.directory.is_absolute(), "state.directory", "must be an absolute path")?;
        unless(
            (1..=3650).contains(&self.state.retention_days),
            "state.retention_days",
            "must be from 1 to 3650",
        )?;
        unless(1000 <= self.state.max_decisions, "state.max_decisions", "must be at least 1000")?;
        let rule = "must be from 10 to 86400";
        let often = (10..=86_400).contains(&self.state.checkpoint_seconds);
        unless(often, "state.checkpoint_seconds", rule)?;
        let history = &self.metrics.history;
        let rule = "must be an absolute path, or \"\" for none";
        unless(history.as_os_str().is_empty() || history.is_absolute(), "metrics.history", rule)?;
        self.validate_api()?;
        self.model.validate()?;
        self.recommend.validate()?;
        self.policy().validate()?;
        self.policy_book()?;
        self.proposals.validate()?;
        self.notifications.validate()?;
        self.exporter.validate()?;
        self.logging.validate()
    }
}

impl Config {
    fn validate_api(&self) -> Result<(), BrokenRule> {
        let unless = BrokenRule::unless;
        let rule = "must be \"unix:\" and the absolute path of a socket, or a plain HTTP address of this machine without \
                    a path, such as \"http://127.0.0.1:5000\": this daemon has no key for an API elsewhere";
        unless(Endpoint::of(&self.api.url).is_some(), "api.url", rule)?;
        let wait = |seconds: f64| 0.0 < seconds && seconds <= 3600.0;
        let rule = "must be more than 0 and at most 3600";
        unless(wait(self.api.connect_timeout_seconds), "api.connect_timeout_seconds", rule)?;
        unless(wait(self.api.timeout_seconds), "api.timeout_seconds", rule)?;
        unless(wait(self.api.deadline_seconds), "api.deadline_seconds", rule)?;
        let ordered = self.api.timeout_seconds <= self.api.deadline_seconds;
        unless(ordered, "api.deadline_seconds", "must not be less than `api.timeout_seconds`")?;
        unless(self.api.retries <= 20, "api.retries", "must be at most 20")
    }
}

fn default_logging() -> LoggingConfig {
    LoggingConfig::for_file("/var/log/lxc_autoscale_ml.log")
}

/// A key missing from `[logging]` keeps this daemon's default, its log file too.
fn logging_over_our_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LoggingConfig, D::Error> {
    LoggingConfig::deserialize_over(deserializer, default_logging())
}

#[cfg(test)]
mod tests {
    use lxc_autoscale_core::config;

    use lxc_autoscale_core::telemetry::Level;

    use super::*;
    use crate::act::QUEUE_SECONDS;
    use crate::decide::Mode;

    #[test]
    fn the_shipped_file_is_the_default() {
        assert_eq!(config::parse::<Config>(SHIPPED), Ok(Config::default()));
    }

    /// Otherwise a change that the API makes, or refuses because of another one, would count as not answered.
    #[test]
    fn an_answer_is_waited_for_longer_than_a_change_may_take() {
        let file =
            toml::from_str::<toml::Table>(include_str!("../../../config/lxc_autoscale_api.toml")).unwrap();
        let seconds = |table: &str, key: &str| file[table][key].as_integer().unwrap();
        let queue = seconds("server", "queue_timeout_seconds").min(QUEUE_SECONDS.cast_signed());
        let change = seconds("pct", "change_timeout_seconds") + seconds("pct", "terminate_grace_seconds");
        let patience = Config::default().api.patience();
        assert!(Duration::from_secs((queue + change).unsigned_abs()) < patience.answer, "{queue} + {change}");
        assert!(patience.answer <= patience.deadline);
    }

    /// Every field of the structure is in its table of the shipped file: a missing one would still parse.
    #[test]
    fn the_shipped_file_has_every_key() {
        let headings = SHIPPED.lines().filter(|line| line.starts_with('[')).collect::<Vec<_>>();
        let mut found = 0;
        for table in std::iter::once("").chain(headings.iter().copied()) {
            let (_, section) = SHIPPED.split_once(&format!("{table}\n")).unwrap();
            let section = format!("\n{}", section.split("\n[").next().unwrap());
            // An unknown key in a table makes the parser list all keys of the table.
            let error = toml::from_str::<Config>(&format!("{table}\nno_such_key = 1\n")).unwrap_err();
            let is_table = |key: &str| {
                let path = format!("{}.{key}", table.trim_matches(['[', ']']));
                headings.contains(&format!("[{}]", path.trim_start_matches('.')).as_str())
            };
            for key in error.message().split('`').skip(3).step_by(2).filter(|key| !is_table(key)) {
                assert!(section.contains(&format!("\n{key} = ")), "`{key}` in {table:?}");
                found += 1;
            }
        }
        assert!(80 <= found, "only {found} keys were found");
    }

    /// What 200 containers write in the days for which it is kept, as the documentation has it, and a fifth more.
    #[test]
    fn the_decisions_of_two_hundred_containers_are_kept_for_as_long_as_they_should() {
        let page = include_str!("../../../docs/explain.md");
        let row =
            page.lines().find(|line| line.starts_with("| entries of 200 containers in 90 days |")).unwrap();
        let measured: u64 = row.rsplit('|').nth(1).unwrap().trim().replace(',', "").parse().unwrap();
        let state = Config::default().state;
        assert_eq!(state.retention_days, 90);
        assert!(measured * 6 / 5 <= state.max_decisions, "{measured} entries, {} kept", state.max_decisions);
    }

    #[track_caller]
    fn check_refused(text: &str, want: &str) {
        let (_, problem) = config::parse::<Config>(text).unwrap_err();
        assert!(problem.to_string().starts_with(want), "{problem}");
    }

    #[test]
    fn bad_values_are_named() {
        check_refused("interval_seconds = 0", "`interval_seconds` must be from 1");
        check_refused("[metrics]\nfile = \"metrics.json\"", "`metrics.file` must be an absolute path");
        check_refused("[api]\nurl = \"https://127.0.0.1:5000\"", "`api.url` must be \"unix:\" and");
        check_refused("[api]\nurl = \"http://127.0.0.1:5000/x\"", "`api.url` must be \"unix:\" and");
        check_refused("[api]\nurl = \"http://192.168.1.4:5000\"", "`api.url` must be \"unix:\" and");
        check_refused("[api]\ntimeout_seconds = nan", "`api.timeout_seconds` must be more than 0");
        check_refused("[api]\ndeadline_seconds = 1", "`api.deadline_seconds` must not be less");
        check_refused("[model]\ncontamination = 0.6", "`model.contamination` must be more than 0");
        check_refused("[model]\nhistory_rows = 10", "`model.history_rows` must be from");
        check_refused(
            "[scaling.cpu]\nmin_cores = 9\nmax_cores = 7",
            "`scaling.cpu.max_cores` must not be less",
        );
        check_refused("[scaling]\nmode = \"aut\"", "`scaling.mode`: unknown variant `aut`");
        check_refused("[scaling.cpu]\nmax_core = 9", "unknown key `scaling.cpu.max_core`; did you mean");
        check_refused("[scaling.guard]\nwatch_samples = 0", "`scaling.guard.watch_samples` must be from 1");
        check_refused(
            "[scaling.guard]\noom_growth_factor = 0.5",
            "`scaling.guard.oom_growth_factor` must be at",
        );
        check_refused("[proposals]\nexpire_seconds = 1", "`proposals.expire_seconds` must be from 60");
        check_refused("[proposals]\nplan_seconds = 1", "`proposals.plan_seconds` must be from 10");
        check_refused("[forecast]\ntime_zone = \"Europe/Berln\"", "`forecast.time_zone` must be a time zone");
        check_refused("[containers]\nignore = [99]", "`containers.ignore`: `99` is not a container id");
    }

    #[test]
    fn the_fewest_cores_that_nobody_set_are_what_the_control_allows() {
        let cpulimit = "[scaling.cpu]\ncontrol = \"cpulimit\"\n";
        let shipped = SHIPPED.replace("\ncontrol = \"cores\"", "\ncontrol = \"cpulimit\"");
        let explicit = |cores: &str| format!("{cpulimit}min_cores = {cores}");
        for (text, want) in [
            ("", 1.0),
            (SHIPPED, 1.0),
            (cpulimit, 0.1),
            (&shipped, 0.1),
            (&explicit("0"), 0.1),
            (&explicit("1"), 1.0),
            (&explicit("0.25"), 0.25),
        ] {
            let config: Config = config::parse(text).unwrap();
            assert_eq!(Some(config.policy().cpu.min_cores), Some(want), "{text}");
        }
        check_refused("[scaling.cpu]\nmin_cores = -1", "`scaling.cpu.min_cores` must be");
    }

    #[test]
    fn the_more_careful_of_two_modes_counts() {
        let text = "[scaling]\nmode = \"recommend\"\n[scaling.cpu]\nmode = \"auto\"\n[scaling.memory]\nmode = \"off\"";
        let config: Config = config::parse(text).unwrap();
        let policy = config.policy();
        assert_eq!((policy.cpu.mode, policy.memory.mode), (Mode::Recommend, Mode::Off));
    }

    #[test]
    fn every_scaling_key_reaches_the_policy() {
        let plain = Config::default().scaling.policy(300);
        let changed = [
            "[scaling]\nmode = \"off\"",
            "[scaling]\nmin_history_seconds = 1",
            "[scaling]\nmin_confidence_percent = 1",
            "[scaling]\noff_tag = \"hands-off\"",
            "[scaling]\nnode_memory_reserve_percent = 1",
            "[scaling]\npriority = 1",
            "[scaling]\napprove_exempt_oom = false",
            "[scaling.guard]\nwatch_samples = 6",
            "[scaling.guard]\nwatch_seconds = 1",
            "[scaling.guard]\nmax_pressure_rise_percent = 1",
            "[scaling.guard]\nmax_read_back_rise_mib_per_second = 9",
            "[scaling.guard]\nmax_throttled_rise_percent = 1",
            "[scaling.guard]\nmax_cpu_pressure_rise_percent = 1",
            "[scaling.guard]\nmax_backoff_seconds = 1",
            "[scaling.guard]\nmax_cpu_backoff_seconds = 1",
            "[scaling.guard]\nmax_unpaid_seconds = 1",
            "[scaling.guard]\nremember_seconds = 1",
            "[scaling.guard]\nrespect_manual_seconds = 1",
            "[scaling.guard]\nboot_seconds = 1",
            "[scaling.guard]\nleak_growth_percent = 1",
            "[scaling.guard]\noom_growth_factor = 2",
            "[scaling.cpu]\nmode = \"off\"",
            "[scaling.cpu]\ncontrol = \"cpulimit\"",
            "[scaling.cpu]\nmin_cores = 2",
            "[scaling.cpu]\nmax_cores = 3",
            "[scaling.cpu]\nmax_step_up_percent = 1",
            "[scaling.cpu]\nmax_step_down_percent = 20",
            "[scaling.cpu]\nhysteresis_percent = 1",
            "[scaling.cpu]\ncooldown_up_seconds = 1",
            "[scaling.cpu]\ncooldown_down_seconds = 1",
            "[scaling.memory]\nmode = \"off\"",
            "[scaling.memory]\nmin_mib = 17",
            "[scaling.memory]\nmax_mib = 1024",
            "[scaling.memory]\ngranularity_mib = 32",
            "[scaling.memory]\nmax_step_up_percent = 1",
            "[scaling.memory]\nmax_step_down_percent = 20",
            "[scaling.memory]\nmargin_percent = 1",
            "[scaling.memory]\nmax_pressure_percent = 2",
            "[scaling.memory]\nhysteresis_percent = 1",
            "[scaling.memory]\nmin_shrink_mib = 1",
            "[scaling.memory]\ncooldown_up_seconds = 1",
            "[scaling.memory]\ncooldown_down_seconds = 1",
        ];
        for text in changed {
            let config: Config = config::parse(text).unwrap();
            assert_ne!(config.scaling.policy(300), plain, "{text}");
        }
        let shipped: toml::Table = SHIPPED.parse().unwrap();
        let mut keys = 0;
        for table in ["scaling", "scaling.cpu", "scaling.memory", "scaling.guard"] {
            let found = table.split('.').try_fold(&shipped, |table, name| table[name].as_table()).unwrap();
            for (key, _) in found.iter().filter(|(_, value)| !value.is_table()) {
                let named = |text: &&str| text.starts_with(&format!("[{table}]\n{key} = "));
                assert!(changed.iter().any(named), "`{table}.{key}` is not tried");
                keys += 1;
            }
        }
        assert_eq!(keys, changed.len());
    }

    #[test]
    fn a_log_level_alone_keeps_the_log_file() {
        let config: Config = config::parse("[logging]\nlevel = \"debug\"").unwrap();
        assert_eq!(config.logging, LoggingConfig { level: Level::Debug, ..default_logging() });
    }
}
