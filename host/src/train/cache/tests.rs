//! Files of kept values: whole records are found again, anything else is not there.

use super::folder::Folder;
use super::layout::{Kept, Layout};
use super::mapped::Mapped;
use super::store::{Header, Key, Store};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

fn header() -> Header {
    let kept = Kept { frames: 1, shape: vec![3], channels_last: false, top: None };
    Header { context: "c".repeat(64), model: "teacher".into(), layout: Layout { half: false, taps: vec![kept] } }
}

fn key(number: u8) -> Key {
    [number; 16]
}

fn values(number: u8) -> Vec<u8> {
    (0..12).map(|at| number.wrapping_mul(31).wrapping_add(at)).collect()
}

fn folder(path: &Path) -> Folder {
    Folder { path: path.into(), limit: 1 << 20, reserve: 0 }
}

/// A file with records 1 to 3.
fn filled(folder: &Folder) -> Store {
    let path = folder.file(&header().context);
    let mut store = Store::create(&path, header()).expect("is made").expect("nobody else has it");
    let all: Vec<(Key, Vec<u8>)> = (1..=3).map(|number| (key(number), values(number))).collect();
    let rows: Vec<(Key, &[u8])> = all.iter().map(|(key, values)| (*key, values.as_slice())).collect();
    assert!(store.append(&rows[..1], folder).expect("is written") && store.append(&rows[1..], folder).expect("too"));
    store
}

fn found(path: &Path) -> Vec<u8> {
    let Some(mut store) = Store::open(path, &header().context).expect("opens") else { return vec![] };
    let whole = |number: &u8| store.read(&key(*number)).map(|read| assert_eq!(read, values(*number))).is_some();
    (1..=3).filter(whole).collect()
}

#[test]
fn kept_values_are_found_by_key_in_a_file_opened_anew() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = folder(temporary.path());
    let path = folder.file(&header().context);
    assert!(Store::open(&path, &header().context).expect("none is no error").is_none());
    drop(filled(&folder));
    assert_eq!(found(&path), [1, 2, 3]);
    let mut store = Store::open(&path, &header().context).expect("opens").expect("is whole");
    assert_eq!((store.read(&key(9)), store.header.clone(), store.writes), (None, header(), true));
    assert!(Store::open(&path, &"d".repeat(64)).expect("opens").is_none(), "of another context");
}

/// Cut anywhere, records before the cut are there; with any byte changed, one record at most is lost and none is wrong.
#[test]
fn damaged_files_lose_records_and_give_no_wrong_ones() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = folder(temporary.path());
    let path = folder.file(&header().context);
    drop(filled(&folder));
    let whole = fs::read(&path).expect("reads");
    let begin = whole.len() - 3 * 36;
    for at in 0..whole.len() {
        fs::write(&path, &whole[..at]).expect("is written");
        let records: Vec<u8> = (1..=(at.saturating_sub(begin) / 36) as u8).collect();
        assert_eq!(found(&path), records, "{at} bytes");
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, &changed).expect("is written");
        let lost = (at >= begin).then(|| ((at - begin) / 36 + 1) as u8);
        let left: Vec<u8> = (1..=3).filter(|number| lost.is_some() && Some(*number) != lost).collect();
        assert_eq!(found(&path), left, "byte {at}");
    }
    // One that was cut goes on behind its whole records.
    fs::write(&path, &whole[..whole.len() - 5]).expect("is written");
    let mut store = Store::open(&path, &header().context).expect("opens").expect("is whole");
    assert!(store.append(&[(key(3), &values(3))], &folder).expect("is written"));
    drop(store);
    assert_eq!(found(&path), [1, 2, 3]);
}

#[test]
fn file_of_another_process_is_read_and_not_written() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = folder(temporary.path());
    let path = folder.file(&header().context);
    let _first = filled(&folder);
    let mut second = Store::open(&path, &header().context).expect("opens").expect("is whole");
    assert_eq!((second.read(&key(2)), second.writes), (Some(values(2)), false));
    assert!(Store::create(&path, header()).expect("opens").is_none());
}

#[test]
fn folder_removes_what_was_not_used_for_longest() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = Folder { limit: 1000, ..folder(temporary.path()) };
    let make = |name: &str, age: u64| {
        let path = temporary.path().join(name);
        fs::write(&path, [0; 300]).expect("is written");
        let file = File::options().write(true).open(&path).expect("opens");
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("has a time");
        file
    };
    let (own, _new) = (temporary.path().join("own.cache"), make("new.cache", 10));
    let (oldest, _other) = (make("oldest.cache", 30), make("other.txt", 99));
    make("old.cache", 20);
    let there = |name: &str| temporary.path().join(name).exists();
    assert!(folder.make_room(&own, 100).expect("is read") && there("old.cache"), "there is room for all");
    // The oldest is in use.
    oldest.lock().expect("is free");
    assert!(folder.make_room(&own, 400).expect("is read"));
    assert!(there("oldest.cache") && !there("old.cache") && there("new.cache") && there("other.txt"));
    assert!(!folder.make_room(&own, 900).expect("is read"), "one in use stands in the way");
    assert!(!folder.make_room(&own, 1001).expect("is read"), "larger than the folder may be");
}

#[test]
fn room_that_the_run_needs_is_left() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = folder(temporary.path());
    let mut store = filled(&folder);
    let all = Folder { reserve: u64::MAX / 2, ..folder.clone() };
    let refused = store.append(&[(key(4), &values(4))], &all).expect_err("nothing is free");
    assert!(refused.to_string().starts_with("the run needs the "), "{refused}");
    assert_eq!(found(&folder.file(&header().context)), [1, 2, 3]);
}

/// What lies behind the end of its file ends the process that reaches for it in a map.
#[test]
fn file_that_is_cut_under_its_map_loses_records_and_no_run() {
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = folder(temporary.path());
    let path = folder.file(&header().context);
    // Records of four pages: a cut leaves pages of the map without a file.
    let kept = Kept { frames: 1, shape: vec![4096], channels_last: false, top: None };
    let header = Header { layout: Layout { half: false, taps: vec![kept] }, ..header() };
    let long = |number: u8| vec![number; 4 * 4096];
    let mut store = Store::create(&path, header).expect("is made").expect("nobody else has it");
    let rows = [long(1), long(2), long(3)];
    let rows: Vec<(Key, &[u8])> = (1..).map(key).zip(rows.iter().map(Vec::as_slice)).collect();
    store.append(&rows, &folder).expect("is written");
    assert_eq!(store.read(&key(3)), Some(long(3)));
    let other = File::options().write(true).open(&path).expect("opens");
    let whole = other.metadata().expect("is there").len();
    other.set_len(whole / 2).expect("is cut");
    assert_eq!((store.read(&key(3)), store.read(&key(2)), store.read(&key(1))), (None, None, Some(long(1))));
    // Grown again, by zeros, it holds no more than it did.
    other.set_len(whole).expect("grows");
    let mut again = Store::open(&path, &"c".repeat(64)).expect("opens").expect("its header is whole");
    assert_eq!((again.read(&key(3)), again.read(&key(2)), again.read(&key(1))), (None, None, Some(long(1))));
}

#[test]
fn map_grows_with_its_file() {
    let mut file = Mapped::new(tempfile::tempfile().expect("a file"));
    file.write(0, b"first").expect("is written");
    assert_eq!(file.mapped(), 0);
    assert_eq!(*file.look(1, 4).expect("is there"), *b"irst");
    assert_eq!(file.mapped(), 5);
    file.write(5, b" second").expect("is written");
    assert_eq!(*file.look(0, 3).expect("is there"), *b"fir");
    assert_eq!(file.mapped(), 5, "what is mapped is enough");
    assert_eq!(*file.look(6, 6).expect("is there"), *b"second");
    assert_eq!(file.mapped(), 12);
    assert!(file.look(6, 7).is_err() && file.look(u64::MAX, 1).is_err());
    file.cut(5).expect("is cut");
    assert!(file.mapped() == 0 && file.look(4, 2).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn file_that_cannot_be_mapped_is_read_by_position() {
    let path = "/sys/devices/system/cpu/online";
    let mut file = Mapped::new(File::open(path).expect("every system has one"));
    let known = fs::read(path).expect("reads");
    assert_eq!(file.look(0, known.len()).expect("reads").into_owned(), known);
    assert_eq!(file.mapped(), 0);
}
