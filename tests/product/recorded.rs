//! A recording in a folder of its own, and what the report says about it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::folded::Folded;
use crate::programs::{profrec, profrec_report, stderr, stdout, succeed};

/// A recording.
pub(crate) struct Recorded {
    folder: TempDir,
}

/// Where a recording will be.
pub(crate) struct Place(TempDir);

impl Place {
    /// A folder of its own.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The recording's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("it.prof")
    }

    /// `profrec record -o PATH`, to be completed, at the rate that is asked for: a machine that is busy makes no other recording.
    pub(crate) fn record(&self) -> Command {
        let mut command = self.record_frugally();
        command.args(["--max-cpu", "none"]);
        command
    }

    /// The same with the budget that the recorder has by itself.
    pub(crate) fn record_frugally(&self) -> Command {
        let mut command = Command::new(profrec());
        command.arg("record").arg("-o").arg(self.path());
        command
    }

    /// The recording, after the recorder ended.
    pub(crate) fn recorded(self, output: Output) -> Recorded {
        assert!(self.path().exists(), "no recording was written: {}", stderr(&output));
        Recorded { folder: self.0 }
    }
}

/// Records a command with these arguments of `profrec record`, and a rate of 999 Hz. The command's
/// name, and its arguments, stand behind.
pub(crate) fn record(arguments: &[&str], command: &[&Path]) -> Recorded {
    let place = Place::new();
    let output = succeed(place.record().args(["-F", "999", "-q"]).args(arguments).arg("--").args(command));
    place.recorded(output)
}

impl Recorded {
    /// The recording's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("it.prof")
    }

    /// What `profrec-report` prints with these arguments.
    pub(crate) fn report(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(profrec_report());
        command.env("XDG_CACHE_HOME", self.folder.path());
        stdout(&succeed(command.arg(self.path()).args(arguments)))
    }

    /// Its stacks.
    pub(crate) fn folded(&self) -> Folded {
        Folded::parse(&self.report(&["--folded"]))
    }

    /// Its facts.
    pub(crate) fn facts(&self) -> Facts {
        Facts(serde_json::from_str(&self.report(&["--json"])).unwrap())
    }
}

/// What `--json` says.
pub(crate) struct Facts(Value);

impl Facts {
    /// Reads what `--json` printed.
    pub(crate) fn parse(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}\n{text}")))
    }

    /// The value at a path such as `/recording/samples`.
    pub(crate) fn at(&self, path: &str) -> &Value {
        self.0.pointer(path).unwrap_or_else(|| panic!("--json has no {path}: {}", self.0))
    }

    /// The number at a path.
    pub(crate) fn number(&self, path: &str) -> f64 {
        self.at(path).as_f64().unwrap_or_else(|| panic!("{path} is no number: {}", self.at(path)))
    }

    /// The share of the stacks with this verdict.
    pub(crate) fn share(&self, verdict: &str) -> f64 {
        self.number(&format!("/stacks/{verdict}")) / self.number("/stacks/total").max(1.0)
    }

    /// The ticks of each CPU, and of all, are what became of them: written, idle, of others, lost. Nothing but the recorder's own counters
    /// says so, and what is in the file.
    pub(crate) fn assert_accounts_close(&self) {
        let sum = |of: &Value, ticks: &[&str]| -> f64 {
            let counts = of.as_object().unwrap().iter();
            counts
                .filter(|(name, _)| ticks.is_empty() || ticks.contains(&name.as_str()))
                .filter_map(|(_, n)| n.as_f64())
                .sum()
        };
        const TICKS: [&str; 3] = ["written", "idle", "filtered"];
        if self.at("/recording/all_ticks").is_null() {
            // No clock has ticked.
            return assert_eq!(self.number("/recording/expected"), 0.0);
        }
        let cpus = self.at("/recording/all_ticks/cpus").as_array().unwrap();
        for cpu in cpus {
            let accounted = sum(&cpu["outcomes"], &TICKS) + sum(&cpu["lost"], &[]);
            assert_eq!(cpu["total"].as_f64(), Some(accounted), "{cpu}");
        }
        let all = sum(self.at("/recording/all_ticks/outcomes"), &TICKS) + self.lost_samples();
        assert_eq!(self.number("/recording/all_ticks/total"), all, "{}", self.at("/recording"));
        let written: f64 = cpus.iter().filter_map(|cpu| cpu["outcomes"]["written"].as_f64()).sum();
        assert_eq!(written, self.number("/recording/ticks"), "{}", self.at("/recording"));
        // The report compares each CPU with the samples that it finds.
        assert!(!self.at("/notes").to_string().contains("miscounted"), "{}", self.at("/notes"));
    }

    /// Samples that were lost, by whatever cause. Lost process events are no samples.
    pub(crate) fn lost_samples(&self) -> f64 {
        let lost = self.at("/recording/lost").as_object().unwrap();
        lost.iter().filter(|(cause, _)| *cause != "process_events").filter_map(|(_, count)| count.as_f64()).sum()
    }
}
