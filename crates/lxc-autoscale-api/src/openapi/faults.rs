//! Errors with status and code, grouped by cause. A row of the table of routes names the groups that its route can
//! answer with, and the tests check every error they encounter against them.

/// Statuses with the codes that a response can carry.
pub type Faults = &'static [(u16, &'static str)];

/// Any request: who sends it, from where, and how often.
pub const ANY: Faults = &[
    (401, "invalid_key"),
    (403, "forbidden"),
    (403, "wrong_role"),
    (403, "foreign_origin"),
    (421, "unknown_host"),
    (429, "too_many_requests"),
    (500, "internal"),
];

/// A query or path with malformed parameters.
pub const PARAMETERS: Faults = &[(400, "invalid_parameter")];

/// A request with a body.
pub const BODY: Faults = &[
    (400, "invalid_body"),
    (400, "invalid_json"),
    (400, "invalid_parameter"),
    (408, "body_timed_out"),
    (413, "body_too_large"),
    (415, "unsupported_media_type"),
];

/// Proxmox is called.
pub const BACKEND: Faults = &[
    (502, "node_not_ready"),
    (502, "node_unreachable"),
    (502, "node_unreadable"),
    (502, "not_permitted"),
    (502, "pct_failed"),
    (502, "pct_unavailable"),
    (502, "pct_unreadable"),
    (502, "token_refused"),
    (504, "answer_lost"),
    (504, "node_timed_out"),
    (504, "pct_timed_out"),
];

/// A key may be limited to other containers.
pub const SCOPE: Faults = &[(403, "out_of_scope")];

/// One container is read.
pub const CONTAINER: Faults = &[(403, "out_of_scope"), (404, "no_such_container")];

/// The server's own database is read or written.
pub const STORE: Faults = &[(503, "not_recorded")];

/// A container is changed.
pub const CHANGE: Faults = &[
    (403, "protected_container"),
    (408, "abandoned"),
    (409, "busy"),
    (409, "cancelled"),
    (409, "changed_too_often"),
    (409, "change_in_progress"),
    (409, "container_exists"),
    (409, "disk_size"),
    (409, "is_template"),
    (409, "locked"),
    (409, "modified"),
    (409, "not_applicable"),
    (409, "not_newest_snapshot"),
    (409, "not_supported"),
    (409, "protected"),
    (409, "running"),
    (409, "snapshot_exists"),
    (409, "stopped"),
    (502, "interrupted"),
    (502, "not_applied"),
    (503, "not_audited"),
    (503, "not_recorded"),
    (503, "shutting_down"),
    (503, "too_many_changes"),
];

/// A size is checked against `[limits]` of the configuration and against the node's resources.
pub const SIZE: Faults = &[
    (409, "node_memory_short"),
    (409, "node_memory_unknown"),
    (409, "step_too_large"),
    (422, "out_of_bounds"),
];

/// A size is set, and the request states the expected current one.
pub const EXPECTED: Faults = &[(409, "size_changed")];

/// A decision sets a size that a boost has raised.
pub const BOOSTED: Faults = &[(409, "boosted")];

/// The number of cores is set.
pub const CORES: Faults = &[(409, "pinned_cpuset")];

/// The memory is set.
pub const MEMORY: Faults = &[(409, "shrink_below_working_set"), (409, "shrink_without_metrics")];

/// A container is started or stopped.
pub const POWER: Faults = &[(409, "did_not_stop"), (422, "out_of_bounds")];

/// A snapshot is named.
pub const SNAPSHOT: Faults = &[(404, "no_such_snapshot"), (409, "incomplete_snapshot")];

/// A number of snapshots is named.
pub const KEEP: Faults = &[(422, "out_of_bounds")];

/// A sequence can stop half way.
pub const SEQUENCE: Faults = &[(502, "left_behind")];

/// A container that ran is started again.
pub const RESTART: Faults = &[(502, "not_restarted")];

/// A copy is removed.
pub const CLONE: Faults = &[(403, "not_a_clone"), (409, "not_as_shown")];

/// The node is named.
pub const NODE: Faults = &[(404, "unknown_node")];

/// The monitor's newest record is read.
pub const METRICS: Faults = &[(404, "no_metrics")];

/// The ml daemon's program is asked why.
pub const WHY: Faults = &[(404, "no_decision"), (502, "why_failed"), (503, "why_busy")];

/// The answer takes a process of its own.
pub const LOOK: Faults = &[(503, "too_many_looks")];

/// A client listens for events.
pub const LISTEN: Faults = &[(503, "too_many_listeners")];

/// A job is named.
pub const JOB: Faults = &[(403, "out_of_scope"), (404, "no_such_job")];

/// A job is to be cancelled.
pub const CANCEL: Faults = &[(409, "job_ended"), (409, "not_cancellable"), (503, "not_audited")];

/// A size is raised for a limited time.
pub const BOOST: Faults = &[(409, "no_boost"), (409, "too_many_boosts")];

/// A configuration is read, and its program asked.
pub const CONFIG: Faults = &[(403, "out_of_scope"), (502, "config_check_failed"), (503, "config_unreadable")];

/// Changes of a configuration are checked.
pub const CONFIG_KEYS: Faults =
    &[(403, "protected_key"), (404, "no_such_key"), (409, "config_broken"), (422, "invalid_config")];

/// A configuration is written.
pub const CONFIG_WRITE: Faults = &[
    (409, "config_read_only"),
    (412, "config_changed"),
    (422, "invalid_config"),
    (503, "config_unwritable"),
];

/// A change of any kind is recorded.
pub const RECORDED: Faults = &[
    (408, "abandoned"),
    (503, "not_audited"),
    (503, "not_recorded"),
    (503, "shutting_down"),
    (503, "too_many_changes"),
];
