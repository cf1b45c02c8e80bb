"""Records in columns: what happened to processes, and names of kernel functions."""

from encoding import MASK, Bytes, Malformed, require, unfold

MIB = 1 << 20
PROCESSES, KERNEL_SYMBOLS = 20, 21
PROCESS, THREAD, FORK, EXEC, EXIT, MAPPING = range(1, 7)


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
        try:
            return str(self.columns[column].take(self.next(column)), "utf-8")
        except UnicodeDecodeError as error:
            raise Malformed("a text that is not UTF-8") from error

    def text(self, column, new):
        number = self.next(column)
        if number == 0:
            self.texts.append(self.new_text(new))
            return self.texts[-1]
        require(number <= len(self.texts), "a text that is not defined")
        return self.texts[number - 1]

    def count(self, *texts):
        self.cost += 64 + sum(len(text.encode()) for text in texts)
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
            comm, kernel_thread, cgroup = table.text(5, 6), table.next(5), table.text(5, 6)
            require(kernel_thread <= 1, "a bool that is neither")
            table.count(comm, cgroup)
            yield "Process", dict(record, parent=parent, comm=comm, kernel_thread=kernel_thread == 1, cgroup=cgroup)
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


TABLES = {PROCESSES: processes, KERNEL_SYMBOLS: kernel_symbols}
