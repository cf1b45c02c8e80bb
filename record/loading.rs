//! What goes before loading the BPF programs, and what is said when that fails.

use std::sync::Mutex;

use anyhow::{Error, Result, anyhow, bail};
use libbpf_rs::PrintLevel;

use crate::{kernel, remedy};

/// Has libbpf's warnings kept.
pub(crate) fn remember_warnings() {
    libbpf_rs::set_print(Some((PrintLevel::Warn, remember)));
}

/// Fails where nothing can be recorded, before libbpf does with a stranger message.
pub(crate) fn check_host() -> Result<()> {
    if let Some(refused) = kernel::too_old().or_else(kernel::no_types) {
        bail!(refused);
    }
    Ok(())
}

/// What libbpf warned of, for the message of an error that follows.
static WARNINGS: Mutex<String> = Mutex::new(String::new());

fn remember(_level: PrintLevel, message: String) {
    const MOST: usize = 64 << 10;
    if let Ok(mut warnings) = WARNINGS.lock()
        && warnings.len() < MOST
    {
        warnings.push_str(&message);
    }
}

/// Says what helps when the BPF programs cannot be loaded.
pub(crate) fn explain(error: libbpf_rs::Error) -> Error {
    let text = format!("{error:#}");
    match error.kind() {
        // EPERM. EACCES, which is of the same kind, is what the verifier says to a program.
        libbpf_rs::ErrorKind::PermissionDenied if text.contains("os error 1)") => remedy::bpf(),
        _ if text.contains("os error 38") => remedy::no_bpf(),
        _ => {
            let warnings = WARNINGS.lock().map(|warnings| warnings.clone()).unwrap_or_default();
            let last: Vec<&str> = warnings.lines().rev().take(8).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            anyhow!("loading the BPF programs failed: {text}\n{}", last.join("\n"))
        }
    }
}
