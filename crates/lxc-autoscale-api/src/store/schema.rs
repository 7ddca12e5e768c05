//! The tables of `api.sqlite`; each text takes them one version further.

/// In the order of their versions.
pub(super) const MIGRATIONS: &[&str] = &[FIRST];

const FIRST: &str = "
    -- Every change that was asked for; those that take long are jobs.
    CREATE TABLE changes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        is_job INTEGER NOT NULL,
        task TEXT NOT NULL,
        summary TEXT NOT NULL,
        containers TEXT NOT NULL,
        caller TEXT NOT NULL,
        state TEXT NOT NULL,
        created_us INTEGER NOT NULL,
        begun_us INTEGER,
        ended_us INTEGER,
        before TEXT,
        call TEXT,
        steps TEXT NOT NULL DEFAULT '[]',
        result TEXT,
        message TEXT,
        code TEXT
    );
    CREATE INDEX changes_open ON changes (state) WHERE state IN ('queued', 'running');

    -- Sizes that were changed, in cores or MiB; NULL where the configuration named none.
    CREATE TABLE ledger (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at_us INTEGER NOT NULL,
        vmid INTEGER NOT NULL,
        resource TEXT NOT NULL,
        before REAL,
        after REAL,
        caller TEXT NOT NULL,
        why TEXT NOT NULL,
        change INTEGER NOT NULL
    );
    CREATE INDEX ledger_by_container ON ledger (vmid, resource, number);

    -- The size before the first change ever; never removed.
    CREATE TABLE originals (
        vmid INTEGER NOT NULL,
        resource TEXT NOT NULL,
        size REAL,
        at_us INTEGER NOT NULL,
        PRIMARY KEY (vmid, resource)
    );

    CREATE TABLE boosts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        vmid INTEGER NOT NULL,
        resource TEXT NOT NULL,
        size REAL NOT NULL,
        base REAL,
        began_us INTEGER NOT NULL,
        ends_us INTEGER NOT NULL,
        next_try_us INTEGER NOT NULL,
        caller TEXT NOT NULL,
        waiting TEXT
    );

    -- Since when the ledger has everything.
    CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
";
