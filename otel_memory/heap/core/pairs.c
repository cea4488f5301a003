/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows: one for each (sort, entry name, span name, kind) there was.
 *
 * All of it is protected by the GIL. Rows come from libc's malloc and names are
 * compared without the interpreter, for a record may be summed into its row
 * anywhere. The table is bounded: what comes when it is full goes to (other);
 * the metrics layer retires rows that never mattered, so that a scanner's URLs
 * do not fill it.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024
#define PAIRS_MAX 4096

static const char *const sort_words[SORT_COUNT]
    = {"span", "no-span", "telemetry", "import", "after-end", "gc", "other"};
static const char *const special_names[SORT_COUNT]
    = {"", "(no span)", "(telemetry)", "(import)", "", "(gc)", "(other)"};

static Pair *buckets[BUCKETS];
static size_t pair_count;
static PyObject *sort_strings[SORT_COUNT], *special_strings[SORT_COUNT];

PyObject *
sort_name(Sort sort)
{
    return sort_strings[sort];
}

size_t
pairs_count(void)
{
    return pair_count;
}

size_t
pairs_memory_bytes(void)
{
    return sizeof(buckets) + pair_count * sizeof(Pair);
}

/* Rows that are no span have room of their own. With the copy that a reading makes. */
const size_t pairs_memory_bound_bytes
    = sizeof(buckets) + (size_t)2 * (PAIRS_MAX + SORT_COUNT) * sizeof(Pair);

/* Exact str only; their hash is cached by record_new_py, so this neither
 * allocates nor raises. */
static bool
same_text_nopy(PyObject *a, PyObject *b)
{
    if (a == b) {
        return true;
    }
    return PyUnicode_GET_LENGTH(a) == PyUnicode_GET_LENGTH(b)
           && PyUnicode_KIND(a) == PyUnicode_KIND(b)
           && memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b),
                     (size_t)PyUnicode_GET_LENGTH(a) * PyUnicode_KIND(a))
                  == 0;
}

static Py_hash_t
key_hash_py(Sort sort, PyObject *name, PyObject *entry, int kind)
{
    uint64_t hash = (uint64_t)PyObject_Hash(name) * 31;
    hash ^= (uint64_t)PyObject_Hash(entry) * 1000003u;
    hash ^= (uint64_t)sort << 8 ^ (uint64_t)kind << 16;
    hash ^= hash >> 32;
    return (Py_hash_t)hash;
}

static Pair *
find_py(Py_hash_t hash, Sort sort, PyObject *name, PyObject *entry, int kind)
{
    for (Pair *pair = buckets[(size_t)hash % BUCKETS]; pair != NULL;
         pair = pair->next_in_bucket) {
        if (pair->hash == hash && pair->sort == sort && pair->kind == kind
            && same_text_nopy(pair->name, name) && same_text_nopy(pair->entry, entry)) {
            return pair;
        }
    }
    return NULL;
}

Pair *
pairs_find_py(Sort sort, PyObject *name, PyObject *entry, int kind)
{
    return find_py(key_hash_py(sort, name, entry, kind), sort, name, entry, kind);
}

/* NULL only when memory is short. */
Pair *
pair_get_py(Sort sort, PyObject *name, PyObject *entry, int kind)
{
    Py_hash_t hash = key_hash_py(sort, name, entry, kind);
    Pair *pair = find_py(hash, sort, name, entry, kind);
    if (pair != NULL) {
        return pair;
    }
    if (pair_count >= PAIRS_MAX && (sort == SORT_SPAN || sort == SORT_AFTER_END)) {
        return pair_other_py();
    }
    pair = calloc(1, sizeof(*pair));
    if (pair == NULL) {
        return NULL;
    }
    pair->name = Py_NewRef(name);
    pair->entry = Py_NewRef(entry);
    pair->hash = hash;
    pair->sort = (uint8_t)sort;
    pair->kind = (uint8_t)kind;
    pair->next_in_bucket = buckets[(size_t)hash % BUCKETS];
    buckets[(size_t)hash % BUCKETS] = pair;
    pair_count++;
    return pair;
}

static Pair *
pair_special_py(Sort sort)
{
    return pair_get_py(sort, special_strings[sort], special_strings[sort], 0);
}

Pair *
pair_other_py(void)
{
    return pair_special_py(SORT_OTHER);
}

Pair *
pair_of_record_py(Record *record, bool after_end, bool import_)
{
    if (import_) {
        return pair_special_py(SORT_IMPORT);
    }
    if (record->sort != SORT_SPAN) {
        return pair_special_py(record->sort);
    }
    PyObject *entry = record->entry != NULL ? record->entry->name : record->name;
    return pair_get_py(after_end ? SORT_AFTER_END : SORT_SPAN, record->name, entry,
                       record->kind);
}

static void
turn_minute_nopy(Pair *pair, uint32_t minute)
{
    if (pair->minute != minute) {
        pair->peak[1] = pair->minute + 1 == minute ? pair->peak[0] : 0;
        pair->peak[0] = 0;
        pair->minute = minute;
    }
}

/* Note the count as it was when this tick began. */
static void
turn_tick_nopy(History *history, uint64_t count, uint32_t now)
{
    uint32_t before = history->last_ticks;
    history->last_ticks = now;
    if (before == 0) {
        history->first_ticks = now;
    }
    for (int level = 0; level < HISTORY_LEVELS; level++) {
        if (before != 0 && before >> 2 * level == now >> 2 * level) {
            return; /* and so it is for all longer ones */
        }
        history->count[level][1] = history->count[level][0];
        history->ticks[level][1] = history->ticks[level][0];
        history->count[level][0] = count;
        history->ticks[level][0] = now;
    }
}

/* Completed spans since a moment; between two that are known, as if they had come
 * evenly. */
int64_t
pair_completed_since(const Pair *pair, uint32_t ticks)
{
    const History *history = &pair->history;
    if (ticks < history->first_ticks) {
        return (int64_t)pair->count;
    }
    if (ticks > history->last_ticks) {
        return 0;
    }
    uint32_t low_ticks = history->first_ticks, high_ticks = history->last_ticks + 1;
    uint64_t low = 0, high = pair->count;
    for (int level = 0; level < HISTORY_LEVELS; level++) {
        for (int i = 0; i < 2; i++) {
            uint32_t at = history->ticks[level][i];
            if (at != 0 && at <= ticks && at >= low_ticks) {
                low_ticks = at;
                low = history->count[level][i];
            } else if (at > ticks && at <= high_ticks) {
                high_ticks = at;
                high = history->count[level][i];
            }
        }
    }
    double share = (double)(ticks - low_ticks) / (high_ticks - low_ticks);
    double then = (double)low + share * (double)(high - low);
    return (int64_t)((double)pair->count - then + 0.5);
}

void
pair_add_py(Pair *pair, uint64_t count, uint64_t allocated, int64_t peak)
{
    if (pair == NULL) {
        return;
    }
    if (count > 0) {
        uint32_t now = ticks_now_nopy();
        if (now != pair->history.last_ticks) {
            turn_tick_nopy(&pair->history, pair->count, now);
        }
        turn_minute_nopy(pair, now / TICKS_PER_SECOND / 60);
        if (peak > pair->peak[0]) {
            pair->peak[0] = peak;
        }
    }
    pair->count += count;
    pair->allocated += allocated;
}

void
pairs_clear_live_py(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (Pair *pair = buckets[i]; pair != NULL; pair = pair->next_in_bucket) {
            pair->live = 0;
            pair->live_samples = 0;
        }
    }
}

/* A list of (sort, name, kind, entry, count, allocated, peak, live, samples). */
PyObject *
pairs_list_py(void)
{
    /* Building the list allocates, which may run other threads' code and add
     * rows: take the rows first. They are freed by pairs_retire_py only. */
    size_t count = pair_count, used = 0;
    Pair *rows = malloc((count + 1) * sizeof(*rows));
    if (rows == NULL) {
        return PyErr_NoMemory();
    }
    uint32_t minute = seconds_now_nopy() / 60;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (Pair *pair = buckets[i]; pair != NULL; pair = pair->next_in_bucket) {
            turn_minute_nopy(pair, minute);
            rows[used] = *pair;
            Py_INCREF(pair->name);
            Py_INCREF(pair->entry);
            used++;
        }
    }
    PyObject *list = PyList_New((Py_ssize_t)used);
    for (size_t i = 0; i < used; i++) {
        Pair *row = &rows[i];
        int64_t peak = row->peak[0] > row->peak[1] ? row->peak[0] : row->peak[1];
        PyObject *item
            = list == NULL
                  ? NULL
                  : Py_BuildValue("(OOiOKKLLI)", sort_strings[row->sort], row->name,
                                  (int)row->kind, row->entry,
                                  (unsigned long long)row->count,
                                  (unsigned long long)row->allocated, (long long)peak,
                                  (long long)(row->live + 0.5), row->live_samples);
        Py_DECREF(row->name);
        Py_DECREF(row->entry);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
        }
    }
    free(rows);
    return list;
}

/* Sum a row into (other) and forget it. */
void
pairs_retire_py(Pair *pair)
{
    Pair *other = pair_other_py();
    if (other == pair) {
        return;
    }
    pair_add_py(other, pair->count, pair->allocated,
                pair->peak[0] > pair->peak[1] ? pair->peak[0] : pair->peak[1]);
    Pair **link = &buckets[(size_t)pair->hash % BUCKETS];
    while (*link != pair) {
        link = &(*link)->next_in_bucket;
    }
    *link = pair->next_in_bucket;
    pair_count--;
    PyObject *name = pair->name, *entry = pair->entry;
    free(pair);
    Py_DECREF(name);
    Py_DECREF(entry);
}

/* A forked child starts its counts anew; else every child would report its
 * parent's past as its own. */
void
pairs_reset_py(void)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (Pair *pair = buckets[i]; pair != NULL; pair = pair->next_in_bucket) {
            pair->count = pair->allocated = 0;
            pair->peak[0] = pair->peak[1] = 0;
            pair->history = (History){0};
        }
    }
}

int
pairs_init_py(void)
{
    for (int i = 0; i < SORT_COUNT; i++) {
        if (sort_strings[i] == NULL) {
            sort_strings[i] = PyUnicode_InternFromString(sort_words[i]);
            special_strings[i] = PyUnicode_InternFromString(special_names[i]);
        }
        if (sort_strings[i] == NULL || special_strings[i] == NULL
            || PyObject_Hash(special_strings[i]) == -1) {
            return -1;
        }
    }
    return 0;
}
