//! Names come back as they were, or not at all.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use object::{Object, ObjectSymbol};
use profrec_format::Module;

use super::*;
use crate::evidence::{Evidence, ModuleEvidence};
use crate::local_files::{LocalFiles, Sources};
use crate::stacks::Location;
use crate::symbols::dwarf::DwarfFrame;
use crate::symbols::{Names, Wanted};

fn known() -> Known {
    let frame = |name: &str, line| DwarfFrame { name: Some(name.into()), file: Some("/src/a.rs".into()), line };
    let mut known = Known::default();
    known.frames.insert(0x1000, vec![frame("_Z1fv", Some(7)), frame("_Z1gv", None)]);
    known.frames.insert(0x2000, vec![DwarfFrame::default()]);
    known.frames.insert(0x3000, vec![]);
    known.readable.insert("_Z1fv".into(), "f()".into());
    known
}

fn key(text: &str) -> Key {
    Key { file: "abcd".into(), bytes: text.as_bytes().to_vec() }
}

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("profrec"));
    (folder, cache)
}

/// What was kept is known again, under the same key only.
#[test]
fn known_again() {
    let (_folder, cache) = cache();
    assert_eq!(cache.read(&key("one")), Known::default());
    cache.write(&key("one"), &known());
    assert_eq!(cache.read(&key("one")), known());
    assert_eq!(cache.read(&key("other")), Known::default());
}

/// A key tells apart files, whether lines are in it, and modules.
#[test]
fn keys_tell_files_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    let key = |text: &str, identity, lines| {
        fs::write(&path, text).unwrap();
        Key::new(identity, [&MappedFile::open(&path).unwrap()].into_iter(), lines).bytes
    };
    let first = key("x", b"id", true);
    assert_ne!(key("x", b"id", false), first);
    assert_ne!(key("x", b"other", true), first);
    assert_ne!(key("longer", b"id", true), first);
    let file = MappedFile::open(&path).unwrap();
    let again = || Key::new(b"id", [&file].into_iter(), true).bytes;
    assert_eq!(again(), again());
}

/// The same build at two paths is known at both.
#[test]
fn one_build_at_two_paths() {
    let (folder, cache) = cache();
    let keys = ["a", "b"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, "x").unwrap();
        Key::new(b"id", [&MappedFile::open(&path).unwrap()].into_iter(), true)
    });
    for key in &keys {
        cache.write(key, &known());
    }
    assert_eq!(keys.map(|key| cache.read(&key)), [known(), known()]);
}

/// A file that is damaged anywhere, or cut, says nothing; never something else.
#[test]
fn damage_is_not_believed() {
    let whole = encoding::encode(b"key", &known());
    assert_eq!(encoding::decode(b"key", &whole), Some(known()));
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert_eq!(encoding::decode(b"key", &changed), None, "changed at {at}");
        assert_eq!(encoding::decode(b"key", &whole[..at]), None, "cut at {at}");
    }
}

/// A file whose checksum is right, but whose numbers were made to exhaust or to deceive, is no panic and takes no memory.
#[test]
fn hostile_numbers() {
    let whole = encoding::encode(b"key", &known());
    for at in 12..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            let end = (at + 4).min(changed.len());
            changed[at..end].fill(value);
            let checksum = crc32fast::hash(&changed[12..]);
            changed[8..12].copy_from_slice(&checksum.to_le_bytes());
            let _ = encoding::decode(b"key", &changed);
        }
    }
}

/// What others could have written is not read: a file that all may write, or a link.
#[test]
fn only_own_files() {
    let (_folder, cache) = cache();
    cache.write(&key("one"), &known());
    let path = cache.path(&key("one"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(cache.read(&key("one")), Known::default());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let elsewhere = path.with_extension("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert_eq!(cache.read(&key("one")), Known::default());
}

/// Above the limit, what was not used for longest goes; so does what a killed report has left.
#[test]
fn the_oldest_goes() {
    let (_folder, mut cache) = cache();
    let keys = [1, 2, 3].map(|number| Key { file: number.to_string(), bytes: vec![number] });
    cache.write(&keys[0], &known());
    let size = fs::metadata(cache.path(&keys[0])).unwrap().len();
    cache.limit = 2 * size;
    let age = |path: &Path, seconds| {
        let file = File::open(path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    };
    let left = cache.folder.join("x.7.unfinished");
    fs::write(&left, "half").unwrap();
    age(&left, 7200);
    cache.write(&keys[1], &known());
    age(&cache.path(&keys[0]), 60);
    age(&cache.path(&keys[1]), 90);
    assert_eq!(cache.read(&keys[1]), known());
    cache.write(&keys[2], &known());
    assert_eq!(keys.each_ref().map(|key| cache.path(key).exists()), [false, true, true]);
    assert!(!left.exists());
}

/// Reports that write and read at once see the whole file of one of them, never a mixture.
#[test]
fn reports_at_once() {
    let (_folder, cache) = cache();
    let one = known();
    let mut other = known();
    other.frames.insert(0x4000, vec![]);
    std::thread::scope(|scope| {
        for known in [&one, &other] {
            let cache = &cache;
            scope.spawn(move || (0..50).for_each(|_| cache.write(&key("one"), known)));
        }
        for _ in 0..200 {
            let seen = cache.read(&key("one"));
            assert!(seen == Known::default() || seen == one || seen == other);
        }
    });
    assert!(cache.read(&key("one")) != Known::default());
}

/// What is named with the help of an earlier report is named as without it; and the earlier report does help.
#[test]
fn names_are_the_same() {
    let path = env::current_exe().unwrap();
    let file = MappedFile::open(&path).unwrap();
    let identity = file.contents().unwrap().identity;
    let elf = object::File::parse(file.bytes()).unwrap();
    let functions = elf.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 4);
    let addresses: Vec<u64> = functions.step_by(50).map(|symbol| symbol.address() + symbol.size() / 2).collect();
    let locations: Vec<_> = addresses.iter().map(|&address| Location::Module { module: 0, address }).collect();
    let module = Module { path: path.to_str().unwrap().to_owned(), build_id: identity.clone(), ..Module::default() };
    let modules = vec![ModuleEvidence { module, ..ModuleEvidence::default() }];
    let evidence = Evidence { modules, ..Evidence::default() };
    let files = LocalFiles::find(&evidence, &Sources::default());
    let (_folder, cache) = cache();
    let found = |cache: Option<&Cache>| {
        let names = Names::find(&locations, &evidence, &files, &Wanted { cache: cache.cloned(), ..Wanted::all() });
        (names.functions, names.locations, names.unnamed, names.modules)
    };
    let without = found(None);
    assert!(without.0.len() > 100 && without.1.iter().any(|frames| frames.len() > 1));
    assert_eq!(found(Some(&cache)), without);
    assert_eq!(found(Some(&cache)), without);

    let key = Key::new(&identity, [&file, &file, &file].into_iter(), true);
    let mut known = cache.read(&key);
    known.readable.values_mut().for_each(|name| *name = "from the cache".into());
    cache.write(&key, &known);
    assert_eq!(&*found(Some(&cache)).0[0].name, "from the cache");
}
