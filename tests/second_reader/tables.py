"""Records in columns: what happened to processes, names of kernel functions, modules and their layouts."""

import pathlib

from encoding import MASK, Bytes, Malformed, require, unfold

MIB = 1 << 20
KNOWN_NAMES = pathlib.Path(__file__).parents[2] / "format/src/tables/kernel_names.txt"
PROCESSES, KERNEL_SYMBOLS, KERNEL_FUNCTIONS, MODULES, KERNEL_NAMES = range(20, 25)
PROCESS, THREAD, FORK, EXEC, EXIT, MAPPING, MODULE, LAYOUT = range(1, 9)
MODULE_KINDS = ("File", "Vdso", "Anonymous")
PAGE = 4096


def utf8(text):
    try:
        return str(text, "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a text that is not UTF-8") from error


class Table:
    """The columns of a table, and the texts that it has numbers for."""

    def __init__(self, content, count):
        source = Bytes(content)
        columns = [Bytes(source.take(source.leb128())) for _ in range(source.leb128())]
        self.columns = (columns + [Bytes(b"") for _ in range(count)])[:count]
        self.texts, self.cost = [], 0

    def next(self, column):
        return self.columns[column].leb128()

    def step(self, column, start):
        return (start + unfold(self.next(column))) & MASK

    def step32(self, column, start):
        number = self.step(column, start)
        require(number < 1 << 32, "a number of more than 32 bits")
        return number

    def new_text(self, column):
        return utf8(self.columns[column].take(self.next(column)))

    def boolean(self, column):
        number = self.next(column)
        require(number <= 1, "a bool that is neither")
        return number == 1

    def text(self, column, new, known=None):
        texts = self.texts if known is None else known
        number = self.next(column)
        if number == 0:
            texts.append(self.new_text(new))
            return texts[-1]
        require(number <= len(texts), "a text that is not defined")
        return texts[number - 1]

    def count(self, *texts):
        self.cost += 64 + sum(len(text.encode() if isinstance(text, str) else text) for text in texts)
        require(self.cost <= 16 * MIB, "a table of too many records")

    def end(self):
        require(all(column.ended() for column in self.columns), "a column is longer than its records")


def processes(content):
    """The records of a table of processes: the name of each, and its fields."""
    table = Table(content, 9)
    time = pid = parent = end = 0
    places = []
    while not table.columns[0].ended():
        kind = table.next(0)
        time = table.step(1, time)
        pid = table.step32(2, pid)
        record = dict(time=time, pid=pid)
        if kind == PROCESS:
            parent = table.step32(4, parent)
            comm, kernel_thread, cgroup = table.text(5, 6), table.boolean(5), table.text(5, 6)
            table.count(comm, cgroup)
            yield "Process", dict(record, parent=parent, comm=comm, kernel_thread=kernel_thread, cgroup=cgroup)
        elif kind == THREAD:
            record.update(tid=table.step32(3, pid), comm=table.text(5, 6))
            table.count(record["comm"])
            yield "Thread", record
        elif kind == FORK:
            tid, parent = table.step32(3, pid), table.step32(4, parent)
            table.count()
            yield "Fork", dict(record, tid=tid, parent=parent, parent_tid=table.step32(4, parent))
        elif kind == EXEC:
            record.update(comm=table.text(5, 6))
            table.count(record["comm"])
            yield "Exec", record
        elif kind == EXIT:
            table.count()
            yield "Exit", dict(record, tid=table.step32(3, pid))
        elif kind == MAPPING:
            number = table.next(7)
            require(number <= len(places), "a place that is not defined")
            if number == 0:
                start = table.step(8, end)
                end = (start + table.next(8)) & MASK
                places.append(dict(start=start, end=end, offset=table.next(8), module=table.next(8)))
                require(places[-1]["module"] < 1 << 32, "a number of more than 32 bits")
            table.count()
            yield "Mapping", record | places[number - 1]
        else:
            raise Malformed("a kind of record that no table of processes has")
    table.end()


def kernel_symbols(content):
    """The one record of a table of kernel symbols."""
    table = Table(content, 6)
    address, symbols = 0, []
    for _ in range(table.next(0)):
        address = table.step(1, address)
        symbols.append(dict(address=address, size=table.next(2), name=table.new_text(3), module=table.text(4, 5)))
        table.count(symbols[-1]["name"], symbols[-1]["module"])
    table.end()
    yield "KernelSymbols", dict(symbols=symbols)


def kernel_functions(content):
    """The same, where each address is from the end of the one before, and a zero ends each name."""
    table = Table(content, 6)
    end, symbols = 0, []
    for _ in range(table.next(0)):
        address = (end + sixteen_times(table.next(1))) & MASK
        size = sixteen_times(table.next(2))
        end = (address + size) & MASK
        name = utf8(table.columns[3].take_until(0))
        symbols.append(dict(address=address, size=size, name=name, module=table.text(4, 5)))
        table.count(symbols[-1]["name"], symbols[-1]["module"])
    table.end()
    yield "KernelSymbols", dict(symbols=symbols)


def kernel_names(content):
    """The same, where names that are known everywhere are told by their distance in the list of these."""
    table = Table(content, 9)
    known = KNOWN_NAMES.read_text().splitlines()
    end, place, symbols, rests = 0, 0, [], []
    for _ in range(table.next(0)):
        address = (end + sixteen_times(table.next(1))) & MASK
        size = sixteen_times(table.next(2))
        end = (address + size) & MASK
        step = table.next(3)
        require(step <= len(known), "a name that is not known")
        if step == 0:
            name = utf8(table.columns[6].take_until(0))
        else:
            place = (place + step - 1) % len(known) + 1
            name = known[place - 1] + table.text(7, 8, rests)
        symbols.append(dict(address=address, size=size, name=name, module=table.text(4, 5)))
        table.count(name, symbols[-1]["module"])
    table.end()
    yield "KernelSymbols", dict(symbols=symbols)


def sixteen_times(number):
    return (number << 4 | number >> 60) & MASK


def modules(content):
    """The records of a table of modules and layouts."""
    table = Table(content, 8)
    following, build_ids = 0, {}
    while not table.columns[0].ended():
        kind = table.next(0)
        module = table.step32(1, following)
        following = (module + 1) & 0xFFFFFFFF
        if kind == MODULE:
            number = table.next(2)
            require(number < len(MODULE_KINDS), "an unknown kind of a module")
            path = table.new_text(3)
            build_ids[module] = list(table.columns[5].take(table.next(4)))
            table.count(path, build_ids[module])
            yield "Module", dict(id=module, kind=MODULE_KINDS[number], path=path, build_id=build_ids[module])
        elif kind == LAYOUT:
            length = table.next(4)
            require(length > 0 or module in build_ids, "a layout of a module that is not there")
            build_id = list(table.columns[5].take(length - 1)) if length > 0 else build_ids[module]
            fingerprint = list(table.columns[5].take(table.next(4)))
            loads = list(read_loads(table))
            # A load counts for 32 bytes.
            table.count(build_id, fingerprint, bytes(32 * len(loads)))
            yield "Layout", dict(module=module, build_id=build_id, fingerprint=fingerprint, loads=loads)
        else:
            raise Malformed("a kind of record that no table of modules has")
    table.end()


def read_loads(table):
    end = distance = 0
    for _ in range(table.next(6)):
        page = (end + PAGE - 1) & MASK & ~(PAGE - 1)
        offset = table.step(6, page)
        distance = table.step(6, distance)
        executable = table.boolean(6)
        file_size = table.next(7)
        yield dict(offset=offset, address=(offset + distance) & MASK, file_size=file_size, executable=executable)
        end = (offset + file_size) & MASK


TABLES = {
    PROCESSES: processes,
    KERNEL_SYMBOLS: kernel_symbols,
    KERNEL_FUNCTIONS: kernel_functions,
    MODULES: modules,
    KERNEL_NAMES: kernel_names,
}
