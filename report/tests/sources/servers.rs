//! debuginfod: what is asked for, of whom, and where it is kept.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use profrec_report::evidence::Evidence;
use profrec_report::local_files::debuginfod::Debuginfod;
use profrec_report::local_files::{Contents, LocalFiles, Outcome, Sources, Step, hex};

use super::program::{Program, folders};
use super::server::{Server, respond};
use super::toolchain::{needs, skip};

/// Sources with these servers and this cache alone.
pub(crate) fn asking(urls: &str, cache: &Path, more: &[(&str, &str)]) -> Sources {
    let variables = [("DEBUGINFOD_URLS", urls), ("DEBUGINFOD_CACHE_PATH", cache.to_str().unwrap())];
    let all: Vec<_> = variables.iter().chain(more).collect();
    let debuginfod = Debuginfod::from_environment(|name| {
        all.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
    });
    Sources { debuginfod, ..folders(&[]) }
}

/// Where a server has a file of a build.
pub(crate) fn place(identity: &[u8], kind: &str) -> String {
    format!("/buildid/{}/{kind}", hex(identity))
}

/// A debug file comes from a server, is kept where debuginfod's clients keep it, and is not asked for again.
#[test]
fn a_server_has_the_debug_file() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let file = fs::read(program.path("prog")).unwrap();
    let server = Server::with_files(vec![(place(&program.identity, "debuginfo"), file)]);
    let sources = asking(&server.url, cache.path(), &[]);
    let found = program.find(&sources);
    found.require_debug_info();
    assert!(matches!(found.outcomes(Step::Debuginfod)[..], [Outcome::Fetched(_)]), "{:#?}", found.attempts);
    assert!(cache.path().join(hex(&program.identity)).join("debuginfo").is_file());

    let found = program.find(&sources);
    found.require_debug_info();
    found.require_taken(Step::DebuginfodCache);
    assert_eq!(server.requests().len(), 1);
}

/// A file in the cache that is damaged is fetched again, and used.
#[test]
fn a_damaged_file_in_the_cache() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let file = fs::read(program.path("prog")).unwrap();
    let server = Server::with_files(vec![(place(&program.identity, "debuginfo"), file)]);
    let folder = cache.path().join(hex(&program.identity));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("debuginfo"), "damaged").unwrap();
    program.find(&asking(&server.url, cache.path(), &[])).require_debug_info();
}

/// A server that has no debug file may have the program itself; what nobody has is not asked for again for a while.
#[test]
fn a_server_has_the_program_alone() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    program.run("strip --strip-all prog");
    let file = fs::read(program.path("prog")).unwrap();
    let server = Server::with_files(vec![(place(&program.identity, "executable"), file)]);
    let sources = asking(&server.url, cache.path(), &[]);
    for _ in 0..2 {
        let found = program.find(&sources);
        assert!(found.functions().contains(&"exported"), "{:#?}", found.attempts);
    }
    assert_eq!(server.requests(), [place(&program.identity, "debuginfo"), place(&program.identity, "executable")]);
}

/// The program, whose debug info is shared with another, in `common.debug`; and the build-id of that file.
fn with_shared_debug_info() -> (Program, Vec<u8>) {
    let program = Program::new();
    fs::copy(program.path("prog"), program.path("second")).unwrap();
    program.run("dwz -m common.debug prog second");
    let shared = Contents::of(&fs::read(program.path("common.debug")).unwrap()).unwrap().identity;
    (program, shared)
}

/// A server with these files of such a program.
fn serve(program: &Program, files: &[(&[u8], &str)]) -> Server {
    let file = |(identity, name): &(&[u8], &str)| (place(identity, "debuginfo"), fs::read(program.path(name)).unwrap());
    Server::with_files(files.iter().map(file).collect())
}

/// What debug files share comes from the server too, by its own build-id; for two modules, and one build at two paths, it
/// comes once.
#[test]
fn shared_debug_info_from_a_server() {
    needs!("dwz");
    let ((program, shared), cache) = (with_shared_debug_info(), tempfile::tempdir().unwrap());
    let server = serve(&program, &[(&program.identity, "prog"), (&shared, "common.debug")]);
    let sources = asking(&server.url, cache.path(), &[]);
    let modules: Vec<_> = ["/nonexistent/a/prog", "/nonexistent/b/prog"]
        .map(|path| {
            let mut module = program.evidence();
            path.clone_into(&mut module.module.path);
            module
        })
        .into();
    let evidence = Evidence { modules, ..Evidence::default() };
    let mut files = LocalFiles::find(&evidence, &sources);
    files.fetch(&evidence, &[1, 1], &sources);
    let asked = [place(&program.identity, "debuginfo"), place(&shared, "debuginfo")];
    assert_eq!(server.requests(), asked);
    for files in [0, 1].map(|index| files.module(index).unwrap()) {
        assert!(files.debug_info().is_some() && files.shared_debug_info().is_some(), "{:#?}", files.attempts());
    }
    program.find(&sources).require_debug_info();
    assert_eq!(server.requests(), asked);
}

/// Files of several modules are asked for at once: a server that answers the first request only when the second has come is no
/// reason to wait.
#[test]
fn several_at_once() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let bytes = fs::read(program.path("prog")).unwrap();
    let wanted = place(&program.identity, "debuginfo");
    let (requests, both) = (AtomicUsize::new(0), Barrier::new(2));
    let server = Server::new(move |path, stream| {
        if requests.fetch_add(1, Ordering::SeqCst) < 2 {
            both.wait();
        }
        if path == wanted { respond(stream, "200 OK", &bytes) } else { respond(stream, "404 Not Found", b"no") }
    });
    let sources = asking(&server.url, cache.path(), &[("DEBUGINFOD_TIMEOUT", "20")]);
    let mut other = program.evidence();
    other.module.build_id = vec![7; 20];
    let evidence = Evidence { modules: vec![other, program.evidence()], ..Evidence::default() };
    let mut files = LocalFiles::find(&evidence, &sources);
    files.fetch(&evidence, &[2, 1], &sources);
    assert!(files.module(1).unwrap().debug_info().is_some(), "{:#?}", files.module(1).unwrap().attempts());
    assert!(files.module(0).unwrap().attempts().iter().any(|attempt| attempt.outcome == Outcome::NoSuchFile));
}

/// What fetched debug info shares with others is not asked for where it is on this machine: in debuginfod's cache, in a
/// folder given with `--symbols`, in the system's tree.
#[test]
fn shared_debug_info_that_is_here() {
    needs!("dwz");
    for is_in in ["cache", "folder", "tree"] {
        let ((program, shared), cache) = (with_shared_debug_info(), tempfile::tempdir().unwrap());
        let server = serve(&program, &[(&program.identity, "prog")]);
        let (elsewhere, digits) = (tempfile::tempdir().unwrap(), hex(&shared));
        let mut sources = asking(&server.url, cache.path(), &[]);
        let at = match is_in {
            "cache" => cache.path().join(&digits).join("debuginfo"),
            "folder" => elsewhere.path().join("renamed"),
            _ => elsewhere.path().join(".build-id").join(&digits[..2]).join(format!("{}.debug", &digits[2..])),
        };
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::copy(program.path("common.debug"), at).unwrap();
        match is_in {
            "folder" => sources.folders.push(elsewhere.path().to_owned()),
            _ => sources.system_debug = elsewhere.path().to_owned(),
        }
        program.find(&sources).require_debug_info();
        assert_eq!(server.requests(), [place(&program.identity, "debuginfo")], "{is_in}");
    }
}

/// Without a URL nobody is asked, and that is said.
#[test]
fn nobody_is_asked_without_a_url() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let found = program.find(&asking("", cache.path(), &[]));
    assert_eq!(found.outcomes(Step::Debuginfod), [&Outcome::LeftOut("DEBUGINFOD_URLS is not set".to_owned())]);
}

/// A server that was started for a test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// elfutils' own server and client: its server gives the files, its client and this one keep them alike.
#[test]
fn the_server_and_the_client_of_elfutils() {
    needs!("debuginfod", "debuginfod-find", "objcopy");
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    program.run("objcopy --only-keep-debug prog prog.debug");
    fs::create_dir(program.path("served")).unwrap();
    fs::rename(program.path("prog.debug"), program.path("served/prog.debug")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("debuginfod");
    command.args(["-p", &port.to_string(), "-d", ":memory:", "-F"]).arg(program.path("served"));
    command.env_remove("DEBUGINFOD_URLS").stdout(Stdio::null()).stderr(Stdio::null());
    let _running = Running(command.spawn().unwrap());
    let url = format!("http://127.0.0.1:{port}");
    // It answers 404 until it has looked through its folder.
    let found = (0..300).find_map(|_| {
        let patient = tempfile::tempdir().unwrap();
        let found = program.find(&asking(&url, patient.path(), &[]));
        let is_there = matches!(found.outcomes(Step::Debuginfod).last(), Some(Outcome::Fetched(_)));
        std::thread::sleep(Duration::from_millis(if is_there { 0 } else { 100 }));
        is_there.then_some(found)
    });
    let Some(found) = found else { return skip("debuginfod did not serve anything for 30 s") };
    found.require_debug_info();

    let ours = cache.path().join("ours");
    program.find(&asking(&url, &ours, &[])).require_debug_info();
    let find = |cache: &Path, url: &str| {
        let mut command = Command::new("debuginfod-find");
        command.args(["debuginfo", &hex(&program.identity)]);
        command.env("DEBUGINFOD_CACHE_PATH", cache).env("DEBUGINFOD_URLS", url).output().unwrap().status.success()
    };
    let nobody = "http://127.0.0.1:9";
    assert!(find(&ours, nobody), "their client does not find what this one keeps");
    let theirs = cache.path().join("theirs");
    assert!(find(&theirs, &url));
    let found = program.find(&asking(nobody, &theirs, &[]));
    found.require_debug_info();
    found.require_taken(Step::DebuginfodCache);
}
