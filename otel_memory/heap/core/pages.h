/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One byte for each 16 KiB of address space: what a block that begins there is.
 *
 *   bits 0-5   pymalloc's size class in units of 16 bytes; 0: not a pool, or one
 *              that nothing was allocated from since we count
 *   bit  6     within an arena of pymalloc's, so whatever begins here is a pool's
 *   bit  7     a sampled block lives here
 *
 * A pool of CPython 3.10 to 3.13 is 16 KiB and aligned to it, so no other block
 * begins in a pool's page. Pool bytes are written under the GIL of the
 * interpreter that owns the pool, the sample bit of other pages under the lock
 * of the RAW samples; reads need neither, for whoever frees a block is the only
 * one who can care about its page's class.
 *
 * The table is flat: 8 GiB of address space, of which what is never written costs
 * nothing. Two levels cost seven instructions more in each hook, a sixth of all.
 */
#ifndef OTEL_MEMORY_PAGES_H
#define OTEL_MEMORY_PAGES_H

#include "core.h"

#define PAGE_BITS 14
#if defined(__x86_64__)
#define ADDRESS_BITS 47 /* more only for who asks mmap for it */
#else
#define ADDRESS_BITS 48
#endif
#define PAGE_CLASS 0x3f
#define PAGE_ARENA 0x40
#define PAGE_SAMPLED 0x80

extern uint8_t *page_table; /* set once, before the hooks go in */

/* 0, or -1 when there is no such address space. */
int pages_init(void);
/* A block's byte, to be written to; NULL when memory is short. */
uint8_t *page_need_nopy(const void *block);
void pages_mark_arena_nopy(uintptr_t start, size_t size);
void pages_forget_arena_nopy(uintptr_t start, size_t size);

static inline uintptr_t
page_index(const void *block)
{
    return (uintptr_t)block >> PAGE_BITS;
}

static inline uint8_t
page_byte_nopy(const void *block)
{
    return __atomic_load_n(&page_table[page_index(block)], __ATOMIC_RELAXED);
}

#endif
