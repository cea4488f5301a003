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
 */
#ifndef OTEL_MEMORY_PAGES_H
#define OTEL_MEMORY_PAGES_H

#include "core.h"

#define PAGE_BITS 14
#define LEAF_BITS 17 /* a leaf maps 2 GiB */
#define ROOT_BITS 17 /* 48 bits of address in all */
#define PAGE_CLASS 0x3f
#define PAGE_ARENA 0x40
#define PAGE_SAMPLED 0x80

extern _Atomic(uint8_t *) page_root[1 << ROOT_BITS];

/* NULL when memory is short. */
uint8_t *page_leaf_new_nopy(uintptr_t root_index);
void pages_mark_arena_nopy(uintptr_t start, size_t size);
void pages_forget_arena_nopy(uintptr_t start, size_t size);

static inline uint8_t *
page_lookup_nopy(const void *block)
{
    uintptr_t page = (uintptr_t)block >> PAGE_BITS;
    /* No user address of Linux on x86-64 or AArch64 has more than 48 bits unless
     * it was asked for; the mask keeps such a one inside the table. */
    uintptr_t root_index = (page >> LEAF_BITS) & ((1 << ROOT_BITS) - 1);
    uint8_t *leaf
        = atomic_load_explicit(&page_root[root_index], memory_order_acquire);
    return leaf == NULL ? NULL : leaf + (page & ((1 << LEAF_BITS) - 1));
}

static inline uint8_t
page_byte_nopy(const void *block)
{
    uint8_t *byte = page_lookup_nopy(block);
    return byte == NULL ? 0 : __atomic_load_n(byte, __ATOMIC_RELAXED);
}

/* The byte of a block's page, made if need be; NULL as page_leaf_new_nopy. */
static inline uint8_t *
page_need_nopy(const void *block)
{
    uint8_t *byte = page_lookup_nopy(block);
    if (UNLIKELY(byte == NULL)) {
        uintptr_t page = (uintptr_t)block >> PAGE_BITS;
        uint8_t *leaf
            = page_leaf_new_nopy((page >> LEAF_BITS) & ((1 << ROOT_BITS) - 1));
        return leaf == NULL ? NULL : leaf + (page & ((1 << LEAF_BITS) - 1));
    }
    return byte;
}

#endif
