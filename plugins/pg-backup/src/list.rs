//! Which tables an archive holds, from what `pg_restore --list` prints.
//!
//! Pure. A line is `215; 1259 16387 TABLE public events owner`; nothing in it is quoted, so the first word after the
//! kind is taken for the schema and the last for the owner.

use std::collections::BTreeSet;

/// The tables of an archive, as `schema.table`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Those whose definition it holds.
    pub(crate) tables: BTreeSet<String>,
    /// Those whose rows it holds.
    pub(crate) with_data: BTreeSet<String>,
}

/// Reads the list.
pub(crate) fn read(list: &str) -> Contents {
    let mut contents = Contents::default();
    for line in list.lines().filter(|line| !line.starts_with(';')) {
        // The number of the entry, and two of the catalog.
        let Some(entry) = line.split_once("; ").and_then(|(_, rest)| rest.splitn(3, ' ').nth(2)) else {
            continue;
        };
        if let Some(rest) = entry.strip_prefix("TABLE DATA ") {
            contents.with_data.extend(table(rest));
        } else if let Some(rest) = entry.strip_prefix("TABLE ").filter(|rest| !rest.starts_with("ATTACH ")) {
            contents.tables.extend(table(rest));
        }
    }
    contents
}

/// `public events owner` as `public.events`.
fn table(rest: &str) -> Option<String> {
    let (schema, rest) = rest.split_once(' ')?;
    let (name, _owner) = rest.rsplit_once(' ')?;
    Some(format!("{schema}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::world::tests::LIST;

    #[test]
    fn tables_and_their_rows_are_told_apart() {
        let contents = read(LIST);
        assert_eq!(contents.tables.iter().collect::<Vec<_>>(), ["public.We ird", "public.events", "s.empty"]);
        assert_eq!(contents.with_data.iter().collect::<Vec<_>>(), ["public.We ird", "public.events"]);
        assert_eq!(read("; only comments\n\nnonsense\n").tables.len(), 0);
    }
}
