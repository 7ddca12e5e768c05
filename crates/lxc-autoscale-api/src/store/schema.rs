//! The tables of `api.sqlite`; each migration upgrades them by one version.

/// In the order of their versions.
pub(super) const MIGRATIONS: &[&str] = &[FIRST, SECOND, THIRD, FOURTH];

/// Carried out whenever the file is opened. It is no version of the tables: the program before this one, which may be put
/// back after an update, can do without the index. Only a start looks for open changes, but every change wrote two more
/// pages for that.
pub(super) const WITHOUT_INDEX: &str = "DROP INDEX IF EXISTS changes_open";

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

const SECOND: &str = "
    -- The copies that this server made, with the change that made each.
    CREATE TABLE copies (vmid INTEGER PRIMARY KEY, change INTEGER NOT NULL, at_us INTEGER NOT NULL);
    INSERT OR REPLACE INTO copies (vmid, change, at_us)
        SELECT json_extract(task, '$.target'), number, coalesce(ended_us, created_us) FROM changes AS made
        WHERE state = 'done' AND json_extract(task, '$.kind') = 'create_clone' AND NOT EXISTS (
            SELECT 1 FROM changes WHERE number > made.number AND state = 'done'
                AND json_extract(task, '$.kind') = 'delete_clone'
                AND json_extract(task, '$.vmid') = json_extract(made.task, '$.target'))
        ORDER BY number;
";

const THIRD: &str = "
    -- How far the copy of a change has come; the last call alone does not show it.
    ALTER TABLE changes ADD COLUMN copy TEXT;
    UPDATE changes SET copy = '\"ordered\"'
        WHERE state = 'running' AND json_extract(task, '$.kind') = 'create_clone'
            AND (steps LIKE '%\"pct clone %' OR steps LIKE '%/clone\"%');
";

const FOURTH: &str = "
    -- Which container has an id that the ledger or a boost knows; absent for rows of earlier versions until the container
    -- is looked at.
    CREATE TABLE identities (vmid INTEGER PRIMARY KEY, identity TEXT NOT NULL);
";

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::jobs::CopyStage;

    #[test]
    fn copies_that_an_earlier_version_had_ordered_are_known() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        for (state, step) in [
            ("running", "pct clone 104 105 --full 1"),
            ("running", "POST /nodes/pve/lxc/104/clone"),
            ("running", "pct snapshot 104 lxc-autoscale-clone-105"),
            ("done", "pct clone 104 105 --full 1"),
        ] {
            let steps = serde_json::json!([{"at": "2026-11-25T08:00:00Z", "text": step}]).to_string();
            let sql =
                "INSERT INTO changes (is_job, task, summary, containers, caller, state, created_us, steps)
                       VALUES (1, '{\"kind\": \"create_clone\"}', '', '[]', 'uid:0', ?1, 1, ?2)";
            connection.execute(sql, [state, &steps]).unwrap();
        }
        connection.execute_batch(THIRD).unwrap();
        let mut statement = connection.prepare("SELECT copy FROM changes ORDER BY number").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        let copies: Vec<Option<String>> = rows.collect::<Result<_, _>>().unwrap();
        let ordered = serde_json::to_string(&CopyStage::Ordered).unwrap();
        assert_eq!(copies, [Some(ordered.clone()), Some(ordered), None, None]);
    }

    #[test]
    fn copies_that_an_earlier_version_made_are_known() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        let create = |id: u32| format!(r#"{{"kind": "create_clone", "source": 104, "target": {id}}}"#);
        let delete = |id: u32| format!(r#"{{"kind": "delete_clone", "vmid": {id}}}"#);
        for (task, state) in [
            (create(105), "done"),
            (create(106), "failed"),
            (create(107), "done"),
            (delete(107), "done"),
            (create(108), "done"),
            (delete(108), "failed"),
            (create(109), "done"),
            (delete(109), "done"),
            (create(109), "done"),
            (r#"{"kind": "set_cores", "vmid": 110, "cores": 2}"#.to_owned(), "done"),
        ] {
            let sql = "INSERT INTO changes (is_job, task, summary, containers, caller, state, created_us)
                       VALUES (1, ?1, '', '[]', 'uid:0', ?2, 1)";
            connection.execute(sql, [task.as_str(), state]).unwrap();
        }
        connection.execute_batch(SECOND).unwrap();
        let mut statement = connection.prepare("SELECT vmid, change FROM copies ORDER BY vmid").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let copies: Vec<(u32, i64)> = rows.collect::<Result<_, _>>().unwrap();
        assert_eq!(copies, [(105, 1), (108, 5), (109, 9)]);
    }
}
