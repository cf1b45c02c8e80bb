use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::columns::Columns;
use crate::metadata;
use crate::record::{
    Exec, Exit, Fork, KernelSymbol, KernelSymbols, Layout, LoadSegment, Mapping, Module, ModuleKind, Process, Thread,
};
use crate::record_buffer::RecordBuffer;
use crate::varint::fold;

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..4, any::<u32>()]
}

fn long() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..4, any::<u64>()]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-c]{1,2}", any::<String>()]
}

fn record() -> impl Strategy<Value = Record> {
    let numbers = (long(), number(), number(), number(), number());
    let places = (long(), long(), long());
    (0..6, numbers, places, (text(), text(), any::<bool>())).prop_map(|(kind, numbers, places, texts)| {
        let (time, pid, tid, parent, parent_tid) = numbers;
        let (start, end, offset) = places;
        let (comm, cgroup, kernel_thread) = texts;
        match kind {
            0 => Record::Process(Process { time, pid, parent, comm, kernel_thread, cgroup }),
            1 => Record::Thread(Thread { time, pid, tid, comm }),
            2 => Record::Fork(Fork { time, pid, tid, parent, parent_tid }),
            3 => Record::Exec(Exec { time, pid, comm }),
            4 => Record::Exit(Exit { time, pid, tid }),
            _ => Record::Mapping(Mapping { time, pid, start, end, offset, module: tid }),
        }
    })
}

fn symbols() -> impl Strategy<Value = Record> {
    let name = prop_oneof![text(), "(schedule|vfs_read|do_syscall_64)(|\\.isra\\.0|\\.cold)"];
    let symbol = (long(), long(), name, text());
    let symbol = symbol.prop_map(|(address, size, name, module)| KernelSymbol { address, size, name, module });
    vec(symbol, 0..6).prop_map(|symbols| Record::KernelSymbols(KernelSymbols { symbols }))
}

fn module() -> impl Strategy<Value = Record> {
    let blob = || vec(any::<u8>(), 0..3);
    let kind = prop_oneof![Just(ModuleKind::File), Just(ModuleKind::Vdso), Just(ModuleKind::Anonymous)];
    let load = (long(), long(), long(), any::<bool>());
    let load = load.prop_map(|(offset, address, file_size, executable)| LoadSegment {
        offset,
        address,
        file_size,
        executable,
    });
    let layout = (number(), blob(), blob(), vec(load, 0..4));
    prop_oneof![
        (number(), kind, text(), blob()).prop_map(|(id, kind, path, build_id)| Record::Module(Module {
            id,
            kind,
            path,
            build_id
        })),
        layout.prop_map(|(module, build_id, fingerprint, loads)| {
            Record::Layout(Layout { module, build_id, fingerprint, loads })
        }),
    ]
}

fn written(records: &[Record]) -> Vec<u8> {
    let (mut buffer, mut bytes) = (RecordBuffer::default(), Vec::new());
    records.iter().for_each(|record| buffer.put(record).unwrap());
    buffer.drain_into(&mut bytes);
    bytes
}

fn read(bytes: &[u8]) -> Result<(Vec<Record>, u64), Error> {
    let (mut at, mut records, mut cost) = (0, Vec::new(), 0);
    while at < bytes.len() {
        cost += metadata::take_records(bytes, &mut at, &mut records)?;
    }
    Ok((records, cost))
}

proptest! {
    /// Records of processes come back in their order, whatever they are.
    #[test]
    fn processes_round_trip(records in vec(record(), 0..12)) {
        prop_assert_eq!(read(&written(&records)).unwrap().0, records);
    }

    /// So do modules and layouts.
    #[test]
    fn modules_round_trip(records in vec(module(), 0..12)) {
        prop_assert_eq!(read(&written(&records)).unwrap().0, records);
    }

    /// So do names of kernel functions, each list by itself, with numbers or without.
    #[test]
    fn kernel_symbols_round_trip(records in vec(symbols(), 0..3)) {
        prop_assert_eq!(read(&written(&records)).unwrap().0, records);
    }

    /// Arbitrary columns give records or an error, never a panic.
    #[test]
    fn arbitrary_columns_are_safe(tag in PROCESSES..=KERNEL_NAMES, columns in vec(vec(0u8..9, 0..9), 0..11)) {
        let mut bytes = vec![columns.len() as u8];
        for column in columns {
            bytes.push(column.len() as u8);
            bytes.extend(column);
        }
        let _damaged = take(tag, &bytes, &mut Vec::new());
    }
}

/// Kernel symbols as earlier versions wrote them.
const EARLIER_SYMBOLS: [(u64, u64, &str, &str); 2] = [(0x1000, 0x40, "one", "x"), (0x1008, 1, "", "x")];

/// Their table is read, of this tag.
fn read_earlier_symbols(tag: u16, mut columns: Columns<6>) {
    let (mut bytes, mut records) = (Vec::new(), Vec::new());
    columns.drain_into(&mut bytes);
    assert_eq!(take(tag, &bytes, &mut records).unwrap(), Some(2 * 64 + 5));
    let symbols = EARLIER_SYMBOLS.map(|(address, size, name, module)| KernelSymbol {
        address,
        size,
        name: name.to_owned(),
        module: module.to_owned(),
    });
    assert_eq!(records, [Record::KernelSymbols(KernelSymbols { symbols: symbols.to_vec() })]);
}

/// At first, each address was told from the one before, and names with their lengths.
#[test]
fn symbols_of_earlier_versions_are_read() {
    let (mut columns, mut modules) = (Columns::<6>::default(), texts::TextsWriter::default());
    columns.put(0, 2);
    let mut before = 0;
    for (address, size, name, module) in EARLIER_SYMBOLS {
        columns.put(1, fold(address - before));
        columns.put(2, size);
        texts::put_new(&mut columns, 3, name);
        modules.put(&mut columns, 4, 5, module);
        before = address;
    }
    read_earlier_symbols(KERNEL_SYMBOLS, columns);
}

/// Then each from the end of the one before, and names up to a zero; none had a number.
#[test]
fn functions_of_earlier_versions_are_read() {
    let (mut columns, mut modules) = (Columns::<6>::default(), texts::TextsWriter::default());
    columns.put(0, 2);
    let mut end = 0u64;
    for (address, size, name, module) in EARLIER_SYMBOLS {
        columns.put(1, address.wrapping_sub(end).rotate_right(4));
        columns.put(2, size.rotate_right(4));
        columns.put_bytes(3, name.as_bytes());
        columns.put_bytes(3, &[0]);
        modules.put(&mut columns, 4, 5, module);
        end = address + size;
    }
    read_earlier_symbols(KERNEL_FUNCTIONS, columns);
}

/// A name with a zero in it is none of a kernel function: such a record is not in a table.
#[test]
fn a_zero_in_a_name_is_kept() {
    let symbol = KernelSymbol { name: "a\0b".to_owned(), ..KernelSymbol::default() };
    let record = Record::KernelSymbols(KernelSymbols { symbols: vec![symbol] });
    assert_eq!(read(&written(std::slice::from_ref(&record))).unwrap(), (vec![record], 0));
}

/// A process like the one before takes a few bytes, and so do its mappings.
#[test]
fn what_is_alike_takes_little() {
    let process = |pid| {
        let comm = "postgres".to_owned();
        let process =
            Process { time: 1 << 40, pid, parent: 7, comm, cgroup: "/system.slice".into(), ..Process::default() };
        let mapping =
            Mapping { time: 1 << 40, pid, start: 0x7f00_0000_0000, end: 0x7f00_0010_0000, offset: 0, module: 3 };
        [Record::Process(process), Record::Mapping(mapping)]
    };
    let records: Vec<Record> = (100..300).flat_map(process).collect();
    assert!(written(&records).len() < 200 * 14, "{}", written(&records).len());
}

/// Modules with the usual loads take little but their paths, build-ids and sizes, and no build-id is there twice.
#[test]
fn layouts_take_little() {
    let load = |offset, address, file_size, executable| LoadSegment { offset, address, file_size, executable };
    let records = |id: u32| {
        let build_id = vec![id as u8; 20];
        let loads = vec![
            load(0, 0, 0x590, false),
            load(0x1000, 0x1000, 0x7d5, true),
            load(0x2000, 0x2000, 0x194, false),
            load(0x2db8, 0x3db8, 0x258, false),
        ];
        let module = Module { id, path: "/usr/bin/true".to_owned(), build_id: build_id.clone(), ..Module::default() };
        [Record::Module(module), Record::Layout(Layout { module: id, build_id, loads, ..Layout::default() })]
    };
    let records: Vec<Record> = (0..10).flat_map(records).collect();
    assert!(written(&records).len() < 10 * (14 + 21 + 40), "{}", written(&records).len());
}

/// A few bytes do not stand for many long texts, and records of tables count for what they become.
#[test]
fn texts_do_not_explode() {
    let text = "x".repeat(1 << 20);
    let exec = |pid| Record::Exec(Exec { time: 1, pid, comm: text.clone() });
    let few: Vec<Record> = (0..3).map(exec).collect();
    let (records, cost) = read(&written(&few)).unwrap();
    assert_eq!((records, cost), (few, 3 * (64 + (1 << 20))));

    // What a table has no room for is a record by itself.
    let many: Vec<Record> = (0..20).map(exec).collect();
    let (mut records, cost) = read(&written(&many)).unwrap();
    records.sort_by_key(|record| match record {
        Record::Exec(exec) => exec.pid,
        _ => 0,
    });
    assert_eq!(records, many);
    assert!(cost <= LENGTH_LIMIT);

    let mut columns = Columns::<7>::default();
    for number in 0..20 {
        columns.put(0, 4);
        columns.put(1, 0);
        columns.put(2, 0);
        columns.put(5, u64::from(number > 0));
    }
    columns.put(6, text.len() as u64);
    columns.put_bytes(6, text.as_bytes());
    let mut bytes = Vec::new();
    columns.drain_into(&mut bytes);
    assert!(take(PROCESSES, &bytes, &mut Vec::new()).is_err());
}
