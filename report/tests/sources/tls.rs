//! Servers of https: whom this machine trusts is asked, and nobody else.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use profrec_report::local_files::hex;

use super::program::Program;
use super::toolchain::{needs, skip};
use super::why::{record, report};

/// A server that was started for a test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves a folder, with the certificate and the key in it.
fn serve(program: &Program) -> Option<(Running, String)> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-quiet", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept"]);
    command.arg(format!("127.0.0.1:{port}")).current_dir(program.folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let is_up = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    is_up.then(|| (running, format!("https://localhost:{port}")))
}

/// A certificate that the system trusts lets a server be asked, and one that it does not is the reason why not.
#[test]
fn certificates_are_checked() {
    needs!("openssl");
    let program = Program::new();
    program.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE",
    );
    let folder = program.path("buildid").join(hex(&program.identity));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(program.path("prog"), folder.join("debuginfo")).unwrap();
    let Some((_running, url)) = serve(&program) else { return skip("openssl s_server did not start") };
    let recording = record(&program);
    let ask = |trusted: &str| {
        let output = report(&program, &url, &[("SSL_CERT_FILE", trusted)], &[&recording, "--why", "prog"]);
        String::from_utf8(output.stdout).unwrap()
    };
    let text = ask("/nonexistent");
    assert!(text.contains("cannot be asked") && !text.contains("fetched"), "{text}");
    let text = ask(program.path("cert.pem").to_str().unwrap());
    assert!(text.contains("/debuginfo: fetched, "), "{text}");
}
