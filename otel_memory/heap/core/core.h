/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the rooms of the counting core share.
 *
 * The way of the data: an allocator hook (hooks.c) adds to plain counters of
 * its thread (threads.c); a switch of the context folds them into the record
 * of the span that was current (records.c, context.c); an ended record is
 * summed into the row of its (entry, span) pair (pairs.c). Beside it every
 * R-th byte or so becomes a sample that lives as long as its block
 * (sampler.c, stacks.c). spans.c holds the wrappers of OpenTelemetry's
 * methods, entries.c the entry spans that ended lately, collector.c what the
 * cyclic collector did, module.c the functions that Python sees.
 *
 * Names: `_nopy` must not touch the interpreter (no reference counts, no
 * PyMem, no error indicator): such functions may run inside a hook.
 * `_py` may, and runs under the GIL outside of hooks. `_locked` means that
 * the caller holds the lock named beside the data.
 */
#ifndef OTEL_MEMORY_CORE_H
#define OTEL_MEMORY_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

/* ------------------------------------------------------------------ rows */

/* Which sort of row a figure belongs to; pairs.c has their words. */
typedef enum {
    SORT_SPAN,
    SORT_NO_SPAN,
    SORT_TELEMETRY,
    SORT_IMPORT,
    SORT_AFTER_END,
    SORT_GC,
    SORT_OTHER,
    SORT_COUNT
} Sort;

/* How many spans had completed at moments of the past: of each power of four ticks
 * the last two multiples, so that what is long ago is known as well as what is
 * recent, each by its own measure. */
#define HISTORY_LEVELS 11 /* the longest: 4^10 ticks, 18 hours */
typedef struct {
    uint64_t count[HISTORY_LEVELS][2]; /* before the moment; newer, older */
    uint32_t ticks[HISTORY_LEVELS][2]; /* 0: nothing yet */
    uint32_t first_ticks, last_ticks;  /* of all completions */
} History;

/* One (entry, span name, kind) row. Protected by the GIL. */
typedef struct Pair {
    struct Pair *next_in_bucket;
    PyObject *name;  /* strong, exact str */
    PyObject *entry; /* strong, exact str */
    Py_hash_t hash;
    uint64_t count;     /* completed spans */
    uint64_t allocated; /* bytes, without child spans */
    int64_t peak[2];    /* largest single span, in this minute and the last */
    uint32_t minute;    /* of peak[0] */
    uint32_t live_samples;
    double live; /* bytes; refilled by each reading */
    History history;
    uint8_t sort;
    uint8_t kind;
} Pair;

/* --------------------------------------------------------------- records */

/* What an entry span keeps of its ended children until its own name is
 * final (FastAPI learns the route late). */
typedef struct Pending {
    PyObject *name; /* strong */
    uint64_t count, allocated;
    int64_t peak;
    uint8_t kind;
} Pending;

/*
 * The account of one span. References are counted atomically, for a RAW hook
 * without the GIL may hold one for a sample; everything else is protected by
 * the GIL.
 */
typedef struct Record {
    _Atomic int64_t references;
    int64_t net;                /* inclusive of ended children */
    int64_t peak;               /* highest net, an upper bound where children overlap */
    uint64_t allocated;         /* inclusive */
    uint64_t own_allocated;     /* self */
    uint64_t flushed_allocated; /* of own_allocated: already in a Pair */
    struct Record *parent;      /* strong; dropped at the end */
    struct Record *entry;       /* strong, NULL where it is itself */
    PyObject *name;             /* strong, exact str */
    Pending *pending;           /* of an entry; libc's malloc */
    struct Took *took;          /* of a recorded span; libc's malloc */
    uint8_t trace_id[16];       /* big-endian; zeros unless recorded and sampled */
    uint64_t span_id;
    struct Record *previous, *next; /* all records there are */
    struct Record *next_dead;       /* in the graveyard */
    int64_t
        rss_bytes; /* at the start, -1: unknown; then the delta, INT64_MIN: unknown */
    uint64_t entries_started; /* the global count after our start */
    uint32_t started_seconds; /* monotonic */
    uint16_t pending_count, pending_room;
    uint8_t sort;
    uint8_t kind;
    bool ended;
    bool is_entry;
    bool closed; /* ended, or nobody can end it any more: not open */
    bool rss_exclusive;
    _Atomic int32_t threads; /* that charge it now */
} Record;

/* The rows that are nobody's span. Static; never freed. */
extern Record record_no_span, record_telemetry, record_gc;

typedef struct {
    PyObject_HEAD Record *record;
} RecordObject;

static inline bool
record_is_recorded(const Record *record)
{
    return record->span_id != 0;
}

/* ---------------------------------------------------------------- threads */

/*
 * The counters of one thread. Only the thread itself writes the first group,
 * with or without the GIL; others may read it (of a RAW call without the GIL
 * they may see half, which the next reading mends). Two subtractions and their
 * signs are all that an allocation costs:
 *
 *   bytes ever handed out        = next_sample - countdown
 *   the same minus those back    = peak - room
 *
 * The second group is written under the GIL only, except at registration and
 * exit.
 */
typedef struct Thread {
    int64_t countdown;   /* bytes until a sample is due; 0: unregistered */
    int64_t room;        /* bytes until there is a new peak */
    int64_t peak;        /* highest net since the last switch */
    int64_t next_sample; /* bytes handed out when a sample is due */
    void *raw_last;      /* what RAW handed out last */
    size_t carry;        /* bytes of a block that realloc moves from a pool to RAW */
    double rate;         /* R with which next_sample was drawn; 0: with none */
    uint64_t random;

    uint64_t seen_id, seen_version; /* the thread state last seen, its context */
    void *seen_vars;
    Record *record; /* strong */
    int64_t base_allocated, base_net;
    Record *forced; /* borrowed: static records only */
    void *forced_context;
    int64_t away_net, away_allocated, away_room; /* on entering another interpreter */
    struct Thread *previous, *next;              /* threads_lock */
    uint32_t sampler_epoch;                      /* of the last draw */
    bool registered;
    bool
        exiting; /* its exit has run, or none could be arranged: not registered again */
    bool away;
    bool looks_again; /* at the end of the countdown, for no sample is due there */
} Thread;

extern __thread Thread this_thread;

static inline int64_t
thread_allocated(const Thread *t)
{
    return t->next_sample - t->countdown;
}

static inline int64_t
thread_net(const Thread *t)
{
    return t->peak - t->room;
}

/* Have the next allocation draw a sample's distance anew. */
static inline void
thread_draw_soon(Thread *t)
{
    t->next_sample -= t->countdown;
    t->countdown = 0;
    t->rate = 0;
}

Thread *thread_sync_slow_nopy(Thread *t, PyThreadState *state);
void thread_register_nopy(Thread *t);
void thread_fold_all_of_nopy(Record *record);
void thread_fold_everything_nopy(void);
void thread_resync_nopy(void);
int threads_init(void);
void threads_totals_nopy(int64_t *net, int64_t *allocated);

/* Charge this thread to `record` until thread_release, in the context that is
 * current now. Returns what to hand to thread_release. */
typedef struct {
    Record *record;
    void *context;
    void *own;
} Forced;
Forced thread_force_py(Record *record);
void thread_release_nopy(Forced before);

/* ---------------------------------------------------------------- context */

int context_init_py(PyObject *variable);
Record *context_record_nopy(PyThreadState *state);
void *context_vars_nopy(PyThreadState *state);

/* ------------------------------------------------------------- records.c */

RecordObject *record_new_py(PyTypeObject *type, PyObject *name, int kind,
                            Record *parent);
void record_release_nopy(Record *record);
void record_drain_py(void);
void record_finish_py(Record *record);
void record_abandon_py(Record *record);
void record_rename_py(Record *record, PyObject *name);
void record_flush_all_py(void);
void record_reset_counters_py(void);
int record_init_py(void);
int64_t record_open_count(void);
uint64_t record_completed_count(void);
void record_object_is_gone(void);
size_t record_memory_bytes(void);
size_t record_memory_bound_bytes(void);
static inline void
record_hold_nopy(Record *record)
{
    atomic_fetch_add_explicit(&record->references, 1, memory_order_relaxed);
}

/* --------------------------------------------------------------- pairs.c */

Pair *pair_get_py(Sort sort, PyObject *name, PyObject *entry, int kind);
Pair *pair_of_record_py(Record *record, bool after_end, bool import_);
void pair_add_py(Pair *pair, uint64_t count, uint64_t allocated, int64_t peak);
Pair *pair_other_py(void);
PyObject *pairs_list_py(void);
void pairs_retire_py(Pair *pair);
Pair *pairs_find_py(Sort sort, PyObject *name, PyObject *entry, int kind);
void pairs_reset_py(void);
void pairs_clear_live_py(void);
int pairs_init_py(void);
int64_t pair_completed_since(const Pair *pair, uint32_t ticks);
size_t pairs_memory_bytes(void);
extern const size_t pairs_memory_bound_bytes;
PyObject *sort_name(Sort sort);
size_t pairs_count(void);

/* -------------------------------------------------------------- stacks.c */

#define STACK_DEPTH 32

typedef struct {
    PyCodeObject *code; /* strong */
    int instruction;    /* offset in bytes, as PyCode_Addr2Line takes it */
} Frame;

/* Interned: equal stacks are one. Table and frames are protected by the GIL. */
typedef struct Stack {
    struct Stack *next_in_bucket;
    uint64_t hash;
    _Atomic int64_t references;
    uint16_t depth;
    bool in_import;
    Frame frames[];
} Stack;

Stack *stack_capture_nopy(PyThreadState *state);
static inline void
stack_hold_nopy(Stack *stack)
{
    atomic_fetch_add_explicit(&stack->references, 1, memory_order_relaxed);
}
void stack_release_nopy(Stack *stack);
void stack_drain_py(void);
bool stacks_are_full(void);
uint64_t stacks_refused(void);
PyObject *stack_frames_py(Stack *stack);
PyThreadState *state_if_gil_held_nopy(void);
int stacks_init_py(PyObject *find_and_load_code);
size_t stacks_count(void);
size_t stacks_memory_bytes(void);
extern const size_t stacks_memory_bound_bytes;

/* ---------------------------------------------------------------- took.c */

typedef struct Took Took;

extern const size_t took_memory_bound_bytes; /* of one span */
size_t took_memory_bytes(void);
void took_add_nopy(Record *record, Stack *stack, double bytes);
void took_merge_nopy(Record *parent, const Record *child);
void took_forget_nopy(Record *record);
PyObject *took_list_py(const Record *record);

/* ------------------------------------------------------------- sampler.c */

typedef enum { BLOCK_POOL, BLOCK_RAW } BlockKind;

#define TABLE_MAX 16384 /* samples in each of two tables, by BlockKind */
#define SAMPLES_MAX ((size_t)2 * TABLE_MAX)

/* Part [start, start + size) of a block, born at one place. */
typedef struct Sample {
    union {
        struct Sample *next; /* in its bucket, or in a list taken out */
        struct Pair *pair;   /* in a reading's copy: its row */
    };
    uintptr_t address;
    size_t start, size;
    Record *record; /* strong */
    Stack *stack;   /* strong, NULL: native */
    float rate;
    uint32_t born_ticks; /* monotonic */
    bool after_end;
} Sample;

typedef struct {
    uint64_t taken, dropped, live_samples, thinned, stackless;
    double rate;
} SamplerHealth;

void sample_due_nopy(Thread *t, void *block, size_t start, size_t end, BlockKind kind);
Sample *sample_take_out_nopy(void *block, BlockKind kind);
void sample_put_back_nopy(Sample *list, void *block, BlockKind from, BlockKind kind,
                          size_t block_size);
void sample_free_nopy(void *block, BlockKind kind);
void sampler_enable_nopy(bool on, uint64_t seed);
void sampler_fix_rate(double rate_bytes);
SamplerHealth sampler_health_nopy(void);
size_t sampler_memory_bytes(void);
extern const size_t sampler_memory_bound_bytes;
void sampler_prefork_nopy(void);
void sampler_postfork_nopy(bool child);
size_t sampler_set_capacity(size_t capacity);
Sample *sampler_copy_all_nopy(size_t *count);
void sampler_release_all_nopy(Sample *copies, size_t count);
double sample_weight_bytes(const Sample *sample);

/* ------------------------------------------------------------- profile.c */

void profile_fill_pairs_py(void);
PyObject *profile_stacks_py(Py_ssize_t limit);
extern const size_t profile_memory_bound_bytes;

/* --------------------------------------------------------------- hooks.c */

/* Returns NULL when the hooks are in, else why they cannot be. */
const char *hooks_install_py(void);
bool hooks_probe_py(void);

/* ----------------------------------------------------------------- rss.c */

int64_t rss_read_bytes_nopy(void);
void rss_postfork_nopy(void);

/* ---------------------------------------------------------- attributes.c */

typedef struct {
    PyObject **string;
    const char *text;
} NamedString;

int intern_strings_py(const NamedString *strings, size_t count);
int attributes_configure_py(PyTypeObject *bounded_type, PyObject *filter);
void attributes_set_sites_py(uint64_t threshold_bytes, PyObject *describe);
bool attributes_want_sites(void);
int attributes_write_py(PyObject *span, const Record *record);

/* 1: found, 0: there is none, -1: an exception is set. */
static inline int
look_up_attribute_py(PyObject *object, PyObject *name, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(object, name, value);
#else
    return _PyObject_LookupAttr(object, name, value);
#endif
}

/* ------------------------------------------------------------- entries.c */

#define ENTRIES_MAX 4096
#define TRACE_FLAG_SAMPLED 1 /* of W3C's trace flags */

void entries_add_py(const Record *record);
void entries_clear_py(void);
void entries_reset_py(void);
int entries_switch_py(bool on);
size_t entries_memory_bytes(void);
extern const size_t entries_memory_bound_bytes;
extern PyMethodDef entries_methods[];

/* ----------------------------------------------------------- collector.c */

int collector_init_py(void);
void collector_forget_nopy(void);
void collector_reset_nopy(void);
extern PyMethodDef collector_methods[];

/* --------------------------------------------------------------- spans.c */

extern PyMethodDef span_methods[];
vectorcallfunc span_method_call(const char *kind);
bool spans_are_configured(void);

/* -------------------------------------------------------------- method.c */

/* A wrapper of one of OpenTelemetry's methods. */
typedef struct {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *wrapped;
} MethodObject;

PyObject *method_wrap_py(PyObject *module, PyObject *args);

/* The state that is one per process. Written under the GIL. */
typedef struct {
    PyInterpreterState *interpreter; /* the only one that is attributed */
    PyTypeObject *record_type;
    PyObject *variable; /* the ContextVar that carries RecordObjects */
    bool spans_wanted;  /* make records for spans */
    bool attributing;   /* and charge them; off: everything goes to (no span) */
    bool installed;
    bool finalized; /* the interpreter has ended once */
    bool lost;      /* somebody took our hooks out: no figure is right any more */
    /* Raised when threads must draw anew, since sampling was turned on. */
    _Atomic uint32_t sampler_epoch;
    struct Thread *collecting; /* runs a full collection now */
} Core;
extern Core core;

/* A tick is 1/16 second: fine enough to tell spans of one second apart, and 32 bits
 * last for eight years of a machine's life. */
#define TICKS_PER_SECOND 16

static inline uint32_t
ticks_now_nopy(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint32_t)ts.tv_sec * TICKS_PER_SECOND
           + (uint32_t)ts.tv_nsec / (1000000000 / TICKS_PER_SECOND);
}

static inline double
uniform_nopy(uint64_t *state) /* in (0, 1]; xorshift64* */
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (double)((x * 0x2545f4914f6cdd1du) >> 11) * 0x1p-53 + 0x1p-54;
}

static inline uint32_t
seconds_now_nopy(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint32_t)ts.tv_sec;
}

#if PY_VERSION_HEX >= 0x030D0000
#define STATE_BY_CALL() PyThreadState_GetUnchecked()
#else
#define STATE_BY_CALL() _PyThreadState_UncheckedGet()
#endif

/* state.c. Written under the GIL at start and at the end. */
extern PyThreadState **state_slot;
int state_init_py(void);
void state_forget_nopy(void);

#if PY_VERSION_HEX >= 0x030C0000
extern PyInterpreterState **newest_interpreter_slot;
#endif

/* The thread state that holds the GIL, for callers that do hold it. */
static inline PyThreadState *
state_current_nopy(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    /* The place is of the main interpreter's GIL. A thread that holds another's
     * would read a state that may be gone, so ask as soon as there is another. */
    if (UNLIKELY(*(PyInterpreterState *volatile *)newest_interpreter_slot
                 != core.interpreter)) {
        return STATE_BY_CALL();
    }
#endif
    return *(PyThreadState *volatile *)state_slot;
}

/* pycore_context.h of 3.10 to 3.13, so far as we read it; context_init_py
 * checks it against the real thing. */
typedef struct {
    PyObject_HEAD PyObject *previous;
    void *vars;
} ContextLayout;

/*
 * See whether this thread still runs what it ran at the last look, and charge
 * another record if not. Every call of OBJ and MEM does this before it goes
 * down. All three parts are needed: the identity changes when
 * PyGILState_Ensure makes a new thread state, the version at a switch of
 * contexts (also by greenlet), the variables at ContextVar.set.
 */
static inline Thread *
thread_sync_nopy(void)
{
    Thread *t = &this_thread;
    PyThreadState *state = state_current_nopy();
    if (UNLIKELY(state == NULL)) {
        return t; /* finalisation */
    }
    ContextLayout *context = (ContextLayout *)state->context;
    void *vars = context == NULL ? NULL : context->vars;
    if (LIKELY(state->id == t->seen_id && state->context_ver == t->seen_version
               && vars == t->seen_vars)) {
        return t;
    }
    return thread_sync_slow_nopy(t, state);
}

#endif
