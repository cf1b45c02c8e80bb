"""Checksums, numbers, and structs as bincode writes them."""

MASK = (1 << 64) - 1


class Malformed(Exception):
    """Bytes that the specification does not allow."""


class Truncated(Malformed):
    """The file ends inside of something."""


def require(condition, what, kind=Malformed):
    if not condition:
        raise kind(what)


# Checksums


def crc_table():
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        yield number


CRC_TABLE = list(crc_table())


def crc32c(content, before=0):
    crc = before ^ 0xFFFFFFFF
    for byte in content:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


# Numbers


class Bytes:
    """Bytes that are read from their start to their end."""

    def __init__(self, content):
        self.content = content
        self.at = 0

    def take(self, length):
        require(length <= len(self.content) - self.at, "content ends early")
        self.at += length
        return self.content[self.at - length : self.at]

    def take_until(self, end):
        length = self.content.find(end, self.at) - self.at
        require(length >= 0, "bytes without an end")
        taken = self.take(length)
        self.at += 1
        return taken

    def ended(self):
        return self.at == len(self.content)

    def fixed(self, size):
        return int.from_bytes(self.take(size), "little")

    def leb128(self):
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            require(number <= MASK and shift < 64, "a number of more than 64 bits")
            if byte < 0x80:
                return number
            shift += 7


def signed(number):
    return number - (1 << 64) if number >> 63 else number


def unfold(number):
    return (number >> 1 ^ -(number & 1)) & MASK


def unfold_words(number):
    moved = unfold(number)
    words = moved << 3 & MASK
    return words | ((moved >> 61 ^ signed(words) >> 63) & 7)


def rotate(number):
    return (number << 3 | number >> 61) & MASK


# Structs as bincode writes them


def fixed(size):
    return lambda source: source.fixed(size)


u32, u64 = fixed(4), fixed(8)


def boolean(source):
    number = source.fixed(1)
    require(number <= 1, "a bool that is neither")
    return number == 1


def string(source):
    try:
        return str(source.take(u64(source)), "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a string that is not UTF-8") from error


def blob(source):
    return list(source.take(u64(source)))


def listed(of):
    return lambda source: [of(source) for _ in range(u64(source))]


def pair(first, second):
    return lambda source: [first(source), second(source)]


def triple(first, second, third):
    return lambda source: [first(source), second(source), third(source)]


def optional(of):
    return lambda source: of(source) if boolean(source) else None


def variant(*names):
    def read(source):
        number = u32(source)
        require(number < len(names), "an unknown variant")
        return names[number]

    return read


def struct_of(**fields):
    return lambda source: {name: read(source) for name, read in fields.items()}


def evolving(**fields):
    """A struct at whose end a later version may have more fields, and an earlier one fewer."""

    def read(content):
        source = Bytes(content)
        # Every missing field reads as zero.
        return {name: read(Bytes(bytes(256)) if source.ended() else source) for name, read in fields.items()}

    return read
