/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <assert.h>
#include <sys/mman.h>

/* The unit in which the table is made writable: it stands for 16 GiB. */
#define CHUNK_BITS 20
#define CHUNKS ((size_t)1 << (ADDRESS_BITS - PAGE_BITS - CHUNK_BITS))

uint8_t *page_table;
static _Atomic(uint8_t) writable[CHUNKS];

int
pages_init(void)
{
    if (page_table != NULL) {
        return 0;
    }
    /* Readable only: private memory that cannot be written to is not charged
     * against the system's commit limit, and reads as zeros without taking any. */
    size_t size = (size_t)1 << (ADDRESS_BITS - PAGE_BITS);
    void *memory = mmap(NULL, size, PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return -1; /* ulimit -v */
    }
    madvise(memory, size, MADV_NOHUGEPAGE); /* a page here and there is touched */
    madvise(memory, size, MADV_DONTDUMP);
    page_table = memory;
    return 0;
}

uint8_t *
page_need_nopy(const void *block)
{
    assert(page_table != NULL); /* pages_init comes before the hooks */
    uintptr_t page = page_index(block);
    size_t chunk = page >> CHUNK_BITS;
    if (UNLIKELY(!atomic_load_explicit(&writable[chunk], memory_order_acquire))) {
        /* Two threads may do this at once; it does no harm. */
        if (mprotect(page_table + (chunk << CHUNK_BITS), (size_t)1 << CHUNK_BITS,
                     PROT_READ | PROT_WRITE)
            != 0) {
            return NULL;
        }
        atomic_store_explicit(&writable[chunk], 1, memory_order_release);
    }
    return page_table + page;
}

/* The pages of [start, start + size) that are whole: pools are aligned, and what
 * lies before the first or after the last may have a neighbour in its page. */
static void
set_whole_pages_nopy(uintptr_t start, size_t size, uint8_t value)
{
    const uintptr_t page_size = (uintptr_t)1 << PAGE_BITS;
    uintptr_t at = (start + page_size - 1) & ~(page_size - 1);
    for (; at + page_size <= start + size; at += page_size) {
        uint8_t *byte = page_need_nopy((void *)at);
        if (byte != NULL) {
            __atomic_store_n(byte, value, __ATOMIC_RELAXED);
        }
    }
}

void
pages_mark_arena_nopy(uintptr_t start, size_t size)
{
    set_whole_pages_nopy(start, size, PAGE_ARENA);
}

void
pages_forget_arena_nopy(uintptr_t start, size_t size)
{
    set_whole_pages_nopy(start, size, 0);
}
