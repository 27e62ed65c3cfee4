//! Goal: whatever is done to a database or to its pins between two backups, the second is either the exact changes or a
//! full read with a reason; never wrong, and never an error. Method: a backup made of pins, capture and comparison
//! alone, a real writer, and one hostile act a test; every round is compared with a scan of all.

mod mounts;
mod scene;

use std::fs;
use std::os::unix::fs::symlink;

use scene::{BackupRound, PinsFixture, RoundRead, sh, tables};

/// A scene whose second round was an increment.
fn settled() -> PinsFixture {
    let mut scene = PinsFixture::new();
    assert!(matches!(scene.round(1).read, RoundRead::First));
    scene.churn(30);
    expect_changes(&scene.round(1));
    scene
}

fn expect_changes(round: &BackupRound) {
    assert!(
        matches!(
            round,
            BackupRound {
                read: RoundRead::Changes { shared: 1.. },
                unkept: None
            }
        ),
        "{round:?}"
    );
}

/// Read in full for a reason that says this, and pinned again.
fn expect_full(round: &BackupRound, reason: &str) {
    assert!(
        matches!(round, BackupRound { read: RoundRead::Full(why), unkept: None } if why.contains(reason)),
        "{round:?}"
    );
}

/// The next rounds are increments again.
fn expect_recovery(scene: &mut PinsFixture) {
    scene.churn(30);
    expect_changes(&scene.round(1));
}

#[test]
fn rounds_without_trouble_are_increments() {
    let mut scene = settled();
    for count in [0, 1, 50, 500, 3] {
        scene.churn(count);
        let round = scene.round(1);
        assert!(
            matches!(
                round,
                BackupRound {
                    read: RoundRead::Changes { .. },
                    unkept: None
                }
            ),
            "{round:?}"
        );
    }
}

#[test]
fn a_copy_over_the_database_rewrites_the_pins_and_is_right() {
    for copy in ["cp -r", "cp -r --preserve=timestamps"] {
        let mut scene = settled();
        let (db, saved) = (scene.db.clone(), scene.path("saved"));
        assert!(sh(&format!("cp -a {} {}", db.display(), saved.display())));
        scene.churn(20);
        expect_changes(&scene.round(1));
        assert!(sh(&format!("{copy} {}/. {}/", saved.display(), db.display())));
        // Tables that were rewritten with the bytes that they had are what they were.
        let round = scene.round(1);
        assert!(
            matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
            "{round:?}"
        );
        expect_recovery(&mut scene);
    }
}

/// The owner compacts what was rewritten before the next backup looks: the pins alone can tell.
#[test]
fn a_copy_over_the_database_is_seen_when_the_owner_has_written_on() {
    for (copy, count) in [("cp -r", 10), ("cp -r", 3000), ("cp -a", 10), ("cp -a", 3000)] {
        let mut scene = settled();
        let (db, saved) = (scene.db.clone(), scene.path("saved"));
        assert!(sh(&format!("cp -a {} {}", db.display(), saved.display())));
        scene.churn(300);
        scene.round(1);
        assert!(sh(&format!("{copy} {}/. {}/", saved.display(), db.display())));
        scene.churn(count);
        // Right either way, as every round is.
        let round = scene.round(1);
        assert!(
            matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
            "{round:?}"
        );
        expect_recovery(&mut scene);
    }
}

#[test]
fn a_rollback_by_another_directory_is_right() {
    for copy in ["cp -a", "cp -r"] {
        let mut scene = settled();
        let (db, saved) = (scene.db.clone(), scene.path("saved"));
        assert!(sh(&format!("{copy} {} {}", db.display(), saved.display())));
        scene.churn(300);
        scene.round(1);
        assert!(sh(&format!(
            "rm -r {0} && mv {1} {0}",
            db.display(),
            saved.display()
        )));
        let round = scene.round(1);
        assert!(
            matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
            "{round:?}"
        );
        scene.churn(300);
        let round = scene.round(1);
        assert!(
            matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
            "{round:?}"
        );
        expect_recovery(&mut scene);
    }
}

#[test]
fn a_table_that_is_another_file_of_the_same_bytes_is_not_shared_and_nothing_is_wrong() {
    let mut scene = settled();
    for table in tables(&scene.db.clone()) {
        let name = table.display();
        assert!(sh(&format!("cp -a {name} {name}.new && mv {name}.new {name}")));
    }
    let round = scene.round(1);
    assert!(
        matches!(round.read, RoundRead::Changes { shared: 0 }),
        "{round:?}"
    );
    expect_recovery(&mut scene);
}

#[test]
fn a_table_overwritten_in_place_with_bytes_of_the_same_length_leads_to_a_full_read() {
    let mut scene = settled();
    let table = tables(&scene.db)[0].clone();
    let mut bytes = fs::read(&table).unwrap();
    bytes[20] ^= 1;
    // The time is set back: only the inode's change tells.
    let name = table.display().to_string();
    assert!(sh(&format!("touch -r {name} {name}.time")));
    fs::write(&table, &bytes).unwrap();
    assert!(sh(&format!("touch -r {name}.time {name} && rm {name}.time")));
    let round = scene.round(1);
    assert!(
        matches!(&round.read, RoundRead::Full(why) if why.contains("written over since it was pinned")),
        "{round:?}"
    );
    let round = scene.round(1);
    assert!(
        matches!(round.read, RoundRead::First),
        "a damaged state leaves no pins: {round:?}"
    );
}

/// The pin is the last link, and losing the other one changed the inode's time, as the write did.
#[test]
fn a_pin_that_was_written_over_and_lost_its_other_name_is_seen() {
    for rounds in [1, 2] {
        let mut scene = PinsFixture::new();
        for _ in 0..rounds {
            scene.round(1);
        }
        let table = tables(&scene.db)[0].clone();
        let mut bytes = fs::read(&table).unwrap();
        let modified = fs::metadata(&table).unwrap().modified().unwrap();
        let whole = bytes.clone();
        // Another value in the same place, and the block's checksum with it.
        assert!(sh(&format!("cp -p {0} {0}.whole", table.display())));
        bytes[20] ^= 1;
        fs::write(&table, &bytes).unwrap();
        fs::File::open(&table).unwrap().set_modified(modified).unwrap();
        // The owner's name goes, as a compaction takes it; the database itself stays whole.
        assert!(sh(&format!("mv {0}.whole {0}", table.display())));
        assert_eq!(fs::read(&table).unwrap(), whole);
        expect_full(&scene.round(1), "was written over since it was pinned");
        expect_recovery(&mut scene);
    }
}

#[test]
fn pins_that_somebody_removed_or_cut_lead_to_a_full_read() {
    for act in ["rm", "truncate -s 100", "truncate -s +1", "chmod 600", "touch"] {
        let mut scene = settled();
        scene.churn(3000);
        let kept = fs::read_dir(scene.pins())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let is_table =
            |path: &std::path::PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("00");
        let table = kept.filter(is_table).min().unwrap();
        assert!(sh(&format!("{act} {}", table.display())));
        let round = scene.round(1);
        match act {
            // The bytes are the same, and the hash may say so.
            "chmod 600" | "touch" => {
                assert!(
                    matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
                    "{round:?}"
                );
            }
            _ => assert!(matches!(round.read, RoundRead::Full(_)), "{act} {round:?}"),
        }
        if round.unkept.is_none() && !act.starts_with("truncate") {
            expect_recovery(&mut scene);
        }
    }
}

#[test]
fn copies_that_somebody_removed_or_changed_lead_to_a_full_read() {
    for act in [
        "rm",
        "truncate -s 0",
        "truncate -s +1",
        "sh -c 'printf x | dd conv=notrunc of=$0 status=none'",
    ] {
        let mut scene = settled();
        scene.churn(5);
        for entry in fs::read_dir(scene.pins()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with("cut-") {
                assert!(sh(&format!("{act} {}", path.display())));
            }
        }
        let round = scene.round(1);
        assert!(matches!(round.read, RoundRead::Full(_)), "{act} {round:?}");
        expect_recovery(&mut scene);
    }
}

#[test]
fn a_state_that_is_cut_or_flipped_is_none() {
    let mut scene = settled();
    let len = fs::read(scene.pins().join("state")).unwrap().len();
    for at in (0..len).step_by(len / 12).chain([len - 1]) {
        for cut in [true, false] {
            let state = scene.pins().join("state");
            let mut bytes = fs::read(&state).unwrap();
            let at = at.min(bytes.len() - 1);
            if cut {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 0x10
            }
            fs::write(&state, &bytes).unwrap();
            let round = scene.round(1);
            assert!(
                matches!(
                    round,
                    BackupRound {
                        read: RoundRead::First,
                        unkept: None
                    }
                ),
                "{at} {round:?}"
            );
        }
    }
    expect_recovery(&mut scene);
}

#[test]
fn another_state_that_was_put_there_is_found_out() {
    let mut scene = settled();
    let earlier = fs::read(scene.pins().join("state")).unwrap();
    scene.churn(300);
    expect_changes(&scene.round(1));
    fs::write(scene.pins().join("state"), earlier).unwrap();
    scene.churn(10);
    let round = scene.round(1);
    assert!(
        matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
        "{round:?}"
    );
    expect_recovery(&mut scene);
}

#[test]
fn what_a_killed_run_left_is_removed_and_the_state_before_is_used() {
    let mut scene = settled();
    scene.churn(30);
    let pins = scene.pins();
    for name in ["state.new", "cut-0123456789abcdef", "000099-0123456789abcdef"] {
        fs::write(pins.join(name), b"half").unwrap();
    }
    fs::create_dir(pins.join("a directory")).unwrap();
    expect_changes(&scene.round(1));
    for name in ["state.new", "cut-0123456789abcdef", "000099-0123456789abcdef"] {
        assert!(!pins.join(name).exists(), "{name}");
    }
}

#[test]
fn a_link_a_file_or_a_foreign_directory_in_the_pins_place_means_no_pins_and_is_left_alone() {
    let scene = settled();
    let pins = scene.pins();
    let outside = scene.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), b"x").unwrap();
    for plant in ["link", "dangling", "file", "foreign"] {
        let mut scene = PinsFixture::new();
        let path = scene.db.parent().unwrap().join(pins.file_name().unwrap());
        match plant {
            "link" => symlink(&outside, &path).unwrap(),
            "dangling" => symlink("/nowhere", &path).unwrap(),
            "file" => fs::write(&path, b"x").unwrap(),
            _ => {
                fs::create_dir(&path).unwrap();
                if std::os::unix::fs::chown(&path, Some(65534), None).is_err() {
                    eprintln!("not run: needs root");
                    continue;
                }
            }
        }
        for _ in 0..2 {
            let round = scene.round(1);
            assert!(
                matches!(
                    &round,
                    BackupRound {
                        read: RoundRead::Full(_),
                        unkept: Some(_)
                    }
                ),
                "{plant} {round:?}"
            );
            scene.churn(10);
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{plant}");
    }
}

#[test]
fn a_link_in_the_place_of_a_copy_or_of_the_state_is_not_followed_to_a_wrong_state() {
    for name in ["state", "cut-"] {
        let mut scene = settled();
        let entries = fs::read_dir(scene.pins())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let path = entries
            .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(name))
            .min()
            .unwrap();
        fs::remove_file(&path).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        scene.churn(10);
        let round = scene.round(1);
        assert!(
            matches!(round.read, RoundRead::First | RoundRead::Full(_)),
            "{name} {round:?}"
        );
        expect_recovery(&mut scene);
    }
}

#[test]
fn pins_are_one_processs_at_a_time_and_the_other_reads_all() {
    use crate::id::RepositoryId;
    let mut scene = settled();
    let held = crate::source::DatabasePins::open(
        &scene.db,
        RepositoryId([1; 32]),
        crate::source::pins::PinOptions::default(),
        std::sync::Arc::default(),
    )
    .unwrap();
    scene.churn(10);
    let round = scene.round(1);
    assert!(
        matches!(&round, BackupRound { read: RoundRead::Full(why), unkept: Some(_) } if why.contains("in use")),
        "{round:?}"
    );
    drop(held);
    // That run linked and unlinked the tables, so they count as touched: right, though dear.
    let round = scene.round(1);
    assert!(
        matches!(round.read, RoundRead::Full(_) | RoundRead::Changes { .. }),
        "{round:?}"
    );
    expect_recovery(&mut scene);
}

#[test]
fn two_repositories_are_right_in_every_round() {
    let mut scene = PinsFixture::new();
    let mut full = [0, 0];
    for _ in 0..6 {
        scene.churn(60);
        for repository in [1, 2] {
            let round = scene.round(repository);
            full[repository as usize - 1] += u32::from(matches!(round.read, RoundRead::Full(_)));
            assert_eq!(round.unkept, None);
        }
    }
    eprintln!("full reads of two repositories in 6 rounds each: {full:?}");
}

#[test]
fn two_repositories_make_increments_once_each_has_met_the_other() {
    let mut scene = PinsFixture::new();
    for turn in 0..5 {
        scene.churn(60);
        for repository in [1, 2] {
            let round = scene.round(repository);
            let is_increment = matches!(round.read, RoundRead::Changes { .. });
            assert!(turn < 2 || is_increment, "{turn} {repository} {round:?}");
        }
    }
}

#[test]
fn captures_between_two_backups_cost_one_increment_at_most() {
    let mut scene = settled();
    let mut full = 0;
    for _ in 0..4 {
        drop(
            crate::source::CaptureOptions::default()
                .capture(&scene.db)
                .unwrap(),
        );
        scene.churn(10);
        full += u32::from(matches!(scene.round(1).read, RoundRead::Full(_)));
    }
    assert!(full <= 1, "{full}");
}

/// What is pinned must be what was read, not what is there when the reading is over.
#[test]
fn a_database_written_over_while_it_is_read_is_not_pinned_as_if_it_were_the_snapshot() {
    for copy in ["cp -r", "cp -r --preserve=timestamps"] {
        let mut scene = settled();
        let (db, saved) = (scene.db.clone(), scene.path("saved"));
        // Tables of the same numbers and other bytes, as after a rollback.
        assert!(sh(&format!("cp -a {} {}", db.display(), saved.display())));
        scene.churn(300);
        let other = scene.path("other");
        assert!(sh(&format!("cp -a {} {}", db.display(), other.display())));
        assert!(sh(&format!(
            "rm -r {0} && cp -a {1} {0}",
            db.display(),
            saved.display()
        )));
        scene.churn(300);
        scene.round(1);
        scene.round_with(1, || {
            assert!(sh(&format!("{copy} {}/. {}/", other.display(), db.display())));
        });
        let round = scene.round(1);
        assert!(
            matches!(
                round.read,
                RoundRead::Full(_) | RoundRead::First | RoundRead::Changes { .. }
            ),
            "{round:?}"
        );
        expect_recovery(&mut scene);
    }
}
