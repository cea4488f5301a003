/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live heap, by samples.
 *
 * Every byte that is handed out is chosen with probability 1/R, so a part of a
 * block of s bytes is sampled with probability P(s) = 1 - exp(-s/R) and stands
 * for s/P(s) bytes: unbiased, whatever the sizes (the mathematics of tcmalloc's
 * and Go's heap profiles). A sample is kept as long as its block.
 *
 *  - The weight belongs to the R that its countdown was drawn with. Each thread
 *    keeps that R; a new one counts from its next draw.
 *  - Samples of pool blocks are protected by the GIL. Those of RAW blocks have
 *    their own table and a lock, for RAW comes without the GIL.
 *  - A table that is full raises R and keeps each sample with probability
 *    P_new/P_old, so proportions stay right and the newest is never dropped.
 *  - Memory is bounded: TABLE_MAX samples of 64 bytes in each of two tables.
 */
#include "pages.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384
#define CHUNK 512
#define RATE_MIN (32.0 * 1024)
/* For practical purposes none: most services stay below 8 MiB. But a block that is
 * taken and given back untouched takes next to no time, and a storm of such must not
 * cost more than the budget. */
#define RATE_MAX 0x1p40
#define RATE_START (512.0 * 1024)
/* A sample costs one to two microseconds until its block is freed, so this is 0.1
 * to 0.2 % of a core, whatever the traffic. */
#define SAMPLES_PER_SECOND 1000.0
#define WINDOW_SAMPLES 128
#define WINDOW_NS 1000000000u
/* No countdown is longer. A thread sees here that sampling was turned on, or that a
 * storm is over and R has fallen; that no sample was due so far changes nothing for
 * what comes (a Poisson process has no memory). */
#define LOOK_AGAIN_OFF_BYTES (1024 * 1024)
#define LOOK_AGAIN_BYTES (32 * 1024 * 1024)

typedef struct {
    Sample *buckets[BUCKETS]; /* by page, so that a page's last sample is seen */
    Sample *free_list;
    size_t used, chunks;
} Table;

static Table tables[2]; /* by BlockKind: the GIL, raw_lock */
static pthread_mutex_t raw_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t capacity = TABLE_MAX;

/* Relaxed atomics: a draw may use a rate that is a moment old. */
static _Atomic double rate = RATE_START;
static _Atomic double rate_floor = RATE_MIN; /* raised by a full table */
static _Atomic bool enabled;
static _Atomic bool rate_is_fixed; /* by a test */
static _Atomic uint64_t taken, dropped, thinned;
static _Atomic uint64_t window_start_ns, window_samples;

static inline void
lock_nopy(BlockKind kind)
{
    if (kind == BLOCK_RAW) {
        pthread_mutex_lock(&raw_lock);
    }
}

static inline void
unlock_nopy(BlockKind kind)
{
    if (kind == BLOCK_RAW) {
        pthread_mutex_unlock(&raw_lock);
    }
}

static inline double
probability(double size, double r)
{
    return -expm1(-size / r);
}

double
sample_weight_bytes(const Sample *sample)
{
    return (double)sample->size / probability((double)sample->size, sample->rate);
}

/* -------------------------------------------------------------- the rate */

static uint64_t
now_ns_nopy(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Steer R so that samples per second stay near their budget. */
static void
adapt_rate_nopy(uint64_t samples)
{
    if (atomic_load_explicit(&rate_is_fixed, memory_order_relaxed)) {
        return;
    }
    uint64_t count = atomic_fetch_add(&window_samples, samples) + samples;
    uint64_t now = now_ns_nopy();
    uint64_t start = atomic_load(&window_start_ns);
    if (start == 0) {
        atomic_store(&window_start_ns, now);
        return;
    }
    if (now < start) {
        return; /* another thread has begun a window since */
    }
    uint64_t elapsed = now - start;
    if (count < WINDOW_SAMPLES && elapsed < WINDOW_NS) {
        return;
    }
    if (!atomic_compare_exchange_strong(&window_start_ns, &start, now)) {
        return; /* another thread does it */
    }
    atomic_store(&window_samples, 0);
    double per_second = (double)count * 1e9 / (double)(elapsed + 1);
    double factor = per_second / SAMPLES_PER_SECOND;
    /* Halved each second, also when nobody looked for some. */
    double least = exp2(-fmin(ceil((double)elapsed / WINDOW_NS), 8));
    factor = factor > 4 ? 4 : factor < least ? least : factor;
    double wanted = atomic_load(&rate) * factor;
    if (tables[BLOCK_POOL].used < capacity / 2
        && tables[BLOCK_RAW].used < capacity / 2) {
        atomic_store(&rate_floor, RATE_MIN); /* a look is enough: no lock */
    }
    double floor = atomic_load(&rate_floor);
    wanted = wanted > RATE_MAX ? RATE_MAX : wanted;
    atomic_store(&rate, wanted < floor ? floor : wanted);
}

/* Bytes until the next sample, drawn with the thread's R. */
static int64_t
distance_nopy(Thread *t)
{
    return 1 + (int64_t)(-log(uniform_nopy(&t->random)) * t->rate);
}

static void
draw_nopy(Thread *t)
{
    int64_t allocated = thread_allocated(t);
    t->sampler_epoch = atomic_load_explicit(&core.sampler_epoch, memory_order_relaxed);
    if (!atomic_load_explicit(&enabled, memory_order_relaxed) || t->away) {
        /* Not for ever: a thread that never switches looks again here. */
        t->countdown = LOOK_AGAIN_OFF_BYTES;
        t->next_sample = allocated + t->countdown;
        t->rate = 0;
        t->looks_again = false;
        return;
    }
    t->rate = atomic_load_explicit(&rate, memory_order_relaxed);
    t->countdown = distance_nopy(t);
    t->looks_again = t->countdown > LOOK_AGAIN_BYTES;
    if (t->looks_again) {
        t->countdown = LOOK_AGAIN_BYTES;
    }
    t->next_sample = allocated + t->countdown;
}

/* At the end of a countdown that was cut short: is a sample due within the rest of
 * the block, by the R that the countdown was drawn with? */
static bool
is_due_in_rest_nopy(Thread *t)
{
    int64_t rest_bytes = -t->countdown;
    return rest_bytes > 0 && distance_nopy(t) <= rest_bytes;
}

/* ------------------------------------------------------------- the tables */

static inline size_t
bucket_of(uintptr_t address)
{
    uintptr_t page = address >> PAGE_BITS;
    return (page * 0x9e3779b97f4a7c15u >> 40) % BUCKETS;
}

static void
forget_locked(Table *table, Sample *sample)
{
    record_release_nopy(sample->record);
    stack_release_nopy(sample->stack);
    sample->next = table->free_list;
    table->free_list = sample;
    table->used--;
}

static bool
page_has_sample_locked(Table *table, uintptr_t address)
{
    uintptr_t page = address >> PAGE_BITS;
    for (Sample *sample = table->buckets[bucket_of(address)]; sample != NULL;
         sample = sample->next) {
        if (sample->address >> PAGE_BITS == page) {
            return true;
        }
    }
    return false;
}

static void
unmark_page_if_empty_locked(Table *table, uintptr_t address)
{
    if (!page_has_sample_locked(table, address)) {
        uint8_t *byte = page_need_nopy((void *)address); /* writable since it was set */
        if (byte != NULL) {
            __atomic_fetch_and(byte, (uint8_t)~PAGE_SAMPLED, __ATOMIC_RELAXED);
        }
    }
}

/* Keep a sample of probability P(size, its rate) with a lower one. */
static bool
thin(Sample *sample, size_t new_size, double new_rate, uint64_t *random)
{
    double before = probability((double)sample->size, sample->rate);
    double after = probability((double)new_size, new_rate);
    if (after < before && uniform_nopy(random) > after / before) {
        return false;
    }
    sample->size = new_size;
    sample->rate = (float)new_rate;
    return true;
}

/* Make room by raising R. Doubling R halves what small samples there are. */
static void
thin_table_locked(Table *table, uint64_t *random)
{
    double new_rate = atomic_load(&rate);
    while (table->used > capacity * 3 / 4) {
        new_rate *= 2;
        for (size_t i = 0; i < BUCKETS; i++) {
            Sample **link = &table->buckets[i];
            while (*link != NULL) {
                Sample *sample = *link;
                if (sample->rate < new_rate
                    && !thin(sample, sample->size, new_rate, random)) {
                    *link = sample->next;
                    uintptr_t address = sample->address;
                    forget_locked(table, sample);
                    unmark_page_if_empty_locked(table, address);
                    atomic_fetch_add(&thinned, 1);
                } else {
                    link = &sample->next;
                }
            }
        }
    }
    atomic_store(&rate_floor, new_rate);
    atomic_store(&rate, new_rate);
}

static Sample *
sample_new_locked(Table *table, uint64_t *random)
{
    if (table->used >= capacity) {
        thin_table_locked(table, random);
    }
    if (table->free_list == NULL) {
        Sample *chunk = malloc(CHUNK * sizeof(*chunk)); /* kept for ever */
        if (chunk == NULL) {
            return NULL;
        }
        table->chunks++;
        for (size_t i = 0; i < CHUNK; i++) {
            chunk[i].next = table->free_list;
            table->free_list = &chunk[i];
        }
    }
    Sample *sample = table->free_list;
    table->free_list = sample->next;
    table->used++;
    return sample;
}

static void
insert_locked(Table *table, Sample *sample)
{
    Sample **bucket = &table->buckets[bucket_of(sample->address)];
    sample->next = *bucket;
    *bucket = sample;
}

/*
 * `t->countdown` has run out within bytes [start, end) of this block: sample them,
 * and draw anew. Also comes here where no sample is due: once for a thread that was
 * not seen before, after a change of state, and to look again.
 */
void
sample_due_nopy(Thread *t, void *block, size_t start, size_t end, BlockKind kind)
{
    if (!t->registered) {
        thread_register_nopy(t);
    }
    double drawn_with = t->rate;
    bool is_due = drawn_with != 0 && (!t->looks_again || is_due_in_rest_nopy(t));
    if (drawn_with != 0) {
        adapt_rate_nopy(is_due);
    }
    draw_nopy(t);
    if (!is_due || start >= end || t->rate == 0) {
        return;
    }
    PyThreadState *state = state_if_gil_held_nopy();
    Stack *stack = state == NULL ? NULL : stack_capture_nopy(state);
    if (stack != NULL && record_is_recorded(t->record) && !t->record->closed
        && attributes_want_sites()) {
        double bytes = (double)(end - start);
        took_add_nopy(t->record, stack, bytes / probability(bytes, drawn_with));
    }
    uint8_t *byte = page_need_nopy(block);
    Table *table = &tables[kind];
    lock_nopy(kind);
    Sample *sample = byte == NULL ? NULL : sample_new_locked(table, &t->random);
    if (sample == NULL) {
        unlock_nopy(kind);
        stack_release_nopy(stack);
        atomic_fetch_add(&dropped, 1);
        return;
    }
    sample->address = (uintptr_t)block;
    sample->start = start;
    sample->size = end - start;
    sample->record = t->record;
    record_hold_nopy(t->record);
    sample->stack = stack;
    sample->rate = (float)drawn_with;
    sample->born_ticks = ticks_now_nopy();
    sample->after_end = t->record->ended;
    insert_locked(table, sample);
    __atomic_fetch_or(byte, PAGE_SAMPLED, __ATOMIC_RELAXED);
    unlock_nopy(kind);
    atomic_fetch_add_explicit(&taken, 1, memory_order_relaxed);
}

/* Take all samples of a block out of the table, before it may move or go. Only
 * called when its page's bit is set. */
Sample *
sample_take_out_nopy(void *block, BlockKind kind)
{
    Table *table = &tables[kind];
    uintptr_t address = (uintptr_t)block;
    Sample *out = NULL;
    lock_nopy(kind);
    Sample **link = &table->buckets[bucket_of(address)];
    while (*link != NULL) {
        Sample *sample = *link;
        if (sample->address == address) {
            *link = sample->next;
            sample->next = out;
            out = sample;
        } else {
            link = &sample->next;
        }
    }
    if (out != NULL) {
        unmark_page_if_empty_locked(table, address);
    }
    unlock_nopy(kind);
    return out;
}

static void
put_back_one_nopy(Sample *sample, uintptr_t address, BlockKind from, BlockKind kind)
{
    assert(from <= BLOCK_RAW && kind <= BLOCK_RAW);
    uint8_t *byte = page_need_nopy((void *)address);
    if (from != kind) { /* a block of one table goes on in the other */
        Sample moved = *sample;
        lock_nopy(from);
        tables[from].used--;
        sample->next = tables[from].free_list;
        tables[from].free_list = sample;
        unlock_nopy(from);
        lock_nopy(kind);
        sample = byte == NULL ? NULL
                              : sample_new_locked(&tables[kind], &this_thread.random);
        if (sample == NULL) {
            unlock_nopy(kind);
            record_release_nopy(moved.record);
            stack_release_nopy(moved.stack);
            atomic_fetch_add(&dropped, 1);
            return;
        }
        *sample = moved;
    } else {
        lock_nopy(kind);
        if (byte == NULL) {
            forget_locked(&tables[kind], sample);
            unlock_nopy(kind);
            return;
        }
    }
    sample->address = address;
    insert_locked(&tables[kind], sample);
    __atomic_fetch_or(byte, PAGE_SAMPLED, __ATOMIC_RELAXED);
    unlock_nopy(kind);
}

/*
 * Go on with samples that were taken out: the block is now at `block` and has
 * `block_size` bytes. A part that lies beyond has died; one that was cut keeps
 * its place with the probability that its new size has.
 */
void
sample_put_back_nopy(Sample *list, void *block, BlockKind from, BlockKind kind,
                     size_t block_size)
{
    while (list != NULL) {
        Sample *sample = list;
        list = sample->next;
        bool lives = sample->start < block_size;
        if (lives && sample->start + sample->size > block_size) {
            lives = thin(sample, block_size - sample->start, sample->rate,
                         &this_thread.random);
        }
        if (lives) {
            put_back_one_nopy(sample, (uintptr_t)block, from, kind);
        } else {
            lock_nopy(from);
            forget_locked(&tables[from], sample);
            unlock_nopy(from);
        }
    }
}

void
sample_free_nopy(void *block, BlockKind kind)
{
    Sample *list = sample_take_out_nopy(block, kind);
    while (list != NULL) {
        Sample *sample = list;
        list = sample->next;
        lock_nopy(kind);
        forget_locked(&tables[kind], sample);
        unlock_nopy(kind);
    }
}

/* ---------------------------------------------------------------- readings */

/* Copy all samples with references to what they point to. Under the GIL. NULL when
 * memory is short. */
Sample *
sampler_copy_all_nopy(size_t *count)
{
    size_t room = tables[BLOCK_POOL].used + 16, used = 0;
    lock_nopy(BLOCK_RAW);
    room += tables[BLOCK_RAW].used;
    Sample *copies = malloc(room * sizeof(*copies));
    for (int kind = 0; copies != NULL && kind < 2; kind++) {
        for (size_t i = 0; i < BUCKETS; i++) {
            for (Sample *sample = tables[kind].buckets[i]; sample != NULL;
                 sample = sample->next) {
                copies[used] = *sample;
                record_hold_nopy(sample->record);
                if (sample->stack != NULL) {
                    stack_hold_nopy(sample->stack);
                }
                used++;
            }
        }
    }
    unlock_nopy(BLOCK_RAW);
    *count = used;
    return copies;
}

void
sampler_release_all_nopy(Sample *copies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        record_release_nopy(copies[i].record);
        stack_release_nopy(copies[i].stack);
    }
    free(copies);
}

size_t
sampler_memory_bytes(void)
{
    lock_nopy(BLOCK_RAW);
    size_t chunks = tables[BLOCK_POOL].chunks + tables[BLOCK_RAW].chunks;
    unlock_nopy(BLOCK_RAW);
    return sizeof(tables) + chunks * CHUNK * sizeof(Sample);
}

/* With the copy that a reading makes. */
const size_t sampler_memory_bound_bytes
    = sizeof(tables) + 2 * SAMPLES_MAX * sizeof(Sample);

SamplerHealth
sampler_health_nopy(void)
{
    lock_nopy(BLOCK_RAW);
    size_t live = tables[BLOCK_POOL].used + tables[BLOCK_RAW].used;
    unlock_nopy(BLOCK_RAW);
    return (SamplerHealth){taken, dropped, live, thinned, stacks_refused(), rate};
}

/* ---------------------------------------------------------------- switches */

void
sampler_enable_nopy(bool on, uint64_t seed)
{
    atomic_store(&enabled, on);
    Thread *t = &this_thread;
    if (seed != 0) {
        t->random = seed;
    }
    /* Other threads draw anew when they next look for their record. */
    atomic_fetch_add(&core.sampler_epoch, 1);
    thread_draw_soon(t);
}

/* For tests; 0 goes back to adapting. */
void
sampler_fix_rate(double rate_bytes)
{
    atomic_store(&rate_is_fixed, rate_bytes > 0);
    atomic_store(&rate, rate_bytes > 0 ? rate_bytes : RATE_START);
    atomic_store(&rate_floor, RATE_MIN);
    atomic_fetch_add(&core.sampler_epoch, 1);
    thread_draw_soon(&this_thread);
}

/* For tests. Returns what it was. */
size_t
sampler_set_capacity(size_t samples)
{
    size_t before = capacity;
    capacity = samples < 64 ? 64 : samples > TABLE_MAX ? TABLE_MAX : samples;
    return before;
}

void
sampler_prefork_nopy(void)
{
    pthread_mutex_lock(&raw_lock);
}

/* The child keeps all samples: it has all the blocks. */
void
sampler_postfork_nopy(bool child)
{
    if (child) {
        pthread_mutex_init(&raw_lock, NULL);
        atomic_store(&window_start_ns, 0);
        atomic_store(&window_samples, 0);
    } else {
        pthread_mutex_unlock(&raw_lock);
    }
}
