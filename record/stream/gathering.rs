//! The evidence that the samples of the segment at hand need: it is asked for when they come, and written when it was found.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;

use super::Stream;
use crate::jit::jvm::JvmAsker;

impl<W: Write> Stream<W> {
    /// Asks for evidence of the code addresses that are new to the segment, and writes what was found since.
    pub(crate) fn exchange_evidence(&mut self) -> Result<()> {
        self.ask_for_evidence();
        self.evidence.look_at_run_time_code();
        self.write_evidence()
    }

    /// What there is no room for is asked for the next time.
    fn ask_for_evidence(&mut self) {
        let places = self.code.new_places();
        if places > 0 && self.evidence.has_room(places) {
            self.evidence.code(self.code.take());
            self.evidence.run_time_code(self.code.take_at_run_time());
        }
    }

    fn write_evidence(&mut self) -> Result<()> {
        for record in self.evidence.collect() {
            self.write(&record)?;
        }
        self.evidence.giant_functions().for_each(|function| self.giant_frames.learn(function));
        Ok(())
    }

    /// Whether all evidence that the samples need has been written, when they are to be left behind.
    pub(crate) fn has_all_evidence(&mut self) -> Result<bool> {
        self.evidence.complete_run_time_code();
        self.write_evidence()?;
        Ok(self.evidence.is_idle() && self.code.new_places() == 0)
    }

    /// Waits for the evidence that is missing, at most until `deadline`, and writes it.
    pub(crate) fn complete_evidence(&mut self, deadline: Instant) -> Result<()> {
        self.ask_for_evidence();
        self.evidence.search_run_time_code();
        for record in self.evidence.finish(deadline) {
            self.write(&record)?;
        }
        Ok(())
    }

    /// Has the JVMs among the processes write the names of their code.
    pub(crate) fn ask_jvms(&mut self, asker: JvmAsker) {
        self.ask_for_evidence();
        self.evidence.ask_jvms(asker);
    }

    /// Processes whose code has no names, and why.
    pub(crate) fn take_unnamed(&mut self) -> Vec<(u32, String)> {
        self.evidence.take_unnamed()
    }
}
