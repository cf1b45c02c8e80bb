//! Servers that answer badly: each costs what it may cost, leaves nothing behind, says why, and the next one is asked.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use profrec_report::local_files::{Outcome, Step, hex};

use super::program::{Found, Program};
use super::server::{Server, respond};
use super::servers::{asking, place};

/// Asks a bad server, and then a good one: what came of the bad one.
fn bad_then_good(answer: impl Fn(&mut TcpStream, &[u8]) + Send + Sync + 'static, limits: &[(&str, &str)]) -> String {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let file = fs::read(program.path("prog")).unwrap();
    let good = Server::with_files(vec![(place(&program.identity, "debuginfo"), file.clone())]);
    let bad = Server::new(move |_, stream| answer(stream, &file));
    let found = program.find(&asking(&format!("{} {}", bad.url, good.url), cache.path(), limits));
    found.require_debug_info();
    let kept = fs::read_dir(cache.path().join(hex(&program.identity))).unwrap();
    let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(kept, ["debuginfo"], "something was left behind");
    first(&found)
}

fn first(found: &Found) -> String {
    found.outcomes(Step::Debuginfod)[0].to_string()
}

fn head(stream: &mut TcpStream, lines: &str) {
    let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes());
}

const IMPATIENT: [(&str, &str); 1] = [("DEBUGINFOD_TIMEOUT", "1")];

/// A server that takes the request and says nothing.
#[test]
fn one_that_hangs() {
    let outcome = bad_then_good(|_, _| sleep(Duration::from_secs(20)), &IMPATIENT);
    assert!(outcome.contains("does not answer in time"), "{outcome}");
}

/// One that sends a byte now and then, for ever.
#[test]
fn one_that_drips() {
    let drip = |stream: &mut TcpStream, _: &[u8]| {
        head(stream, "Content-Length: 1000000\r\n");
        while stream.write_all(b"x").is_ok() {
            sleep(Duration::from_millis(20));
        }
    };
    let outcome = bad_then_good(drip, &IMPATIENT);
    assert!(outcome.contains("hangs: less than 100 KiB"), "{outcome}");
    let header = |stream: &mut TcpStream, _: &[u8]| {
        while stream.write_all(b"H").is_ok() {
            sleep(Duration::from_millis(20));
        }
    };
    let outcome = bad_then_good(header, &IMPATIENT);
    assert!(outcome.starts_with("cannot be read"), "{outcome}");
}

/// A file that is larger than allowed, whether the server says so or not.
#[test]
fn one_with_too_much() {
    let limit = [("DEBUGINFOD_MAXSIZE", "300000")];
    let outcome = bad_then_good(|stream, _| head(stream, "Content-Length: 999999999999\r\n"), &limit);
    assert!(outcome.contains("larger than 300000 bytes"), "{outcome}");
    let endless = |stream: &mut TcpStream, _: &[u8]| {
        head(stream, "");
        while stream.write_all(&[0x7f; 4096]).is_ok() {}
    };
    let outcome = bad_then_good(endless, &limit);
    assert!(outcome.contains("larger than 300000 bytes"), "{outcome}");
    let endless_head = |stream: &mut TcpStream, _: &[u8]| {
        head(stream, "A: b\r\n");
        while stream.write_all(b"C: dddddddddddddddddddddddddddddddddddddd\r\n").is_ok() {}
    };
    assert!(bad_then_good(endless_head, &limit).contains("larger than"), "a body of lines");
}

/// Answers that are no file, or not the whole one.
#[test]
fn one_with_something_else() {
    let outcome = bad_then_good(|stream, _| respond(stream, "200 OK", b"<html>hello"), &[]);
    assert!(outcome.starts_with("not an ELF file"), "{outcome}");
    let outcome = bad_then_good(|stream, _| respond(stream, "500 Internal Server Error", b""), &[]);
    assert!(outcome.contains("status 500"), "{outcome}");
    let outcome = bad_then_good(|_, _| (), &[]);
    assert!(outcome.starts_with("cannot be read"), "{outcome}");
    let outcome = bad_then_good(|stream, _| drop(stream.write_all(&[0xff; 100_000])), &[]);
    assert!(outcome.starts_with("cannot be read"), "{outcome}");
    let cut = |stream: &mut TcpStream, file: &[u8]| {
        head(stream, &format!("Content-Length: {}\r\n", file.len()));
        let _ = stream.write_all(&file[..file.len() / 2]);
    };
    let outcome = bad_then_good(cut, &[]);
    assert!(outcome.contains("broke off"), "{outcome}");
}

/// The file of another build is not kept under this one's name.
#[test]
fn one_with_another_build() {
    let other = fs::read(std::env::current_exe().unwrap()).unwrap();
    let outcome = bad_then_good(move |stream, _| respond(stream, "200 OK", &other), &[]);
    assert!(outcome.starts_with("its build-id is another"), "{outcome}");
}

/// Nobody is led to a server that the user has not named.
#[test]
fn one_that_leads_elsewhere() {
    let elsewhere = Server::with_files(Vec::new());
    let location = format!("Location: {}/secret", elsewhere.url);
    let outcome = bad_then_good(
        move |stream, _| {
            let _ =
                stream.write_all(format!("HTTP/1.1 302 Found\r\n{location}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        },
        &[],
    );
    assert!(outcome.contains("which is not followed"), "{outcome}");
    assert!(elsewhere.requests().is_empty());
}

/// A server that did not answer once is not asked for anything else.
#[test]
fn a_dead_server_is_given_up() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let server = Server::new(|_, _| ());
    let found = program.find(&asking(&server.url, cache.path(), &[]));
    assert_eq!(server.requests().len(), 1);
    let outcomes = found.outcomes(Step::Debuginfod);
    assert!(matches!(outcomes[..], [Outcome::Unreadable(_), Outcome::LeftOut(_)]), "{outcomes:?}");
}

/// When the time for all files is over, nobody is asked any more.
#[test]
fn all_time_is_used_up() {
    let (program, cache) = (Program::new(), tempfile::tempdir().unwrap());
    let server = Server::new(|_, _| sleep(Duration::from_secs(20)));
    let found = program.find(&asking(&server.url, cache.path(), &[("DEBUGINFOD_MAXTIME", "1")]));
    assert!(first(&found).contains("the time for all files is over"), "{:#?}", found.attempts);
    assert_eq!(server.requests().len(), 1);
}
