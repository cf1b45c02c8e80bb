/*
 * Unwinds stacks with libdw, the unwinder of elfutils, from registers and memory that come on standard input.
 *
 * Commands are lines; numbers are hexadecimal:
 *   space                        another address space begins; the first is number 0
 *   module SPACE BIAS PATH       an ELF file is mapped there, its addresses moved by BIAS
 *   stack SPACE R0 ... R16 N     registers by DWARF number, and so many pieces of memory, each a line "START LENGTH" and its bytes
 * The answer to a stack is a line: the frames, innermost first, an instruction pointer of an interrupted frame with a '!' behind
 * it, and then "; " and why it ends.
 */
#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPACES 65536
#define PIECES 1024
#define REGISTERS 17
#define DEEPEST 100000

static struct space {
	Dwfl *dwfl;
	bool attached;
} spaces[SPACES];
static size_t space_count;

static struct piece {
	unsigned long start, length, room;
	char *bytes;
} pieces[PIECES];
static size_t piece_count;
static Dwarf_Word registers[REGISTERS];
static size_t depth;

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = dwfl_standard_find_debuginfo,
	.section_address = dwfl_offline_section_address,
};

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	if (*thread_arg)
		return 0;
	*thread_arg = arg;
	return 1;
}

static bool read_word(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *arg)
{
	(void)dwfl;
	(void)arg;
	for (size_t i = 0; i < piece_count; i++) {
		struct piece *piece = &pieces[i];

		if (piece->length >= 8 && address >= piece->start && address - piece->start <= piece->length - 8) {
			memcpy(result, piece->bytes + (address - piece->start), 8);
			return true;
		}
	}
	return false;
}

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	(void)arg;
	dwfl_thread_state_register_pc(thread, registers[16]);
	return dwfl_thread_state_registers(thread, 0, REGISTERS, registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.memory_read = read_word,
	.set_initial_registers = set_registers,
};

static int print_frame(Dwfl_Frame *frame, void *arg)
{
	Dwarf_Addr pc;
	bool interrupted;

	(void)arg;
	if (!dwfl_frame_pc(frame, &pc, &interrupted))
		return DWARF_CB_ABORT;
	printf("%lx%s ", (unsigned long)pc, interrupted ? "!" : "");
	return ++depth < DEEPEST ? DWARF_CB_OK : DWARF_CB_ABORT;
}

static void unwind(struct space *space)
{
	depth = 0;
	if (!space->attached)
		space->attached = dwfl_attach_state(space->dwfl, NULL, 1, &thread_callbacks, space);
	/* What an earlier stack has left is no reason why this one ends. */
	dwfl_errno();
	int outcome = space->attached ? dwfl_getthread_frames(space->dwfl, 1, print_frame, NULL) : -1;
	printf("; %s\n", outcome == 0 ? "end" : dwfl_errmsg(-1));
	fflush(stdout);
}

static void fail(const char *what)
{
	fprintf(stderr, "libdw: %s\n", what);
	exit(1);
}

static void read_pieces(void)
{
	if (piece_count > PIECES)
		fail("too many pieces of memory");
	for (size_t i = 0; i < piece_count; i++) {
		struct piece *piece = &pieces[i];

		if (scanf(" %lx %lx", &piece->start, &piece->length) != 2 || getchar() != '\n')
			fail("a piece of memory is missing");
		if (piece->length > piece->room) {
			piece->bytes = realloc(piece->bytes, piece->length);
			piece->room = piece->length;
		}
		if (piece->length && (!piece->bytes || fread(piece->bytes, piece->length, 1, stdin) != 1))
			fail("a piece of memory is not there");
	}
}

static struct space *space_of(unsigned long number)
{
	if (number >= space_count)
		fail("there is no such space");
	return &spaces[number];
}

int main(void)
{
	char command[16], path[4096];
	unsigned long space, bias, bits;

	while (scanf(" %15s", command) == 1) {
		if (strcmp(command, "space") == 0) {
			if (space_count == SPACES)
				fail("too many spaces");
			spaces[space_count++].dwfl = dwfl_begin(&callbacks);
		} else if (strcmp(command, "module") == 0) {
			if (scanf(" %lx %lx %4095[^\n]", &space, &bias, path) != 3)
				fail("a module is not understood");
			Dwfl *dwfl = space_of(space)->dwfl;

			dwfl_report_begin_add(dwfl);
			/* What it does not take, such as code that V8 has moved to a second place, is seen where walks end. */
			dwfl_report_elf(dwfl, path, path, -1, bias, true);
			dwfl_report_end(dwfl, NULL, NULL);
		} else if (strcmp(command, "stack") == 0) {
			if (scanf(" %lx", &space) != 1)
				fail("a stack is not understood");
			for (int i = 0; i < REGISTERS; i++) {
				if (scanf(" %lx", &bits) != 1)
					fail("a register is missing");
				registers[i] = bits;
			}
			if (scanf(" %lx", &bits) != 1)
				fail("a stack is not understood");
			piece_count = bits;
			read_pieces();
			unwind(space_of(space));
		} else {
			fail("there is no such command");
		}
	}
	return 0;
}
