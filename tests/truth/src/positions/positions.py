"""Run by gdb: stops the program at instructions of its own functions, each once, and writes down what gdb sees there.

For each stop a line of JSON: registers by their DWARF numbers, the memory of the stack, what is mapped, and gdb's frames.
PROFREC_POSITIONS says how many instructions, spread evenly; PROFREC_OUTPUT names the file.
"""

import base64
import json
import os

import gdb

REGISTERS = "rax rdx rcx rbx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip".split()
KINDS = {gdb.INLINE_FRAME: "inline", gdb.TAILCALL_FRAME: "tail call", gdb.SIGTRAMP_FRAME: "signal"}
MOST_OF_A_STACK = 1 << 20


def functions():
    """The functions of the source file that main is in; without debug information, those that have the names of fixtures."""
    main = gdb.selected_frame().function()
    if main is None:
        for name in ("main", "outer", "middle", "spin"):
            yield int(gdb.parse_and_eval(f"(unsigned long)&{name}"))
        return
    for block in (main.symtab.global_block(), main.symtab.static_block()):
        for symbol in block:
            if symbol.is_function and symbol.symtab.filename == main.symtab.filename:
                yield int(symbol.value().address)


def instructions(start):
    text = gdb.execute(f"disassemble /r {start:#x}", to_string=True)
    for line in text.splitlines():
        word = line.replace("=>", "").split(maxsplit=1)[0:1]
        if word and word[0].startswith("0x"):
            yield int(word[0], 16)


def mappings(pid):
    with open(f"/proc/{pid}/maps") as maps:
        return [line.rstrip("\n") for line in maps]


def stacks(maps, sp):
    """The stack that is in use, from the stack pointer on, and the outer part of the first stack when it is another."""
    for line in maps:
        bounds, name = line.split()[0], line.split()[-1]
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        if start <= sp < end:
            yield sp & ~7, min(end, sp + MOST_OF_A_STACK)
        elif name == "[stack]":
            yield max(start, end - MOST_OF_A_STACK // 8), end


def frames():
    frame = gdb.newest_frame()
    while frame is not None:
        place = frame.find_sal().symtab
        own = place is not None and "programs/" in place.filename
        yield {"pc": frame.pc(), "name": frame.name() or "", "kind": KINDS.get(frame.type(), "normal"), "own": own}
        frame = frame.older()


def state():
    inferior = gdb.selected_inferior()
    newest = gdb.newest_frame()
    registers = [int(newest.read_register(name)) & (2**64 - 1) for name in REGISTERS]
    maps = mappings(inferior.pid)
    memory = [
        (start, base64.b64encode(inferior.read_memory(start, end - start).tobytes()).decode())
        for start, end in stacks(maps, registers[7])
    ]
    with open(f"/proc/{inferior.pid}/stat") as stat:
        top = int(stat.read().rsplit(")", 1)[1].split()[25])
    return {"registers": registers, "memory": memory, "maps": maps, "top": top, "frames": list(frames())}


def spread(items, count):
    return sorted({items[number * len(items) // count] for number in range(count)}) if items else []


def run():
    for setting in ("pagination off", "confirm off", "style enabled off", "backtrace past-main on", "width 0"):
        gdb.execute(f"set {setting}")
    gdb.execute("handle all nostop noprint pass", to_string=True)
    program = os.path.basename(gdb.current_progspace().filename)
    is_rust = gdb.lookup_global_symbol(f"{program}::main") is not None
    gdb.Breakpoint(f"{program}::main" if is_rust else "main", temporary=True, internal=True)
    gdb.execute("run", to_string=True)
    places = sorted({place for start in functions() for place in instructions(start)})
    waiting = {}
    for place in spread(places, int(os.environ["PROFREC_POSITIONS"])):
        waiting[place] = gdb.Breakpoint(f"*{place:#x}", internal=True)
    with open(os.environ["PROFREC_OUTPUT"], "w") as output:
        while waiting and gdb.selected_thread() is not None:
            gdb.execute("continue", to_string=True)
            if gdb.selected_thread() is None:
                break
            stopped = waiting.pop(gdb.newest_frame().pc(), None)
            if stopped is None:
                break
            stopped.delete()
            output.write(json.dumps(state()) + "\n")


run()
