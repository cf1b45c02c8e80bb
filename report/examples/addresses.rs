//! Makes a recording of addresses of one binary, for the benchmark of names (`tests/bench/symbols`):
//!
//!     cargo run --release --example addresses -- BINARY COUNT OUT.prof OUT.txt
//!
//! COUNT distinct addresses of its `.text`, always the same for the same binary, are written as a recording with one
//! sample at each, and as lines of text for other tools.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection};
use profrec_format::{Header, Mapping, Module, Process, Record, Sample, Totals, UserState, Writer};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [binary, count, recording, text] = &arguments[..] else { bail!("addresses BINARY COUNT OUT.prof OUT.txt") };
    let path = fs::canonicalize(binary)?;
    let bytes = fs::read(&path)?;
    let file = object::File::parse(&*bytes)?;
    let addresses = choose(&file, count.parse()?)?;
    let build_id = file.build_id()?.context("the binary has no build-id")?.to_vec();
    let path = path.to_str().context("the path is no text")?.to_owned();
    fs::write(recording, record(path, build_id, &addresses)?)?;
    let lines = addresses.iter().fold(String::new(), |mut lines, address| {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{address:#x}");
        lines
    });
    Ok(fs::write(text, lines)?)
}

/// Pseudo-random addresses (xorshift), in an order as if by chance too.
fn choose(file: &object::File<'_>, count: usize) -> Result<Vec<u64>> {
    let section = file.section_by_name(".text").context("the binary has no .text")?;
    let (start, size) = (section.address(), section.size());
    if size / 2 < count as u64 {
        bail!("the binary has only {size} bytes of code");
    }
    let (mut addresses, mut seen, mut state) = (Vec::new(), BTreeSet::new(), 0x9e37_79b9_7f4a_7c15_u64);
    while addresses.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let address = start + state % size;
        if seen.insert(address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn record(path: String, build_id: Vec<u8>, addresses: &[u64]) -> Result<Vec<u8>> {
    let mut writer = Writer::create(Vec::new(), &Header { period: 1_000_000, ..Header::default() })?;
    writer.record(&Record::Process(Process { pid: 1, comm: "bench".into(), ..Process::default() }))?;
    writer.record(&Record::Module(Module { id: 1, path, build_id, ..Module::default() }))?;
    // Mapped as if at 0: addresses of the process are those of the file.
    writer.record(&Record::Mapping(Mapping { pid: 1, end: 1 << 40, module: 1, ..Mapping::default() }))?;
    for (time, &address) in (1..).zip(addresses) {
        writer.sample(&Sample { time, pid: 1, tid: 1, user: UserState::Chain(vec![address]), ..Sample::default() })?;
    }
    let samples = addresses.len() as u64;
    Ok(writer.finish(&Totals { end_monotonic: samples + 1, samples, expected: samples, ..Totals::default() })?)
}
