"""Frames of counts: numbers whose bits have chances that are learned from those before them."""

from encoding import require

BYTES_AHEAD = 4
EVEN = 1 << 15
LEAST = 24
RATES = [4 * 65_536 // (4 * number + 7) for number in range(80)]
LONG, SHORT_BITS, MORE_BITS = 7, 3, 6
LONGEST, LEARNED_BITS, LONGEST_BEFORE = 64, 3, 3


class Chances:
    """The chance of each bit, by where it stands."""

    def __init__(self, bits):
        self.bits, self.known = bits, {}

    def next(self, place):
        """A bit that stands there."""
        chance, seen = self.known.get(place, (EVEN, 0))
        bit = self.bits.next(chance)
        if bit:
            chance += (65_535 - chance) * RATES[seen] >> 16
        else:
            chance -= chance * RATES[seen] >> 16
        chance = min(max(chance, LEAST), 65_535 - LEAST)
        self.known[place] = (chance, min(seen + 1, len(RATES) - 1))
        return bit


class Bits:
    """Bits of known chances. Behind the last byte are zeros."""

    def __init__(self, content):
        self.content, self.taken = content, 0
        self.first, self.last, self.fraction = 0, 0xFFFFFFFF, 0
        for _ in range(BYTES_AHEAD):
            self.take()

    def take(self):
        byte = self.content[self.taken] if self.taken < len(self.content) else 0
        self.fraction = (self.fraction << 8 | byte) & 0xFFFFFFFF
        self.taken += 1

    def next(self, chance):
        middle = self.first + ((self.last - self.first) * chance >> 16)
        bit = self.fraction <= middle
        if bit:
            self.last = middle
        else:
            self.first = middle + 1
        while self.first >> 24 == self.last >> 24:
            self.first = self.first << 8 & 0xFFFFFFFF
            self.last = self.last << 8 & 0xFFFFFFFF | 0xFF
            self.take()
        return int(bit)

    def behind_end(self):
        return self.taken - len(self.content) - BYTES_AHEAD


def tree(chances, what, bits):
    """So many bits, the highest first."""
    place = 1
    for _ in range(bits):
        place = place << 1 | chances.next((what, place))
    return place - (1 << bits)


def numbers(bits, count):
    """A column of so many numbers."""
    chances, before = Chances(bits), 0
    for _ in range(count):
        context = min(before, LONGEST_BEFORE)
        length = tree(chances, ("short", context), SHORT_BITS)
        if length == LONG:
            length += tree(chances, ("more", context), MORE_BITS)
        require(length <= LONGEST, "a number of more than 64 bits")
        number = min(length, 1)
        for left in reversed(range(length - 1)):
            if number < 1 << LEARNED_BITS:
                bit = chances.next((length, number))
            elif left == 0:
                bit = chances.next((length, "lowest"))
            else:
                bit = bits.next(EVEN)
            number = number << 1 | bit
        require(bits.behind_end() < 0, "counts end early")
        before = length
        yield number


def leb128(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def columns(source, length):
    """The columns as a frame of samples would have them, in so many bytes."""
    counts = [source.leb128() for _ in range(source.leb128())]
    bits = Bits(source.content[source.at :])
    out = bytearray(leb128(len(counts)))
    for count in counts:
        column = bytearray()
        for number in numbers(bits, count):
            column += leb128(number)
            require(len(out) + len(column) < length, "columns are longer than they are said to be")
        out += leb128(len(column)) + column
    require(len(out) == length and bits.behind_end() == -1, "columns are not as long as they are said to be")
    return bytes(out)
