//! How far back the rows of a table are kept.

use rusqlite::{Connection, OptionalExtension, params};

/// A table whose rows are numbered in the order they are inserted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// The column with the time of insertion, in µs.
    pub(crate) time: &'static str,
}

/// The number of the first row to keep: one that is not older than `since_us`, with at most `most` rows from it on.
/// `None` if all rows are kept.
///
/// This reads the rows that are to be removed and, if there might be too many, those that are kept; otherwise only a
/// few rows, whatever the size of the table.
pub(crate) fn first_kept(
    connection: &Connection,
    Table { name, time }: Table,
    since_us: i64,
    most: u32,
) -> rusqlite::Result<Option<i64>> {
    let ends = format!("SELECT (SELECT min(number) FROM {name}), (SELECT max(number) FROM {name})");
    let ends: (Option<i64>, Option<i64>) =
        connection.query_row(&ends, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(oldest), Some(newest)) = ends else { return Ok(None) };
    let young = format!("SELECT number FROM {name} WHERE ?1 <= {time} ORDER BY number LIMIT 1");
    let young: Option<i64> = connection.query_row(&young, [since_us], |row| row.get(0)).optional()?;
    let mut first = young.unwrap_or(newest + 1);
    if i64::from(most) <= newest - oldest {
        let surplus = format!("SELECT number FROM {name} ORDER BY number DESC LIMIT 1 OFFSET ?1");
        let surplus: Option<i64> =
            connection.query_row(&surplus, params![most], |row| row.get(0)).optional()?;
        first = surplus.map_or(first, |surplus| first.max(surplus + 1));
    }
    Ok((oldest < first).then_some(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_and_the_surplus_go() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE rows (number INTEGER PRIMARY KEY, at_us INTEGER)").unwrap();
        let table = Table { name: "rows", time: "at_us" };
        let first = |since_us, most| first_kept(&connection, table, since_us, most).unwrap();
        assert_eq!(first(0, 1), None, "the table is empty");
        // Number 4 has been removed already.
        for (number, at_us) in [(1, 10), (2, 20), (3, 30), (5, 50), (6, 60)] {
            connection.execute("INSERT INTO rows VALUES (?1, ?2)", [number, at_us]).unwrap();
        }
        for (since_us, most, want) in [
            (0, 100, None),
            (10, 5, None),
            (11, 5, Some(2)),
            (30, 5, Some(3)),
            (31, 5, Some(5)),
            (61, 5, Some(7)),
            (0, 4, Some(2)),
            (0, 2, Some(4)),
            (31, 4, Some(5)),
            (11, 2, Some(4)),
        ] {
            assert_eq!(first(since_us, most), want, "since {since_us}, {most} at most");
        }
    }
}
