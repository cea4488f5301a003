/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of threads, and which record each of them charges.
 *
 * A hook adds to its own thread's counters and to nothing else, so RAW needs
 * no GIL and no lock. What was added since the last switch belongs to the
 * thread's record and is folded in under the GIL: at the next switch, when the
 * record is read, and after the thread is gone.
 */
#include "core.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

__thread Thread this_thread;
Core core;

/* Protects the list's links and the totals of the gone. Held for a few
 * instructions; a thread that exits waits for it, so that no Thread of the list
 * vanishes while it is read. */
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static Thread *threads;                  /* threads_lock */
static int64_t gone_net, gone_allocated; /* of exited threads; threads_lock */
static pthread_key_t exit_key;

/* What an exited thread had not folded in yet. It had no GIL to do so. */
typedef struct Residue {
    struct Residue *next;
    Record *record; /* strong */
    int64_t net, peak, allocated;
} Residue;
static _Atomic(Residue *) residues;

static void
fold_into_nopy(Record *record, int64_t net, int64_t peak, int64_t allocated)
{
    if (record->net + peak > record->peak) {
        record->peak = record->net + peak;
    }
    record->net += net;
    record->allocated += (uint64_t)allocated;
    record->own_allocated += (uint64_t)allocated;
}

/* Under the GIL. `record->net - base_net` does not change by this, so the
 * owner's `peak` stays valid and need not be touched by another thread. */
static void
thread_fold_nopy(Thread *t)
{
    if (t->away) {
        return;
    }
    int64_t net = thread_net(t), allocated = thread_allocated(t), peak = t->peak;
    fold_into_nopy(t->record, net - t->base_net, peak - t->base_net,
                   allocated - t->base_allocated);
    t->base_net = net;
    t->base_allocated = allocated;
}

static void
residues_fold_nopy(void)
{
    Residue *residue = atomic_exchange(&residues, NULL);
    while (residue != NULL) {
        Residue *next = residue->next;
        fold_into_nopy(residue->record, residue->net, residue->peak,
                       residue->allocated);
        atomic_fetch_sub(&residue->record->threads, 1);
        record_release_nopy(residue->record);
        free(residue);
        residue = next;
    }
}

static void
thread_switch_nopy(Thread *t, Record *record)
{
    thread_fold_nopy(t);
    t->peak -= t->room;
    t->room = 0;
    Record *before = t->record;
    record_hold_nopy(record);
    atomic_fetch_add_explicit(&record->threads, 1, memory_order_relaxed);
    t->record = record;
    atomic_fetch_sub_explicit(&before->threads, 1, memory_order_relaxed);
    record_release_nopy(before);
}

/* This thread runs another interpreter now, perhaps with a GIL of its own:
 * count on, but touch no record. */
static void
thread_leave_interpreter_nopy(Thread *t)
{
    t->away = true;
    t->away_net = thread_net(t);
    t->away_allocated = thread_allocated(t);
    t->away_room = t->room;
    thread_draw_soon(t); /* which then says: never */
}

static void
thread_return_to_interpreter_nopy(Thread *t)
{
    int64_t net = thread_net(t);
    t->base_net += net - t->away_net;
    t->base_allocated += thread_allocated(t) - t->away_allocated;
    t->peak = net + t->away_room;
    t->room = t->away_room;
    t->away = false;
    thread_draw_soon(t);
}

Thread *
thread_sync_slow_nopy(Thread *t, PyThreadState *state)
{
    if (!t->registered) {
        thread_register_nopy(t);
    }
    if (UNLIKELY(state->interp != core.interpreter)) {
        if (!t->away) {
            thread_leave_interpreter_nopy(t);
        }
        t->seen_id = 0; /* look again each time */
        return t;
    }
    if (UNLIKELY(t->away)) {
        thread_return_to_interpreter_nopy(t);
    }
    if (UNLIKELY(t->sampler_epoch
                 != atomic_load_explicit(&core.sampler_epoch, memory_order_relaxed))) {
        thread_draw_soon(t);
    }
    t->seen_id = state->id;
    t->seen_version = state->context_ver;
    t->seen_vars = context_vars_nopy(state);
    if (UNLIKELY(atomic_load_explicit(&residues, memory_order_relaxed) != NULL)) {
        residues_fold_nopy(); /* threads come and go where no span is read */
    }
    if (UNLIKELY(t->forced == &record_gc && core.collecting != t)) {
        t->forced = NULL; /* a collection whose end we did not see */
    }
    Record *record = &record_no_span;
    if (LIKELY(core.attributing)) {
        record = t->forced != NULL && t->forced_context == (void *)state->context
                     ? t->forced
                     : context_record_nopy(state);
    }
    if (record != t->record) {
        thread_switch_nopy(t, record);
    }
    return t;
}

/* Forget what was seen, so that the next hook looks again. Under the GIL. */
void
thread_resync_nopy(void)
{
    Thread *t = &this_thread;
    PyThreadState *state = state_current_nopy();
    if (state != NULL) {
        thread_sync_slow_nopy(t, state);
    }
}

Forced
thread_force_py(Record *record)
{
    Thread *t = &this_thread;
    PyThreadState *state = state_current_nopy();
    if (state != NULL && state->context == NULL && core.variable != NULL) {
        /* Greenlets without variables would all look alike: make a context. */
        PyObject *token = PyContextVar_Set(core.variable, Py_None);
        Py_XDECREF(token);
        PyErr_Clear();
    }
    Forced before = {t->forced, t->forced_context, NULL};
    if (state != NULL) {
        before.own = (void *)state->context;
        t->forced = record;
        t->forced_context = before.own;
        thread_sync_slow_nopy(t, state);
    }
    return before;
}

/*
 * Put back what was forced before, if it is of the same context. A greenlet
 * switch inside (an exporter on gevent's sockets) interleaves these calls; what
 * is not of our context then belongs to a greenlet that may be done already, and
 * charging a few bytes to its span beats charging all of them to (telemetry).
 */
void
thread_release_nopy(Forced before)
{
    Thread *t = &this_thread;
    if (before.record != NULL && before.context == before.own) {
        t->forced = before.record;
        t->forced_context = before.context;
    } else {
        t->forced = NULL;
        t->forced_context = NULL;
    }
    thread_resync_nopy();
}

/* ------------------------------------------------------- life of a thread */

static uint64_t
seed_nopy(const void *salt)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    uint64_t z = (uint64_t)ts.tv_nsec ^ ((uint64_t)ts.tv_sec << 32) ^ (uintptr_t)salt;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u; /* splitmix64 */
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return z == 0 ? 1 : z;
}

/* With or without the GIL. */
void
thread_register_nopy(Thread *t)
{
    if (t->record == NULL) {
        t->record = &record_no_span;
        record_hold_nopy(t->record);
        atomic_fetch_add(&t->record->threads, 1);
    }
    t->random = seed_nopy(t);
    if (t->exiting || pthread_setspecific(exit_key, t) != 0) {
        t->exiting = true; /* nobody would take it from the list again */
        return;
    }
    pthread_mutex_lock(&threads_lock);
    t->previous = NULL;
    t->next = threads;
    if (threads != NULL) {
        threads->previous = t;
    }
    threads = t;
    t->registered = true;
    pthread_mutex_unlock(&threads_lock);
    thread_draw_soon(t);
}

/* threads_lock. Takes `t` from the list; its record's share goes to residues. */
static void
thread_bury_locked(Thread *t)
{
    gone_net += thread_net(t);
    gone_allocated += thread_allocated(t);
    if (t->previous != NULL) {
        t->previous->next = t->next;
    } else {
        threads = t->next;
    }
    if (t->next != NULL) {
        t->next->previous = t->previous;
    }
    Residue *residue = malloc(sizeof(*residue)); /* NULL: the record is leaked */
    if (residue != NULL) {
        /* In another interpreter: what was before it went there. */
        int64_t net = t->away ? t->away_net : thread_net(t);
        int64_t room = t->away ? t->away_room : t->room;
        int64_t allocated = t->away ? t->away_allocated : thread_allocated(t);
        residue->record = t->record;
        residue->net = net - t->base_net;
        residue->peak = net + room - t->base_net;
        residue->allocated = allocated - t->base_allocated;
        residue->next = atomic_load(&residues);
        while (!atomic_compare_exchange_weak(&residues, &residue->next, residue)) {
        }
    }
    t->away = false;
    t->registered = false;
    t->record = NULL;
    t->seen_id = 0;
    t->next_sample = t->countdown = t->peak = t->room = 0;
    t->base_net = t->base_allocated = 0;
}

static void
thread_exit_nopy(void *argument)
{
    Thread *t = argument;
    pthread_mutex_lock(&threads_lock);
    if (t->registered) {
        thread_bury_locked(t);
    }
    t->exiting = true;
    pthread_mutex_unlock(&threads_lock);
}

static void
before_fork_nopy(void)
{
    sampler_prefork_nopy();
    pthread_mutex_lock(&threads_lock);
}

static void
after_fork_in_parent_nopy(void)
{
    pthread_mutex_unlock(&threads_lock);
    sampler_postfork_nopy(false);
}

/* Of the parent's threads only the forking one exists here. */
static void
after_fork_in_child_nopy(void)
{
    for (Thread *t = threads, *next; t != NULL; t = next) {
        next = t->next;
        if (t != &this_thread) {
            thread_bury_locked(t);
        }
    }
    pthread_mutex_init(&threads_lock, NULL);
    this_thread.random = seed_nopy(&threads);
    thread_draw_soon(&this_thread); /* an own random sequence */
    rss_postfork_nopy();
    sampler_postfork_nopy(true);
}

int
threads_init(void)
{
    static bool done;
    if (done) {
        return 0;
    }
    if (pthread_key_create(&exit_key, thread_exit_nopy) != 0
        || pthread_atfork(before_fork_nopy, after_fork_in_parent_nopy,
                          after_fork_in_child_nopy)
               != 0) {
        return -1;
    }
    done = true;
    return 0;
}

/* ---------------------------------------------------------------- readings */

/* Under the GIL. Cheap where only the calling thread charges the record. */
void
thread_fold_all_of_nopy(Record *record)
{
    if (UNLIKELY(atomic_load_explicit(&residues, memory_order_relaxed) != NULL)) {
        residues_fold_nopy();
    }
    int32_t left = atomic_load_explicit(&record->threads, memory_order_relaxed);
    Thread *own = &this_thread;
    if (own->registered && own->record == record) {
        thread_fold_nopy(own);
        /* Only the owner may do this: what this thread reached before must not
         * be taken for reached on top of what the caller adds now. */
        own->peak -= own->room;
        own->room = 0;
        left--;
    }
    if (left <= 0) {
        return;
    }
    pthread_mutex_lock(&threads_lock);
    for (Thread *t = threads; t != NULL && left > 0; t = t->next) {
        if (t != own && t->record == record) {
            thread_fold_nopy(t);
            left--;
        }
    }
    pthread_mutex_unlock(&threads_lock);
}

void
thread_fold_everything_nopy(void)
{
    residues_fold_nopy();
    pthread_mutex_lock(&threads_lock);
    for (Thread *t = threads; t != NULL; t = t->next) {
        thread_fold_nopy(t);
    }
    pthread_mutex_unlock(&threads_lock);
}

void
threads_totals_nopy(int64_t *net, int64_t *allocated)
{
    pthread_mutex_lock(&threads_lock);
    *net = gone_net;
    *allocated = gone_allocated;
    for (Thread *t = threads; t != NULL; t = t->next) {
        *net += thread_net(t);
        *allocated += thread_allocated(t);
    }
    pthread_mutex_unlock(&threads_lock);
}
