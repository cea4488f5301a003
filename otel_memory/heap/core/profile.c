/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live-heap profile: what the sampler holds, by row and by stack.
 *
 * A reading copies the samples first, for whatever Python does on the way may
 * allocate, free and so change the table.
 */
#include "core.h"

#include <stdlib.h>

/* Where live bytes are split by age; semconv.AGE_EDGES_SECONDS. */
static const double age_edges[] = {10, 60, 600, 3600};
#define AGES (sizeof(age_edges) / sizeof(age_edges[0]) + 1)

static Pair *
pair_of_sample_py(const Sample *sample)
{
    return pair_of_record_py(sample->record, sample->after_end,
                             sample->stack != NULL && sample->stack->in_import);
}

/* Set `live` and `live_samples` of all rows. */
void
profile_fill_pairs_py(void)
{
    size_t count;
    Sample *copies = sampler_copy_all_nopy(&count);
    pairs_clear_live_py();
    for (size_t i = 0; copies != NULL && i < count; i++) {
        Pair *pair = pair_of_sample_py(&copies[i]);
        if (pair != NULL) {
            pair->live += sample_weight_bytes(&copies[i]);
            pair->live_samples++;
        }
    }
    sampler_release_all_nopy(copies, copies == NULL ? 0 : count);
}

/* Samples of one row and one stack. */
typedef struct {
    PyObject *name, *entry; /* strong */
    Stack *stack;           /* held by the copies */
    double live, by_age[AGES];
    double age_sum, completed_sum; /* by live bytes */
    uint64_t span_id;              /* of the newest that is in a recorded span; or 0 */
    uint8_t trace_id[16];
    uint32_t oldest_ticks, linked_ticks;
    unsigned samples;
    uint8_t sort, kind;
} Group;

const size_t profile_memory_bound_bytes = SAMPLES_MAX * sizeof(Group);

static int
by_key(const void *a, const void *b)
{
    const Sample *x = a, *y = b;
    if (x->pair != y->pair) {
        return (uintptr_t)x->pair < (uintptr_t)y->pair ? -1 : 1;
    }
    if (x->stack != y->stack) {
        return (uintptr_t)x->stack < (uintptr_t)y->stack ? -1 : 1;
    }
    return 0;
}

static int
by_live(const void *a, const void *b)
{
    const Group *x = a, *y = b;
    return x->live > y->live ? -1 : x->live < y->live;
}

/* The row whose count tells how often such a span has completed, or NULL. */
static Pair *
counted_pair_py(Pair *pair)
{
    if (pair->sort == SORT_AFTER_END) {
        return pairs_find_py(SORT_SPAN, pair->name, pair->entry, pair->kind);
    }
    return pair->sort == SORT_SPAN ? pair : NULL;
}

static void
group_add_py(Group *group, const Sample *sample, const Pair *counted, uint32_t now)
{
    double live = sample_weight_bytes(sample);
    double age = (double)(now - sample->born_ticks) / TICKS_PER_SECOND;
    size_t bin = 0;
    while (bin + 1 < AGES && age >= age_edges[bin]) {
        bin++;
    }
    group->live += live;
    group->by_age[bin] += live;
    group->age_sum += live * age;
    if (counted != NULL) {
        group->completed_sum
            += live * (double)pair_completed_since(counted, sample->born_ticks);
    }
    group->samples++;
    if (group->samples == 1 || sample->born_ticks < group->oldest_ticks) {
        group->oldest_ticks = sample->born_ticks;
    }
    const Record *record = sample->record;
    if (record_is_recorded(record)
        && (group->span_id == 0 || sample->born_ticks >= group->linked_ticks)) {
        group->linked_ticks = sample->born_ticks;
        group->span_id = record->span_id;
        memcpy(group->trace_id, record->trace_id, sizeof(group->trace_id));
    }
}

/* Group sorted samples. `groups` has room for each of them. Returns how many. */
static size_t
group_all_py(const Sample *samples, size_t count, Group *groups, uint32_t now)
{
    size_t used = 0;
    Pair *counted = NULL;
    for (size_t i = 0; i < count; i++) {
        Pair *pair = samples[i].pair;
        if (i == 0 || pair != samples[i - 1].pair) {
            counted = counted_pair_py(pair);
        }
        if (i == 0 || by_key(&samples[i - 1], &samples[i]) != 0) {
            groups[used++] = (Group){.name = Py_NewRef(pair->name),
                                     .entry = Py_NewRef(pair->entry),
                                     .stack = samples[i].stack,
                                     .sort = pair->sort,
                                     .kind = pair->kind};
        }
        group_add_py(&groups[used - 1], &samples[i], counted, now);
    }
    return used;
}

static PyObject *
ages_py(const Group *group)
{
    PyObject *ages = PyTuple_New((Py_ssize_t)AGES);
    for (size_t i = 0; ages != NULL && i < AGES; i++) {
        PyObject *bytes = PyLong_FromLongLong((long long)(group->by_age[i] + 0.5));
        if (bytes == NULL) {
            Py_CLEAR(ages);
        } else {
            PyTuple_SET_ITEM(ages, (Py_ssize_t)i, bytes);
        }
    }
    return ages;
}

static PyObject *
item_py(const Group *group, uint32_t now)
{
    /* In order, and each only if the others were made: "N" takes them over. */
    PyObject *frames = stack_frames_py(group->stack);
    PyObject *ages = frames == NULL ? NULL : ages_py(group);
    PyObject *trace_id
        = ages == NULL
              ? NULL
              : _PyLong_FromByteArray(group->trace_id, sizeof(group->trace_id), 0, 0);
    if (trace_id == NULL) {
        Py_XDECREF(frames);
        Py_XDECREF(ages);
        return NULL;
    }
    return Py_BuildValue(
        "(OOiONLIIddNNK)", sort_name(group->sort), group->name, (int)group->kind,
        group->entry, frames, (long long)(group->live + 0.5), group->samples,
        (now - group->oldest_ticks) / TICKS_PER_SECOND, group->age_sum / group->live,
        group->completed_sum / group->live, ages, trace_id,
        (unsigned long long)group->span_id);
}

/* See heap/_rows.SampledStack for the rows of the list; largest first, at most
 * `limit` long. */
PyObject *
profile_stacks_py(Py_ssize_t limit)
{
    size_t count, known = 0, used = 0;
    Sample *copies = sampler_copy_all_nopy(&count);
    if (copies == NULL) {
        return PyErr_NoMemory();
    }
    for (size_t i = 0; i < count; i++) { /* those without a row (no memory) go last */
        Sample sample = copies[i];
        Pair *pair = pair_of_sample_py(&sample);
        copies[i] = copies[known];
        copies[known] = sample;
        copies[known].pair = pair;
        known += pair != NULL;
    }
    qsort(copies, known, sizeof(*copies), by_key);
    Group *groups = malloc((known + 1) * sizeof(*groups));
    if (groups == NULL) {
        sampler_release_all_nopy(copies, count);
        return PyErr_NoMemory();
    }
    uint32_t now = ticks_now_nopy();
    used = group_all_py(copies, known, groups, now);
    qsort(groups, used, sizeof(*groups), by_live);
    /* From here on Python allocates, and other threads may run and retire rows. */
    PyObject *list = PyList_New(0);
    for (size_t i = 0; i < used; i++) {
        if (list != NULL && i < (size_t)limit) {
            PyObject *item = item_py(&groups[i], now);
            if (item == NULL || PyList_Append(list, item) < 0) {
                Py_CLEAR(list);
            }
            Py_XDECREF(item);
        }
        Py_DECREF(groups[i].name);
        Py_DECREF(groups[i].entry);
    }
    free(groups);
    sampler_release_all_nopy(copies, count);
    return list;
}
