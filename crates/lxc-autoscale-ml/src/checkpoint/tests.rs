use super::*;

type Read = Result<(Option<String>, Vec<u64>), CheckpointError>;

fn read_back(path: &Path, learnt_by: &str) -> Read {
    let mut items = Vec::new();
    let general = read(path, learnt_by, |item: u64| items.push(item))?;
    Ok((general, items))
}

fn written(path: &Path) {
    let header = Header::new("these values".to_owned(), 3, "general".to_owned());
    write(path, &header, [7_u64, 8, 9].into_iter()).unwrap();
}

#[test]
fn what_was_written_is_read_and_nothing_else_lies_beside_it() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("learnt.checkpoint");
    assert_eq!(read_back(&path, "these values").unwrap(), (None, vec![]), "none yet");
    written(&path);
    written(&path);
    assert_eq!(read_back(&path, "these values").unwrap(), (Some("general".to_owned()), vec![7, 8, 9]));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    assert!(matches!(read_back(&path, "others"), Err(CheckpointError::Configuration { .. })));
}

/// Nothing of a damaged file is handed out, whichever bit is wrong and wherever it ends.
#[test]
fn damage_is_noticed() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("learnt.checkpoint");
    written(&path);
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        assert!(
            matches!(read_back(&path, "these values"), Err(CheckpointError::Damaged { .. })),
            "bit {bit}"
        );
    }
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(read_back(&path, "these values").is_err(), "{length} bytes");
    }
}

#[test]
fn a_file_of_another_version_is_told_apart_from_a_damaged_one() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("learnt.checkpoint");
    let header = Header { program: "9.0.0".to_owned(), learnt_by: String::new(), items: 0, general: 1.5 };
    write(&path, &header, std::iter::empty::<u64>()).unwrap();
    let error = read_back(&path, "").unwrap_err();
    assert!(matches!(&error, CheckpointError::Version { found, .. } if found == "9.0.0"), "{error}");
}
