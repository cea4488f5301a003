/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <sys/mman.h>

_Atomic(uint8_t *) page_root[1 << ROOT_BITS];

uint8_t *
page_leaf_new_nopy(uintptr_t root_index)
{
    /* mmap and not calloc: untouched parts of a leaf cost nothing. */
    void *memory = mmap(NULL, 1 << LEAF_BITS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    uint8_t *expected = NULL;
    if (!atomic_compare_exchange_strong(&page_root[root_index], &expected,
                                        (uint8_t *)memory)) {
        munmap(memory, 1 << LEAF_BITS); /* another thread was first */
        return expected;
    }
    return memory;
}

/* The pages of [start, start + size) that are whole: pools are aligned, and what
 * lies before the first or after the last may have a neighbour in its page. */
static void
change_whole_pages_nopy(uintptr_t start, size_t size, uint8_t keep, uint8_t set)
{
    const uintptr_t page_size = (uintptr_t)1 << PAGE_BITS;
    uintptr_t at = (start + page_size - 1) & ~(page_size - 1);
    for (; at + page_size <= start + size; at += page_size) {
        uint8_t *byte = page_need_nopy((void *)at);
        if (byte != NULL) {
            uint8_t was = __atomic_load_n(byte, __ATOMIC_RELAXED);
            __atomic_store_n(byte, (uint8_t)((was & keep) | set), __ATOMIC_RELAXED);
        }
    }
}

void
pages_mark_arena_nopy(uintptr_t start, size_t size)
{
    change_whole_pages_nopy(start, size, 0, PAGE_ARENA);
}

void
pages_forget_arena_nopy(uintptr_t start, size_t size)
{
    change_whole_pages_nopy(start, size, 0, 0);
}
