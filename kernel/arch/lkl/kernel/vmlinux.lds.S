/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two segments: what never changes, which processes map from the file, and
 * the data, which they share.  The file's first bytes are the table of entry
 * points (struct ukl_image).
 */
#include <asm/page.h>
#include <asm/cache.h>
#include <asm/asm-offsets.h>
#define THREAD_SIZE ASM_THREAD_SIZE
/* Read-only data is mapped from the file: what is written once goes below. */
#define RO_AFTER_INIT_DATA
#include <asm-generic/vmlinux.lds.h>

OUTPUT_FORMAT("elf64-x86-64")
OUTPUT_ARCH(i386:x86-64)
ENTRY(ukl_image)

jiffies = jiffies_64;

PHDRS
{
	text PT_LOAD FLAGS(5);
	data PT_LOAD FLAGS(7);
	note PT_NOTE FLAGS(4);
}

SECTIONS
{
	. = PAGE_OFFSET;
	_text = .;

	.head : {
		KEEP(*(.ukl_image))
	} :text

	.text : {
		_stext = .;
		TEXT_TEXT
		SCHED_TEXT
		LOCK_TEXT
		KPROBES_TEXT
		IRQENTRY_TEXT
		SOFTIRQENTRY_TEXT
		ENTRY_TEXT
		*(.fixup)
		_sinittext = .;
		INIT_TEXT
		_einittext = .;
		EXIT_TEXT
		_etext = .;
	} :text

	. = ALIGN(PAGE_SIZE);
	RO_DATA(PAGE_SIZE)

	. = ALIGN(PAGE_SIZE);
	ukl_data_start = .;

	.data.first : { QUAD(0) } :data
	EXCEPTION_TABLE(16)
	_sdata = .;
	.data.once : {
		. = ALIGN(8);
		__start_ro_after_init = .;
		*(.data..ro_after_init)
		JUMP_TABLE_DATA
		STATIC_CALL_DATA
		__end_ro_after_init = .;
	}
	/* -fPIE gathers here what is initialised with an address. */
	.data.rel : { *(.data.rel .data.rel.*) }
	RW_DATA(L1_CACHE_BYTES, PAGE_SIZE, THREAD_SIZE)
	_edata = .;

	. = ALIGN(PAGE_SIZE);
	__init_begin = .;
	INIT_DATA_SECTION(16)
	.exit.data : { EXIT_DATA }
	PERCPU_SECTION(L1_CACHE_BYTES)
	. = ALIGN(PAGE_SIZE);
	__init_end = .;

	BSS_SECTION(PAGE_SIZE, PAGE_SIZE, PAGE_SIZE)
	. = ALIGN(PAGE_SIZE);
	_end = .;

	STABS_DEBUG
	DWARF_DEBUG
	ELF_DETAILS
	DISCARDS
}
