//! Journals, which are read after a power cut: damage is an error that says so, and a torn last line changes nothing.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use malleus::resources::{Recorded, Store, StoreError};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().expect("a folder"));

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    let end = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if let Ok(recorded) = &whole {
        for (resource, _) in recorded.open.values() {
            // What `malleus runs` shows of it.
            assert!(!resource.kind().is_empty() && !resource.to_string().is_empty());
            let _ = (resource.name(), resource.wave());
        }
    }
    if end < bytes.len() {
        let torn = format!("{whole:?}");
        assert_eq!(
            torn,
            format!("{:?}", read(&bytes[..end])),
            "the last line is torn, and counts"
        );
    }
});

fn read(bytes: &[u8]) -> Result<Recorded, StoreError> {
    fs::write(FOLDER.path().join("run.jsonl"), bytes).expect("a journal");
    Store::new(FOLDER.path())
        .open("run")
        .map(|kept| kept.recorded.clone())
}
