/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hooks in CPython's three allocator domains.
 *
 * They go in once and stay: PyMem_SetAllocator is not atomic, other threads run
 * meanwhile, and other tools may have wrapped ours since. Each domain has
 * functions of its own instead of a context pointer, for a thread may read a
 * half-written PyMemAllocatorEx.
 *
 * Sizes of freed blocks. OBJ and MEM hand out pymalloc's pool blocks, whose size
 * class the page table knows (pages.h), or blocks of RAW; RAW's blocks are
 * libc's, which knows their size. Which of the two a call returned is learned and
 * not guessed from the request: in an arena's page or a page with a class it is a
 * pool's, else our RAW hook has noted in `raw_last` what passed through it
 * (malloc(0), failed arenas, and RAW blocks that shrank stay RAW).
 *
 * No function here touches the interpreter, raises, or allocates through PyMem.
 */
#include "pages.h"

#include <malloc.h>
#include <string.h>

#if PY_VERSION_HEX >= 0x030D0000
/* Exported, but declared in an internal header since 3.13. */
extern const char *_PyMem_GetCurrentAllocatorName(void);
#endif

#define POOL_BLOCK_MAX 512

static PyMemAllocatorEx next_raw, next_mem, next_obj; /* set before the hooks are */
static PyObjectArenaAllocator next_arena;

/* ------------------------------------------------------------------ charge */

/* Whether a sample is due within these bytes. */
static inline __attribute__((always_inline)) bool
charge_is_due(Thread *t, size_t size)
{
    t->room -= (int64_t)size;
    if (t->room < 0) {
        t->peak -= t->room;
        t->room = 0;
    }
    t->countdown -= (int64_t)size;
    return t->countdown <= 0;
}

static inline size_t
class_size(size_t request)
{
    return (request + 15) & ~(size_t)15;
}

static inline __attribute__((always_inline)) void
charge_nopy(Thread *t, void *block, size_t start, size_t end, BlockKind kind)
{
    if (UNLIKELY(charge_is_due(t, end - start))) {
        sample_due_nopy(t, block, start, end, kind);
    }
}

/* Note the class of a pool block's page. False: no memory for the table; the
 * block then counts neither now nor when it is freed. */
static inline __attribute__((always_inline)) bool
set_class_nopy(void *block, size_t size)
{
    uint8_t *byte = page_need_nopy(block);
    if (UNLIKELY(byte == NULL)) {
        return false;
    }
    uint8_t was = __atomic_load_n(byte, __ATOMIC_RELAXED);
    uint8_t class = (uint8_t)(size >> 4);
    if (UNLIKELY((was & PAGE_CLASS) != class)) {
        __atomic_store_n(byte, (uint8_t)((was & ~PAGE_CLASS) | class),
                         __ATOMIC_RELAXED);
    }
    return true;
}

/* --------------------------------------------------- blocks of libc: RAW */

static inline __attribute__((always_inline)) void *
libc_got_nopy(Thread *t, void *block)
{
    t->raw_last = block;
    if (block != NULL) {
        size_t end = malloc_usable_size(block);
        charge_nopy(t, block, t->carry < end ? t->carry : end, end, BLOCK_RAW);
    }
    return block;
}

static inline __attribute__((always_inline)) void
libc_free_nopy(Thread *t, const PyMemAllocatorEx *next, void *block)
{
    if (block != NULL) {
        if (UNLIKELY(!t->registered)) {
            thread_register_nopy(t); /* a native thread that only frees */
        }
        t->room += (int64_t)malloc_usable_size(block);
        if (UNLIKELY(page_byte_nopy(block) & PAGE_SAMPLED)) {
            sample_free_nopy(block, BLOCK_RAW);
        }
    }
    next->free(next->ctx, block);
}

static inline __attribute__((always_inline)) void *
libc_realloc_nopy(Thread *t, const PyMemAllocatorEx *next, void *block, size_t size)
{
    if (block == NULL) {
        return libc_got_nopy(t, next->realloc(next->ctx, NULL, size));
    }
    size_t before = malloc_usable_size(block);
    /* Out before the call: once it is free, another thread may get the address. */
    Sample *samples = NULL;
    if (UNLIKELY(page_byte_nopy(block) & PAGE_SAMPLED)) {
        samples = sample_take_out_nopy(block, BLOCK_RAW);
    }
    void *moved = next->realloc(next->ctx, block, size);
    t->raw_last = moved;
    if (moved == NULL) {
        sample_put_back_nopy(samples, block, BLOCK_RAW, BLOCK_RAW, before);
        return NULL;
    }
    size_t after = malloc_usable_size(moved);
    sample_put_back_nopy(samples, moved, BLOCK_RAW, BLOCK_RAW, after);
    if (after > before) { /* the old part keeps its birth, the rest is born here */
        charge_nopy(t, moved, before, after, BLOCK_RAW);
    } else {
        t->room += (int64_t)(before - after);
    }
    return moved;
}

static void *
raw_malloc_nopy(void *Py_UNUSED(ctx), size_t size)
{
    return libc_got_nopy(&this_thread, next_raw.malloc(next_raw.ctx, size));
}

static void *
raw_calloc_nopy(void *Py_UNUSED(ctx), size_t count, size_t size)
{
    return libc_got_nopy(&this_thread, next_raw.calloc(next_raw.ctx, count, size));
}

static void *
raw_realloc_nopy(void *Py_UNUSED(ctx), void *block, size_t size)
{
    return libc_realloc_nopy(&this_thread, &next_raw, block, size);
}

static void
raw_free_nopy(void *Py_UNUSED(ctx), void *block)
{
    libc_free_nopy(&this_thread, &next_raw, block);
}

/* ------------------------------------- blocks of pymalloc: OBJ and MEM */

/* Whether the block that a call of OBJ or MEM just returned is one of RAW's,
 * which the RAW hook has charged already. */
static inline bool
came_from_raw_nopy(const Thread *t, const void *block)
{
    return block == t->raw_last && !(page_byte_nopy(block) & PAGE_ARENA);
}

/* Everything that is not the common case. Returns the block. */
static __attribute__((noinline)) void *
pool_got_slow_nopy(Thread *t, void *block, size_t request)
{
    if (block == NULL || came_from_raw_nopy(t, block)) {
        return block;
    }
    if (request - 1 >= POOL_BLOCK_MAX) {
        return block; /* another tool's own block: not counted, on free neither */
    }
    size_t size = class_size(request);
    if (set_class_nopy(block, size)) {
        charge_nopy(t, block, 0, size, BLOCK_POOL);
    }
    return block;
}

static __attribute__((noinline)) void *
pool_sample_nopy(Thread *t, void *block, size_t size)
{
    sample_due_nopy(t, block, 0, size, BLOCK_POOL);
    return block;
}

static inline __attribute__((always_inline)) void *
pool_got_nopy(Thread *t, void *block, size_t request)
{
    size_t class = (request + 15) >> 4;
    /* A page of this very class: the block is a pool's. (A request of 0 makes no
     * pool block; it matches pages without a class, and is charged 0 bytes.) */
    if (UNLIKELY((page_byte_nopy(block) & PAGE_CLASS) != class)) {
        return pool_got_slow_nopy(t, block, request);
    }
    size_t size = class << 4;
    if (UNLIKELY(charge_is_due(t, size))) {
        return pool_sample_nopy(t, block, size);
    }
    return block;
}

static inline __attribute__((always_inline)) void *
pool_malloc_nopy(const PyMemAllocatorEx *next, size_t size)
{
    Thread *t = thread_sync_nopy();
    return pool_got_nopy(t, next->malloc(next->ctx, size), size);
}

static inline __attribute__((always_inline)) void *
pool_calloc_nopy(const PyMemAllocatorEx *next, size_t count, size_t size)
{
    Thread *t = thread_sync_nopy();
    void *block = next->calloc(next->ctx, count, size);
    return pool_got_nopy(t, block, count * size); /* no overflow: it succeeded */
}

static inline __attribute__((always_inline)) void
pool_free_nopy(const PyMemAllocatorEx *next, void *block)
{
    Thread *t = thread_sync_nopy();
    uint8_t page = page_byte_nopy(block);
    t->room += (int64_t)(page & PAGE_CLASS) << 4;
    if (UNLIKELY(page & PAGE_SAMPLED) && (page & PAGE_CLASS)) {
        sample_free_nopy(block, BLOCK_POOL);
    }
    next->free(next->ctx, block);
}

static __attribute__((noinline)) void *
pool_realloc_nopy(const PyMemAllocatorEx *next, void *block, size_t request)
{
    Thread *t = thread_sync_nopy();
    if (block == NULL) {
        return pool_got_nopy(t, next->realloc(next->ctx, NULL, request), request);
    }
    uint8_t page = page_byte_nopy(block);
    if ((page & PAGE_CLASS) == 0) {
        /* A RAW block stays RAW, whatever its new size, and the RAW hook does
         * the accounts; or a pool block from before our time, which counts when
         * it moves. */
        void *moved = next->realloc(next->ctx, block, request);
        return moved == block ? moved : pool_got_nopy(t, moved, request);
    }
    size_t before = (size_t)(page & PAGE_CLASS) << 4;
    Sample *samples
        = page & PAGE_SAMPLED ? sample_take_out_nopy(block, BLOCK_POOL) : NULL;
    t->carry = request > POOL_BLOCK_MAX ? before : 0;
    void *moved = next->realloc(next->ctx, block, request);
    size_t carried = t->carry;
    t->carry = 0;
    if (moved == NULL || moved == block) { /* failed, or kept its size class */
        sample_put_back_nopy(samples, block, BLOCK_POOL, BLOCK_POOL, before);
        return moved;
    }
    if (came_from_raw_nopy(t, moved)) {
        /* The RAW hook has charged what came on top of `carry`. */
        t->room += (int64_t)(before - carried);
        sample_put_back_nopy(samples, moved, BLOCK_POOL, BLOCK_RAW,
                             malloc_usable_size(moved));
        return moved;
    }
    size_t after = class_size(request);
    if (request - 1 >= POOL_BLOCK_MAX || !set_class_nopy(moved, after)) {
        t->room += (int64_t)before; /* gone where we cannot follow */
        sample_put_back_nopy(samples, block, BLOCK_POOL, BLOCK_POOL, 0);
        return moved;
    }
    sample_put_back_nopy(samples, moved, BLOCK_POOL, BLOCK_POOL, after);
    if (after > before) {
        charge_nopy(t, moved, before, after, BLOCK_POOL);
    } else {
        t->room += (int64_t)(before - after);
    }
    return moved;
}

/* With PYTHONMALLOC=malloc OBJ and MEM go to libc and pass no hook of RAW. */

#define DEFINE_DOMAIN(domain)                                                          \
    static void *domain##_malloc_nopy(void *Py_UNUSED(ctx), size_t size)               \
    {                                                                                  \
        return pool_malloc_nopy(&next_##domain, size);                                 \
    }                                                                                  \
    static void *domain##_calloc_nopy(void *Py_UNUSED(ctx), size_t count, size_t size) \
    {                                                                                  \
        return pool_calloc_nopy(&next_##domain, count, size);                          \
    }                                                                                  \
    static void *domain##_realloc_nopy(void *Py_UNUSED(ctx), void *block, size_t size) \
    {                                                                                  \
        return pool_realloc_nopy(&next_##domain, block, size);                         \
    }                                                                                  \
    static void domain##_free_nopy(void *Py_UNUSED(ctx), void *block)                  \
    {                                                                                  \
        pool_free_nopy(&next_##domain, block);                                         \
    }                                                                                  \
    static void *domain##_libc_malloc_nopy(void *Py_UNUSED(ctx), size_t size)          \
    {                                                                                  \
        Thread *t = thread_sync_nopy();                                                \
        return libc_got_nopy(t, next_##domain.malloc(next_##domain.ctx, size));        \
    }                                                                                  \
    static void *domain##_libc_calloc_nopy(void *Py_UNUSED(ctx), size_t count,         \
                                           size_t size)                                \
    {                                                                                  \
        Thread *t = thread_sync_nopy();                                                \
        return libc_got_nopy(t, next_##domain.calloc(next_##domain.ctx, count, size)); \
    }                                                                                  \
    static void *domain##_libc_realloc_nopy(void *Py_UNUSED(ctx), void *block,         \
                                            size_t size)                               \
    {                                                                                  \
        return libc_realloc_nopy(thread_sync_nopy(), &next_##domain, block, size);     \
    }                                                                                  \
    static void domain##_libc_free_nopy(void *Py_UNUSED(ctx), void *block)             \
    {                                                                                  \
        libc_free_nopy(thread_sync_nopy(), &next_##domain, block);                     \
    }

DEFINE_DOMAIN(mem)
DEFINE_DOMAIN(obj)

static void
arena_free_nopy(void *Py_UNUSED(ctx), void *arena, size_t size)
{
    pages_forget_arena_nopy((uintptr_t)arena, size);
    next_arena.free(next_arena.ctx, arena, size);
}

static void *
arena_alloc_nopy(void *Py_UNUSED(ctx), size_t size)
{
    void *arena = next_arena.alloc(next_arena.ctx, size);
    if (arena != NULL) {
        pages_mark_arena_nopy((uintptr_t)arena, size);
    }
    return arena;
}

/* ----------------------------------------------------------------- install */

typedef enum { LAYOUT_POOLS, LAYOUT_LIBC, LAYOUT_UNKNOWN } Layout;

static bool
looks_like_libc(PyMemAllocatorEx *allocator, size_t size)
{
    void *block = allocator->malloc(allocator->ctx, size);
    if (block == NULL) {
        return false;
    }
    size_t usable = malloc_usable_size(block);
    allocator->free(allocator->ctx, block);
    return usable >= size && usable < 2 * size + 4096; /* jemalloc rounds up */
}

/* What this interpreter allocates with. RAW must be libc's and hooked already. */
static Layout
probe_domain(PyMemAllocatorEx *domain)
{
    Thread *t = &this_thread;
    t->raw_last = NULL;
    void *large = domain->malloc(domain->ctx, 3000);
    bool through_raw = large != NULL && t->raw_last == large;
    t->raw_last = NULL;
    void *small = domain->malloc(domain->ctx, 40);
    bool small_through_raw = t->raw_last != NULL && t->raw_last == small;
    domain->free(domain->ctx, large);
    domain->free(domain->ctx, small);
    if (through_raw && !small_through_raw) {
        return LAYOUT_POOLS;
    }
    if (domain->malloc == next_raw.malloc && domain->ctx == next_raw.ctx) {
        return LAYOUT_LIBC;
    }
    return LAYOUT_UNKNOWN;
}

const char *
hooks_install_py(void)
{
    if (core.installed) {
        return NULL;
    }
#ifdef Py_GIL_DISABLED
    return "free-threaded builds of CPython are not supported yet";
#endif
    const char *name = _PyMem_GetCurrentAllocatorName(); /* NULL: hooked already */
    if (name != NULL && strstr(name, "debug") != NULL) {
        return "the debug allocator is on (PYTHONMALLOC, PYTHONDEVMODE or -X dev)";
    }
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &next_raw);
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &next_mem);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &next_obj);
    if (!looks_like_libc(&next_raw, 1000) || !looks_like_libc(&next_raw, 100000)) {
        return "the raw allocator is not the C library's";
    }
    PyMemAllocatorEx raw
        = {NULL, raw_malloc_nopy, raw_calloc_nopy, raw_realloc_nopy, raw_free_nopy};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &raw);
    Layout mem_layout = probe_domain(&next_mem), obj_layout = probe_domain(&next_obj);
    if (mem_layout == LAYOUT_UNKNOWN || mem_layout != obj_layout) {
        PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &next_raw);
        return "the object allocator is neither pymalloc nor the C library's";
    }
    if (mem_layout == LAYOUT_POOLS) {
        PyObject_GetArenaAllocator(&next_arena);
        PyObjectArenaAllocator arena = {NULL, arena_alloc_nopy, arena_free_nopy};
        PyObject_SetArenaAllocator(&arena);
        PyMemAllocatorEx mem
            = {NULL, mem_malloc_nopy, mem_calloc_nopy, mem_realloc_nopy, mem_free_nopy};
        PyMemAllocatorEx obj
            = {NULL, obj_malloc_nopy, obj_calloc_nopy, obj_realloc_nopy, obj_free_nopy};
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &mem);
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &obj);
    } else {
        PyMemAllocatorEx mem = {NULL, mem_libc_malloc_nopy, mem_libc_calloc_nopy,
                                mem_libc_realloc_nopy, mem_libc_free_nopy};
        PyMemAllocatorEx obj = {NULL, obj_libc_malloc_nopy, obj_libc_calloc_nopy,
                                obj_libc_realloc_nopy, obj_libc_free_nopy};
        PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &mem);
        PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &obj);
    }
    core.installed = true;
    return NULL;
}

/* Whether an allocation in each domain is still counted. Somebody who saved the
 * allocators before us and puts them back (tracemalloc.stop) takes us out. */
bool
hooks_probe_py(void)
{
    Thread *t = &this_thread;
    int64_t before = thread_allocated(t);
    void *raw = PyMem_RawMalloc(64);
    bool raw_counts = thread_allocated(t) > before;
    before = thread_allocated(t);
    void *mem = PyMem_Malloc(64);
    bool mem_counts = thread_allocated(t) > before;
    before = thread_allocated(t);
    void *obj = PyObject_Malloc(64);
    bool obj_counts = thread_allocated(t) > before;
    PyMem_RawFree(raw);
    PyMem_Free(mem);
    PyObject_Free(obj);
    return raw_counts && mem_counts && obj_counts;
}
