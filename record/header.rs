//! What the recording says of itself before anything else.

use anyhow::Result;
use profrec_format::{Arch, CallGraph as HeaderCallGraph, Header};

use crate::args::{CallGraph, RecordArgs};
use crate::machine;
use crate::parts::realtime;
use crate::stream::now;
use crate::subcommand;

/// It, on so many CPUs, from now on.
pub(crate) fn header(args: &RecordArgs, cpus: u32) -> Result<Header> {
    let (host, kernel) = subcommand::machine();
    let start = now();
    Ok(Header {
        recorder: subcommand::version(),
        arch: Arch::X86_64,
        host,
        kernel,
        page_size: rustix::param::page_size() as u32,
        cpus,
        command_line: subcommand::command_line(args.command.len().saturating_sub(1)),
        event: "cpu-clock".to_owned(),
        period: args.period(),
        call_graph: match args.call_graph() {
            CallGraph::Dwarf => HeaderCallGraph::Dwarf,
            CallGraph::Fp => HeaderCallGraph::FramePointer,
            CallGraph::None => HeaderCallGraph::None,
        },
        stack_size: args.stack_size(),
        start_monotonic: start,
        start_realtime: realtime(start),
        machine: machine::facts(),
        counted_every: args.counts_every().map_or(0, |every| every.as_nanos() as u64),
        ..Header::default()
    })
}
