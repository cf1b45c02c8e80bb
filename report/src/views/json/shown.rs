//! What is shown of a recording: stacks, processes, modules and functions.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::container;
use crate::profile::Profile;

#[derive(Serialize)]
pub(super) struct Stacks {
    total: u64,
    complete: u64,
    truncated: u64,
    no_cfi: u64,
    implausible: u64,
    not_code: u64,
    not_recorded: u64,
    exec_or_exit: u64,
    guessed: u64,
}

#[derive(Serialize)]
pub(super) struct Unnamed {
    locations: u64,
    frames: u64,
    why: &'static str,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    comm: &'a str,
    threads: u64,
    samples: u64,
    user_samples: u64,
    complete: u64,
    complete_percent: Option<f64>,
    cgroup: &'a str,
    container: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Module<'a> {
    name: &'a str,
    path: &'a str,
    build_id: Option<&'a str>,
    samples: u64,
    #[serde(rename = "self")]
    self_samples: u64,
    symbols: &'static str,
    why: &'a str,
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    name: &'a str,
    module: &'a str,
    file: Option<&'a str>,
    line: Option<u32>,
    code: &'static str,
    #[serde(rename = "self")]
    self_samples: u64,
    total: u64,
    inlined: u64,
    guessed: u64,
}

pub(super) fn stacks(profile: &Profile) -> Stacks {
    let verdicts = profile.ledger.verdicts;
    Stacks {
        total: profile.samples,
        complete: verdicts.complete,
        truncated: verdicts.truncated,
        no_cfi: verdicts.no_cfi,
        implausible: verdicts.implausible,
        not_code: verdicts.not_code,
        not_recorded: verdicts.not_recorded,
        exec_or_exit: verdicts.exec_or_exit,
        guessed: verdicts.guessed,
    }
}

pub(super) fn unnamed(profile: &Profile) -> BTreeMap<&'static str, Unnamed> {
    let unnamed = profile.ledger.unnamed.iter().map(|unnamed| {
        let (locations, frames) = (unnamed.locations, unnamed.frames);
        (unnamed.reason.name(), Unnamed { locations, frames, why: unnamed.reason.explain() })
    });
    unnamed.collect()
}

pub(super) fn process(process: &crate::profile::Process) -> Process<'_> {
    Process {
        pid: process.pid,
        comm: &process.comm,
        threads: process.threads,
        samples: process.samples,
        user_samples: process.user_samples,
        complete: process.complete,
        complete_percent: process.complete_percent(),
        cgroup: &process.cgroup,
        container: container::id(&process.cgroup),
    }
}

pub(super) fn module(module: &crate::profile::Module) -> Module<'_> {
    Module {
        name: &module.name,
        path: &module.path,
        build_id: (!module.build_id.is_empty()).then_some(&module.build_id),
        samples: module.samples,
        self_samples: module.self_samples,
        symbols: module.symbols,
        why: &module.why,
    }
}

pub(super) fn function(function: &crate::profile::Function) -> Function<'_> {
    Function {
        name: &function.name,
        module: &function.module,
        file: function.file.as_deref(),
        line: function.line,
        code: function.code.name(),
        self_samples: function.self_samples,
        total: function.total_samples,
        inlined: function.inlined_samples,
        guessed: function.guessed_samples,
    }
}

/// What samples are brought together by in place of functions.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    name: &'a str,
    #[serde(rename = "self")]
    self_samples: u64,
    total: u64,
}

pub(super) fn row(row: &crate::profile::Function) -> Row<'_> {
    Row { name: &row.name, self_samples: row.self_samples, total: row.total_samples }
}

/// What was left out for its stacks, by option.
pub(super) fn left_out(profile: &Profile) -> BTreeMap<&'static str, u64> {
    profile.ledger.left_out.by_option().collect()
}
