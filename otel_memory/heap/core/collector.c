/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cyclic collector: how often it ran, how long, what it freed, and whose bytes
 * those were.
 *
 * The interpreter calls the callback before and after each collection. The collector
 * does not run inside itself, so one place is enough. All of it is protected by the
 * GIL. Nothing of ours allocates in here.
 */
#include "core.h"

#define GENERATIONS 3
#define FULL 2

static PyObject *str_generation, *str_start; /* NULL until the hooks are in */

/* Since the start of the process, or since its fork. */
static struct {
    uint64_t count, pause_ns;
    int64_t freed_bytes;
} sums[GENERATIONS];

/* The collection that runs now. Its end may be lost, when we are taken out in
 * between; then the next start, or collector_forget_nopy, writes over it. */
static struct {
    const Thread *thread; /* NULL: none */
    long generation;
    uint64_t started_ns;
    int64_t back_bytes; /* that the thread had given back by then */
    Forced forced;      /* before a full one */
} running;

static uint64_t
now_ns_nopy(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* What a thread has given back so far. Only differences mean something. */
static int64_t
back_bytes_nopy(const Thread *t)
{
    return thread_allocated(t) - thread_net(t);
}

void
collector_forget_nopy(void)
{
    running.thread = NULL;
    core.collecting = NULL;
}

/* A forked child. The collection that it was forked in began as its parent's. */
void
collector_reset_nopy(void)
{
    memset(sums, 0, sizeof(sums));
    running.started_ns = 0;
}

int
collector_init_py(void)
{
    static const NamedString strings[]
        = {{&str_generation, "generation"}, {&str_start, "start"}};
    return intern_strings_py(strings, sizeof(strings) / sizeof(strings[0]));
}

static void
started_py(long generation)
{
    collector_forget_nopy(); /* thread_sync_slow_nopy sees that a lost one is over */
    if (generation == FULL) {
        core.collecting = &this_thread;
        running.forced = thread_force_py(&record_gc);
    }
    running.thread = &this_thread;
    running.generation = generation;
    running.back_bytes = back_bytes_nopy(&this_thread);
    running.started_ns = now_ns_nopy();
}

static void
stopped_nopy(long generation)
{
    if (running.thread != &this_thread || running.generation != generation) {
        return; /* we came in, or came back, in the middle of it */
    }
    running.thread = NULL;
    if (running.started_ns != 0) {
        sums[generation].count++;
        sums[generation].pause_ns += now_ns_nopy() - running.started_ns;
        sums[generation].freed_bytes
            += back_bytes_nopy(&this_thread) - running.back_bytes;
    }
    if (generation == FULL) {
        core.collecting = NULL;
        thread_release_nopy(running.forced);
    }
}

PyDoc_STRVAR(gc_callback_doc,
             "gc_callback(phase, info)\n--\n\n"
             "For gc.callbacks: what a full collection frees is other spans' garbage "
             "and goes to (gc).\nYoung collections are charged as they come: their "
             "garbage is mostly the running span's.");
static PyObject *
gc_callback(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (count == 2 && PyDict_Check(args[1]) && PyUnicode_Check(args[0])
        && str_generation != NULL) {
        PyObject *number = PyDict_GetItemWithError(args[1], str_generation);
        long generation
            = number != NULL && PyLong_Check(number) ? PyLong_AsLong(number) : -1;
        if (generation >= 0 && generation < GENERATIONS) {
            if (PyUnicode_Compare(args[0], str_start) == 0) {
                started_py(generation);
            } else {
                stopped_nopy(generation);
            }
        }
        PyErr_Clear();
    }
    Py_RETURN_NONE;
}

static PyObject *
collections(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    PyObject *list = PyList_New(GENERATIONS);
    for (int i = 0; list != NULL && i < GENERATIONS; i++) {
        PyObject *item = Py_BuildValue("(iKdL)", i, (unsigned long long)sums[i].count,
                                       (double)sums[i].pause_ns / 1e9,
                                       (long long)sums[i].freed_bytes);
        if (item == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, i, item);
        }
    }
    return list;
}

PyMethodDef collector_methods[] = {
    {"gc_callback", (PyCFunction)(void (*)(void))gc_callback, METH_FASTCALL,
     gc_callback_doc},
    {"collections", collections, METH_NOARGS,
     PyDoc_STR("collections()\n--\n\n(generation, collections, seconds that they took, "
               "bytes that they gave back) of each generation.")},
    {NULL, NULL, 0, NULL},
};
