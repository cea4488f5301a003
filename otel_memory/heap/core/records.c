/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of a span, from its start until the last context and the last
 * sample let go of it. Protected by the GIL, but for the reference count.
 */
#include "core.h"

#include <stdlib.h>

#define PENDING_MAX 64
/* How long an entry's name may change before its children are shown under the
 * name it has. Frameworks set the route within the request's first moments. */
#define NAME_SETTLES_SECONDS 5

#define STATIC_RECORD(sort_) {.references = 1, .sort = (sort_), .rss_bytes = -1}
Record record_no_span = STATIC_RECORD(SORT_NO_SPAN);
Record record_telemetry = STATIC_RECORD(SORT_TELEMETRY);
Record record_gc = STATIC_RECORD(SORT_GC);

static Record all_records = {.previous = &all_records, .next = &all_records};
static _Atomic(Record *) graveyard; /* no references left; record_drain_py frees */
static uint64_t entries_started;
static int64_t entries_open;
static int64_t records_open;
static uint64_t completed; /* ended spans; rows may learn of them later */
static size_t record_count, object_count, pending_bytes;

int64_t
record_open_count(void)
{
    return records_open;
}

uint64_t
record_completed_count(void)
{
    return completed;
}

size_t
record_memory_bytes(void)
{
    return record_count * sizeof(Record) + pending_bytes + took_memory_bytes();
}

/* A sample holds two, its own and its entry's. So does a span object that is alive,
 * of which there may be any number. */
size_t
record_memory_bound_bytes(void)
{
    return 2 * (SAMPLES_MAX + object_count) * sizeof(Record)
           + object_count * (took_memory_bound_bytes + PENDING_MAX * sizeof(Pending));
}

void
record_object_is_gone(void)
{
    object_count--;
}

static void
pending_resize_bytes(Record *entry, uint16_t room)
{
    pending_bytes += ((size_t)room - entry->pending_room) * sizeof(Pending);
    entry->pending_room = room;
}

static void
pending_free(Record *entry)
{
    free(entry->pending);
    entry->pending = NULL;
    pending_resize_bytes(entry, 0);
}

/* May be the last reference, inside a hook: then only note it. */
void
record_release_nopy(Record *record)
{
    if (atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel) == 1) {
        record->next_dead = atomic_load(&graveyard);
        while (!atomic_compare_exchange_weak(&graveyard, &record->next_dead, record)) {
        }
    }
}

/* ------------------------------------------------- summing into the rows */

static void
flush_pending_py(Record *entry)
{
    uint16_t count = entry->pending_count;
    entry->pending_count = 0;
    for (uint16_t i = 0; i < count; i++) {
        Pending *pending = &entry->pending[i];
        pair_add_py(pair_get_py(SORT_SPAN, pending->name, entry->name, pending->kind),
                    pending->count, pending->allocated, pending->peak);
        Py_CLEAR(pending->name);
    }
}

/* Bytes of `record` that no row has yet; `count` is 1 when it just ended. */
static void
flush_record_py(Record *record, uint64_t count)
{
    uint64_t allocated = record->own_allocated - record->flushed_allocated;
    record->flushed_allocated = record->own_allocated;
    Record *entry = record->entry;
    bool name_may_change
        = entry != NULL && !entry->ended
          && seconds_now_nopy() - entry->started_seconds < NAME_SETTLES_SECONDS;
    if (!name_may_change) {
        pair_add_py(pair_of_record_py(record, false, false), count, allocated,
                    record->peak);
        return;
    }
    for (uint16_t i = 0; i < entry->pending_count; i++) {
        Pending *pending = &entry->pending[i];
        if (pending->kind == record->kind
            && (pending->name == record->name
                || PyUnicode_Compare(pending->name, record->name) == 0)) {
            pending->count += count;
            pending->allocated += allocated;
            if (record->peak > pending->peak) {
                pending->peak = record->peak;
            }
            return;
        }
    }
    if (entry->pending_count == PENDING_MAX) {
        flush_pending_py(entry);
    }
    if (entry->pending_count == entry->pending_room) {
        uint16_t room
            = entry->pending_room == 0 ? 1 : (uint16_t)(2 * entry->pending_room);
        Pending *pending = realloc(entry->pending, room * sizeof(*pending));
        if (pending == NULL) {
            pair_add_py(pair_of_record_py(record, false, false), count, allocated,
                        record->peak);
            return;
        }
        entry->pending = pending;
        pending_resize_bytes(entry, room);
    }
    entry->pending[entry->pending_count++] = (Pending){
        Py_NewRef(record->name), count, allocated, record->peak, record->kind};
}

/* What contexts that outlived the span went on to allocate. */
static void
flush_after_end_py(Record *record)
{
    uint64_t allocated = record->own_allocated - record->flushed_allocated;
    if (allocated > 0) {
        record->flushed_allocated = record->own_allocated;
        pair_add_py(pair_of_record_py(record, true, false), 0, allocated, 0);
    }
}

static void
flush_special_py(Record *record)
{
    uint64_t allocated = record->own_allocated - record->flushed_allocated;
    record->flushed_allocated = record->own_allocated;
    pair_add_py(pair_of_record_py(record, false, false), 0, allocated, 0);
}

/* Bring all rows up to date, open spans included. Freeing a name runs nobody's
 * code, so the list of records stays as it is meanwhile. */
void
record_flush_all_py(void)
{
    thread_fold_everything_nopy();
    record_drain_py();
    uint32_t now = seconds_now_nopy();
    for (Record *record = all_records.next; record != &all_records;
         record = record->next) {
        if (record->ended) {
            flush_after_end_py(record);
            continue;
        }
        if (now - record->started_seconds < NAME_SETTLES_SECONDS) {
            continue;
        }
        if (record->own_allocated != record->flushed_allocated) {
            flush_record_py(record, 0);
        }
        flush_pending_py(record);
    }
    flush_special_py(&record_no_span);
    flush_special_py(&record_telemetry);
    flush_special_py(&record_gc);
}

/* ------------------------------------------------------- start and end */

/* Not open any more. Once. */
static void
close_py(Record *record)
{
    if (!record->closed) {
        record->closed = true;
        records_open--;
        entries_open -= record->is_entry;
    }
}

/* Its Python object is gone, so nobody can end it: samples may hold the record
 * for as long as their blocks live, but the span is not open. */
void
record_abandon_py(Record *record)
{
    if (record->sort != SORT_SPAN) {
        return;
    }
    close_py(record);
    took_forget_nopy(record);
    Record *parent = record->parent;
    record->parent = NULL;
    if (parent != NULL) {
        record_release_nopy(parent);
    }
}

/* After fork. The child counts from zero, and of the open spans only those that the
 * forking thread is in will ever end. */
void
record_reset_counters_py(void)
{
    record_flush_all_py();
    pairs_reset_py();
    completed = 0;
    for (Record *record = all_records.next; record != &all_records;
         record = record->next) {
        bool is_ours = false;
        for (Record *own = this_thread.record; own != NULL && !is_ours;
             own = own->parent) {
            is_ours = own == record;
        }
        if (!is_ours) {
            close_py(record);
        }
        if (record->ended) {
            continue;
        }
        /* What the parent did is the parent's to report. No better name will be
         * learned here, so nothing waits for one. */
        record->started_seconds = seconds_now_nopy() - NAME_SETTLES_SECONDS;
        record->net = record->peak = 0;
        record->allocated = record->own_allocated = record->flushed_allocated = 0;
        took_forget_nopy(record);
        while (record->pending_count > 0) {
            record->pending_count--;
            Py_CLEAR(record->pending[record->pending_count].name);
        }
    }
}

static void
record_free_py(Record *record)
{
    if (record->ended) {
        flush_after_end_py(record);
    } else {
        /* A span that nobody ended: its bytes count, it does not. */
        flush_record_py(record, 0);
        flush_pending_py(record);
        close_py(record);
    }
    record->previous->next = record->next;
    record->next->previous = record->previous;
    if (record->parent != NULL) {
        record_release_nopy(record->parent);
    }
    if (record->entry != NULL) {
        record_release_nopy(record->entry);
    }
    pending_free(record);
    took_forget_nopy(record);
    Py_DECREF(record->name);
    free(record);
    record_count--;
}

void
record_drain_py(void)
{
    Record *record;
    while ((record = atomic_exchange(&graveyard, NULL)) != NULL) {
        while (record != NULL) {
            Record *next = record->next_dead;
            record_free_py(record); /* may fill the graveyard again */
            record = next;
        }
    }
}

/* `name` is an exact str; `parent` may be NULL. */
RecordObject *
record_new_py(PyTypeObject *type, PyObject *name, int kind, Record *parent)
{
    if (PyObject_Hash(name) == -1) {
        return NULL;
    }
    Record *record = calloc(1, sizeof(*record));
    if (record == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    RecordObject *self = (RecordObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        free(record);
        return NULL;
    }
    self->record = record;
    record->references = 1;
    record->name = Py_NewRef(name);
    record->kind = (uint8_t)kind;
    record->sort = SORT_SPAN;
    record->started_seconds = seconds_now_nopy();
    record->is_entry = true;
    if (parent != NULL && parent->sort == SORT_SPAN) {
        record->is_entry = false;
        record->entry = parent->entry != NULL ? parent->entry : parent;
        record_hold_nopy(record->entry);
        /* An ended parent gets nothing any more; holding it would chain up the
         * tasks that start each other for ever. */
        if (!parent->ended) {
            record->parent = parent;
            record_hold_nopy(parent);
        }
    }
    int64_t others
        = entries_open - (record->entry != NULL && !record->entry->closed ? 1 : 0);
    record->rss_exclusive = others == 0;
    if (record->is_entry) {
        entries_open++;
        entries_started++;
    }
    record->entries_started = entries_started;
    record->rss_bytes = rss_read_bytes_nopy();
    records_open++;
    record_count++;
    object_count++;
    record->next = all_records.next;
    record->previous = &all_records;
    record->next->previous = record;
    all_records.next = record;
    return self;
}

void
record_finish_py(Record *record)
{
    if (record->ended) {
        return;
    }
    thread_fold_all_of_nopy(record);
    record->ended = true;
    close_py(record);
    int64_t rss_bytes = rss_read_bytes_nopy();
    record->rss_bytes = rss_bytes < 0 || record->rss_bytes < 0
                            ? INT64_MIN
                            : rss_bytes - record->rss_bytes;
    record->rss_exclusive
        = record->rss_exclusive && record->entries_started == entries_started;
    Record *parent = record->parent;
    if (parent != NULL) {
        record->parent = NULL;
        if (!parent->ended) {
            thread_fold_all_of_nopy(parent);
            if (parent->net + record->peak > parent->peak) {
                parent->peak = parent->net + record->peak;
            }
            parent->net += record->net;
            parent->allocated += record->allocated;
            if (record_is_recorded(parent)) {
                took_merge_nopy(parent, record);
            }
        }
        record_release_nopy(parent);
    }
    completed++;
    flush_record_py(record, 1);
    flush_pending_py(record);
    pending_free(record);
    record_drain_py();
    if (UNLIKELY(stacks_are_full())) {
        stack_drain_py();
    }
}

/* `name` is an exact str. */
void
record_rename_py(Record *record, PyObject *name)
{
    if (record->ended || PyObject_Hash(name) == -1) {
        PyErr_Clear();
        return;
    }
    PyObject *before = record->name;
    record->name = Py_NewRef(name);
    Py_DECREF(before);
}

int
record_init_py(void)
{
    Record *const statics[] = {&record_no_span, &record_telemetry, &record_gc};
    static const char *const names[] = {"(no span)", "(telemetry)", "(gc)"};
    for (int i = 0; i < 3; i++) {
        if (statics[i]->name == NULL) {
            statics[i]->name = PyUnicode_InternFromString(names[i]);
        }
        if (statics[i]->name == NULL || PyObject_Hash(statics[i]->name) == -1) {
            return -1;
        }
    }
    return 0;
}
