//! Stores of earlier schemas, as they are opened.

use super::*;
use crate::store::{Filter, Scope};

#[tokio::test]
async fn a_list_in_a_store_of_an_earlier_schema_counts_and_shows_all_of_its_tasks() {
    for version in [8, 9] {
        has_all_tasks_of(version).await;
    }
}

async fn has_all_tasks_of(version: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let earlier = Connection::open(&file).unwrap();
    for sql in &migrations::MIGRATIONS[..version] {
        earlier.execute_batch(sql).unwrap();
    }
    earlier.pragma_update(None, "user_version", i64::try_from(version).unwrap()).unwrap();
    let put = "INSERT INTO tasks VALUES (?1, 'task-' || ?1, 'owner', 'fake', 'c', 's', NULL, 1 + ?1 % 8, ?1, 0, 1, 0)";
    for n in 0..40 {
        earlier.execute(put, [n]).unwrap();
    }
    drop(earlier);
    let store =
        Sqlite::in_folder(folder.path(), &file, lock(folder.path(), "a test").unwrap(), 1, true)
            .unwrap();
    let pages = store.read_together(|reads| {
        let scope = Scope { caller: Arc::from("owner"), agent: Arc::from("fake") };
        let states = [1, 2, 3, 6].map(|number| Some(read::state_of(number)));
        let states = states.into_iter().chain([None]);
        let page = |state| reads.list(&scope, &Filter { state, ..Filter::default() }, None, 50);
        states.map(page).collect::<Result<Vec<_>, _>>()
    });
    let counts = pages.await.unwrap().into_iter().map(|page| (page.total, page.rows.len()));
    assert_eq!(counts.collect::<Vec<_>>(), [(5, 5), (5, 5), (5, 5), (5, 5), (40, 40)]);
}
