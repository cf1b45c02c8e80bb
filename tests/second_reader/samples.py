"""Samples: the columns of a frame, and all that goes on from frame to frame within a segment."""

from encoding import MASK, Bytes, require, rotate, unfold, unfold_words

MAX_CHAIN, MAX_BEYOND, MAX_RANGES, MAX_WORDS, MAX_WEIGHT = 4096, 524_288, 64, 524_288, 65_536
MAX_THREADS = 1 << 22
COLUMNS = 30


class Thread:
    def __init__(self, pid, tid):
        self.pid, self.tid = pid, tid
        self.top = 0
        self.words = []  # address and value, from the high end down


class Chains:
    """The chains of one side: each as what it has not of the one before."""

    def __init__(self):
        self.before = []
        self.callees = {}  # what stood last on the inner side of each address

    def start_frame(self, frames, dropped, branch, callee, new_callee):
        self.frames, self.dropped, self.branch, self.callee, self.new_callee = frames, dropped, branch, callee, new_callee
        self.callers_are_first, self.keeps = not branch.ended(), not dropped.ended()

    def read(self, state):
        """A chain: its inner frames, and behind them the outer ones of the chain before without those that are dropped."""
        kept = []
        if self.callers_are_first or self.keeps:
            number = (self.branch if self.callers_are_first else self.dropped).leb128()
            require(number <= len(self.before), "drops frames that are not there")
            kept = self.before[number:]
        length = (self.branch if self.callers_are_first else self.frames).leb128()
        require(length + len(kept) <= MAX_CHAIN, "a chain is too long")
        if self.callers_are_first:
            chain = kept
            for _ in range(length):
                chain = [self.read_callee(state, chain[0] if chain else 0)] + chain
        else:
            chain = [state.code(self.frames.leb128()) for _ in range(length)] + kept
        self.before = chain
        return chain

    def read_callee(self, state, caller):
        number = self.callee.leb128()
        if number == 0:
            require(caller in self.callees, "a caller that has not called before")
            return self.callees[caller]
        if number == 1:
            address = (self.callees.get(caller, caller) + unfold(self.new_callee.leb128())) & MASK
            state.addresses.append(address)
        else:
            require(number - 2 < len(state.addresses), "a code address that is not defined")
            address = state.addresses[number - 2]
        self.callees[caller] = address
        return address


class SampleState:
    """All that samples of a segment refer to, and what a frame of them says."""

    def __init__(self):
        self.last, self.before = [0] * 256, 0
        self.threads, self.chains, self.addresses = [], [], []
        self.newest = 0
        self.user, self.kernel = Chains(), Chains()

    def frame(self, content, count):
        """The samples in a frame: the process of each, and its line."""
        source = Bytes(content)
        columns = [Bytes(source.take(source.leb128())) for _ in range(source.leb128())]
        columns += [Bytes(b"") for _ in range(COLUMNS - len(columns))]
        (self.time, self.cpu, self.thread, self.thread_definition, self.kernel_chain, self.kernel_frames, self.shape,
         self.chain, self.top, self.ranges, self.stack, self.new_addresses, self.verdict, self.guessed,
         self.beyond, self.weight, self.dropped, self.kernel_dropped, self.branch, self.kernel_branch, self.callee,
         self.kernel_callee, self.new_callee, self.new_kernel_callee, self.new_thread, self.repeats,
         *self.threads_of_counts) = columns[:COLUMNS]  # fmt: skip
        self.period = self.time.leb128()
        pid = 0
        while not self.new_thread.ended():
            pid = (pid + self.new_thread.leb128()) & MASK
            self.add_thread(pid, (pid + unfold(self.new_thread.leb128())) & MASK)
        self.weighted, self.repeating = not self.weight.ended(), not self.repeats.ended()
        self.left = 0  # samples that follow with the same stack
        self.user.start_frame(self.chain, self.dropped, self.branch, self.callee, self.new_callee)
        self.kernel.start_frame(
            self.kernel_frames, self.kernel_dropped, self.kernel_branch, self.kernel_callee, self.new_kernel_callee
        )
        for _ in range(count):
            yield self.sample()
        require(self.left == 0, "samples of a stack are missing")
        require(all(column.ended() for column in columns[:COLUMNS]), "a column is longer than its samples")

    def sample(self):
        repeated = self.left > 0
        if repeated:
            self.left -= 1
        elif self.repeating:
            self.left, self.place = self.repeats.leb128(), 0
        cpu = self.cpu.leb128()
        require(cpu < 1 << 32, "a CPU's number is too large")
        last = self.last[cpu % 256]
        due = last + self.period if last and not self.repeating else self.before
        step = (due + unfold(self.time.leb128())) & MASK
        self.last[cpu % 256] = self.before = step
        weight = self.weight.leb128() + 1 if self.weighted else 1
        require(weight <= MAX_WEIGHT, "a weight is too large")
        thread = self.read_thread()
        if not repeated:
            self.kernel_before, self.shape_before = self.read_kernel_chain(), self.shape.leb128()
        kernel = self.kernel_before
        return thread.pid, weight, (
            f"sample {step * 1024 & MASK} weight {weight} pid {thread.pid} tid {thread.tid} cpu {cpu} kernel {many(kernel)} "
            f"{self.read_user(thread, repeated)}"
        )

    def read_thread(self):
        if self.repeating:
            distance = self.threads_of_counts[min(self.left.bit_length(), 3)].leb128()
            require(distance < len(self.threads), "a thread that is not defined")
            self.place = (self.place + distance) % len(self.threads)
            return self.threads[self.place]
        place = self.thread.leb128()
        require(place <= len(self.threads), "a thread that is not defined")
        if place == len(self.threads):
            self.add_thread(*[self.thread_definition.leb128() for _ in range(2)])
        return self.threads[place]

    def add_thread(self, pid, tid):
        require(max(pid, tid) < 1 << 32, "a process or thread id is too large")
        require(len(self.threads) < MAX_THREADS, "too many threads")
        self.threads.append(Thread(pid, tid))

    def code(self, token):
        if token == 0:
            self.newest = (self.newest + unfold(self.new_addresses.leb128())) & MASK
            self.addresses.append(self.newest)
            return self.newest
        require(token <= len(self.addresses), "a code address that is not defined")
        return self.addresses[token - 1]

    def read_kernel_chain(self):
        number = self.kernel_chain.leb128()
        if number == 0:
            return []
        if number == 1:
            self.chains.append(self.kernel.read(self))
            return self.chains[-1]
        require(number - 2 < len(self.chains), "a kernel chain that is not defined")
        return self.chains[number - 2]

    def read_user(self, thread, repeated):
        shape = self.shape_before
        require(shape & 3 != 3, "an unknown shape")
        if shape & 3 == 0:
            return "none"
        if repeated:
            require(shape & 3 == 1 and not shape & 16, "a stack that cannot be repeated")
            return f"chain {many(self.user.before)}"
        if shape & 3 == 1:
            chain = self.user.read(self)
            return self.read_unwound(chain) if shape & 16 else f"chain {many(chain)}"
        return self.read_stack(thread, shape & 4, shape & 8)

    def read_unwound(self, chain):
        verdict = self.verdict.leb128()
        require(verdict < 1 << 32, "a verdict's number is too large")
        frames = chain[:1] + [(address - 1) & MASK for address in chain[1:]]
        count = self.beyond.leb128()
        require(count <= MAX_BEYOND, "an unwound stack is too long")
        for _ in range(count):
            before = frames[-1] if frames else 0
            frames.append((before + unfold(self.beyond.leb128())) & MASK)
        guessed, place = set(), 0
        for _ in range(self.guessed.leb128()):
            place += self.guessed.leb128()
            require(place < len(frames), "guesses a frame that is not there")
            guessed.add(place)
        marked = (f"{address:016x}{'?' if place in guessed else ''}" for place, address in enumerate(frames))
        return f"unwound {verdict} [{' '.join(marked)}]"

    def read_stack(self, thread, other_top, other_ranges):
        next_number = self.stack.leb128
        top = thread.top
        if other_top:
            top = (top + unfold_words(self.top.leb128())) & MASK
        words = self.read_words(thread.words, top)
        above = words[-1][0] if words else top
        sp = (above - rotate(next_number())) & MASK
        ranges = self.read_ranges(sp) if other_ranges else [(sp & ~7, top)]
        ip = self.code(next_number())
        registers = list(self.read_registers(sp))
        thread.top, thread.words = top, words
        return (
            f"stack ip {ip:016x} sp {sp:016x} top {top:016x} registers [{' '.join(registers)}] "
            f"ranges {many(ranges, '-')} words {many(reversed(words), '=')}"
        )

    def read_words(self, old, top):
        """The words of a stack, from the high end down, as edits of those of the stack before."""
        next_number = self.stack.leb128
        words, at, above = [], 0, top
        while True:
            copied = next_number()
            require(copied <= len(old) - at, "copies words that are not there")
            words += old[at : at + copied]
            at += copied
            if copied:
                above = words[-1][0]
            insert = next_number()
            count = insert >> 1
            require(len(words) + count <= MAX_WORDS, "a stack of too many words")
            for _ in range(count):
                number = next_number()
                away = rotate(number >> 1) if number >> 1 else next_number()
                above = (above - away) & MASK
                if number & 1:
                    value = (above + unfold_words(next_number())) & MASK
                else:
                    value = self.code(next_number())
                words.append((above, value))
            if insert & 1:
                return words
            if count:
                while at < len(old) and old[at][0] >= above:
                    at += 1
            skipped = next_number()
            require(skipped <= len(old) - at, "skips words that are not there")
            at += skipped

    def read_ranges(self, sp):
        count = self.ranges.leb128()
        require(count <= MAX_RANGES, "too many ranges")
        ranges, end = [], sp
        for _ in range(count):
            start = (end + unfold_words(self.ranges.leb128())) & MASK
            end = (start + unfold_words(self.ranges.leb128())) & MASK
            ranges.append((start, end))
        return ranges

    def read_registers(self, sp):
        mask = self.stack.leb128()
        require(mask < 1 << 32, "too many registers")
        for register in range(32):
            if mask >> register & 1:
                number = self.stack.leb128()
                if number == 0:
                    value = (sp + unfold_words(self.stack.leb128())) & MASK
                else:
                    value = self.code(number - 1)
                yield f"{register}={value:016x}"


def many(numbers, between=""):
    """Addresses, or pairs of them, as text."""
    if between:
        return f"[{' '.join(f'{first:016x}{between}{second:016x}' for first, second in numbers)}]"
    return f"[{' '.join(f'{number:016x}' for number in numbers)}]"
