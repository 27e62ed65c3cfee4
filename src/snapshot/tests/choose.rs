//! Choosing a snapshot by words.

use super::*;

fn known(ids: &[(u8, u8, i64)]) -> Vec<SnapshotCandidate> {
    let make = |&(first, second, time): &(u8, u8, i64)| {
        let mut id = [0; 32];
        (id[0], id[4]) = (first, second);
        SnapshotCandidate {
            is_set_aside: false,
            id: ObjectId(id),
            time: UnixNanos(time),
        }
    };
    ids.iter().map(make).collect()
}

#[test]
fn latest_counts_back_by_time_not_by_place() {
    let known = known(&[(1, 0, 30), (2, 0, 10), (3, 0, 20)]);
    assert_eq!(select(&known, "latest").unwrap(), known[0].id);
    assert_eq!(select(&known, "latest~0").unwrap(), known[0].id);
    assert_eq!(select(&known, "latest~1").unwrap(), known[2].id);
    assert_eq!(select(&known, "latest~2").unwrap(), known[1].id);
    assert_eq!(
        select(&known, "latest~3").unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(select(&[], "latest").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_prefix_must_mean_one_snapshot_and_the_error_tells_them_apart() {
    let known = known(&[(0xab, 1, 1), (0xab, 2, 2), (0xcd, 0, 3)]);
    assert_eq!(select(&known, "c").unwrap(), known[2].id);
    assert_eq!(select(&known, "AB00000001").unwrap(), known[0].id);
    assert_eq!(select(&known, &known[1].id.to_hex()).unwrap(), known[1].id);
    let error = select(&known, "ab").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(
        error.to_string(),
        "snapshot `ab` is not one: ab00000001, ab00000002"
    );
    assert_eq!(select(&known, "ef").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn words_that_are_neither_are_wrong_usage() {
    let known = known(&[(1, 0, 1)]);
    let long = "0".repeat(65);
    for wrong in [
        "",
        "latest~",
        "latest~x",
        "latest~-1",
        "latest1",
        "xyz",
        "ab cd",
        &long,
    ] {
        assert_eq!(
            select(&known, wrong).unwrap_err().kind(),
            ErrorKind::Usage,
            "{wrong}"
        );
    }
}

#[test]
fn many_candidates_are_counted_not_listed() {
    let many: Vec<_> = (0..100).map(|n| (0xab, n, 0)).collect();
    let error = select(&known(&many), "ab").unwrap_err().to_string();
    assert!(error.ends_with("ab00000007, and 92 more"), "{error}");
}
