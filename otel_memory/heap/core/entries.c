/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entry spans that have ended, until somebody takes them: single peaks, each with
 * the ids that lead to its trace.
 *
 * All of it is protected by the GIL. Adding one neither allocates nor raises, for it
 * runs at the end of a span; when the ring is full the newest is dropped and counted.
 * An ended span's name is final, so a reference to the name is all that is held, and
 * the record goes its own way. There is no ring until somebody wants one.
 */
#include "core.h"

#include <stdlib.h>

typedef struct {
    PyObject *name; /* strong, exact str */
    int64_t peak;
    uint8_t trace_id[16]; /* as in Record */
    uint64_t span_id;
    uint8_t kind;
} Entry;

static Entry *ring; /* libc's malloc; NULL: nobody wants them */
static size_t oldest, used;
static uint64_t dropped;

const size_t entries_memory_bound_bytes = ENTRIES_MAX * sizeof(Entry);

size_t
entries_memory_bytes(void)
{
    return ring == NULL ? 0 : entries_memory_bound_bytes;
}

/* `record` has just ended. */
void
entries_add_py(const Record *record)
{
    if (ring == NULL || !record->is_entry || !core.attributing) {
        return;
    }
    if (used == ENTRIES_MAX) {
        dropped++;
        return;
    }
    Entry *entry = &ring[(oldest + used++) % ENTRIES_MAX];
    entry->name = Py_NewRef(record->name);
    entry->peak = record->peak;
    memcpy(entry->trace_id, record->trace_id, sizeof(entry->trace_id));
    entry->span_id = record->span_id;
    entry->kind = record->kind;
}

static Entry
remove_oldest(void)
{
    Entry entry = ring[oldest];
    oldest = (oldest + 1) % ENTRIES_MAX;
    used--;
    return entry;
}

void
entries_clear_py(void)
{
    while (used > 0) {
        Py_DECREF(remove_oldest().name); /* a str: runs nobody's code */
    }
}

/* A forked child: what the parent did is the parent's to report. */
void
entries_reset_py(void)
{
    entries_clear_py();
    dropped = 0;
}

/* -1 when memory is short; no exception is set. */
int
entries_switch_py(bool on)
{
    if (on && ring == NULL) {
        oldest = 0;
        ring = calloc(ENTRIES_MAX, sizeof(*ring));
        return ring == NULL ? -1 : 0;
    }
    if (!on) {
        entries_clear_py();
        free(ring);
        ring = NULL;
    }
    return 0;
}

/* Takes over the reference to the name. */
static PyObject *
item_py(const Entry *entry)
{
    PyObject *trace_id
        = _PyLong_FromByteArray(entry->trace_id, sizeof(entry->trace_id), 0, 0);
    if (trace_id == NULL) {
        Py_DECREF(entry->name);
        return NULL;
    }
    return Py_BuildValue("(NiLNKi)", entry->name, (int)entry->kind,
                         (long long)entry->peak, trace_id,
                         (unsigned long long)entry->span_id,
                         entry->span_id != 0 ? TRACE_FLAG_SAMPLED : 0);
}

static PyObject *
take_entries(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(0);
    /* What allocates may let other threads run, which end spans, take entries, or
     * switch the ring off: each entry is out of it before it becomes a tuple. */
    for (size_t left = used; list != NULL && left > 0 && used > 0; left--) {
        Entry entry = remove_oldest();
        PyObject *item = item_py(&entry);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *
entries_dropped(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLongLong(dropped);
}

static PyObject *
set_entries(PyObject *Py_UNUSED(self), PyObject *on)
{
    int truth = PyObject_IsTrue(on);
    if (truth < 0) {
        return NULL;
    }
    /* After the end of the interpreter nobody would let go of the names. */
    if (entries_switch_py(truth && core.installed && !core.finalized) < 0) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyMethodDef entries_methods[] = {
    {"set_entries", set_entries, METH_O,
     PyDoc_STR("set_entries(on)\n--\n\nKeep entry spans that end, or let go of them.")},
    {"take_entries", take_entries, METH_NOARGS,
     PyDoc_STR("take_entries()\n--\n\nThe kept ones, oldest first: (name, kind, peak "
               "bytes, trace id, span id, trace flags).")},
    {"entries_dropped", entries_dropped, METH_NOARGS,
     PyDoc_STR("entries_dropped()\n--\n\nHow many found no room.")},
    {NULL, NULL, 0, NULL},
};
