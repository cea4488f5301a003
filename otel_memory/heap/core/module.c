/* SPDX-License-Identifier: Apache-2.0 */
/* The functions and the type that Python sees. See heap/_core.pyi. */
#include "pages.h"

#include <structmember.h>

/* ------------------------------------------------------------------ Record */

static void
Record_dealloc(RecordObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    if (self->record != NULL) {
        record_abandon_py(self->record);
        if (self->record->sort == SORT_SPAN) {
            record_object_is_gone();
        }
        record_release_nopy(self->record); /* freed at the next drain */
    }
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static Record *
folded(RecordObject *self)
{
    if (!self->record->ended) {
        thread_fold_all_of_nopy(self->record);
    }
    return self->record;
}

static PyObject *
Record_name(RecordObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->record->name);
}

static PyObject *
Record_ended(RecordObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->record->ended);
}

static PyObject *
Record_allocated(RecordObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(folded(self)->allocated);
}

static PyObject *
Record_self_allocated(RecordObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(folded(self)->own_allocated);
}

static PyObject *
Record_delta(RecordObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(folded(self)->net);
}

static PyObject *
Record_peak(RecordObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(folded(self)->peak);
}

static PyObject *
Record_rss_delta(RecordObject *self, void *Py_UNUSED(closure))
{
    if (!self->record->ended || self->record->rss_bytes == INT64_MIN) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(self->record->rss_bytes);
}

static PyObject *
Record_rss_exclusive(RecordObject *self, void *Py_UNUSED(closure))
{
    if (!self->record->ended) {
        Py_RETURN_NONE;
    }
    return PyBool_FromLong(self->record->rss_exclusive);
}

static PyGetSetDef Record_getset[] = {
    {"name", (getter)Record_name, NULL, "the span's name as it is now", NULL},
    {"ended", (getter)Record_ended, NULL, "whether the span has ended", NULL},
    {"allocated_bytes", (getter)Record_allocated, NULL, "inclusive", NULL},
    {"self_allocated_bytes", (getter)Record_self_allocated, NULL, "without child spans",
     NULL},
    {"delta_bytes", (getter)Record_delta, NULL, "inclusive, signed", NULL},
    {"peak_bytes", (getter)Record_peak, NULL, "highest delta", NULL},
    {"rss_delta_bytes", (getter)Record_rss_delta, NULL,
     "of the process; None while open or where unknown", NULL},
    {"rss_exclusive", (getter)Record_rss_exclusive, NULL,
     "whether no other entry span overlapped; None while open", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot Record_slots[] = {
    {Py_tp_dealloc, Record_dealloc},
    {Py_tp_getset, Record_getset},
    {Py_tp_doc, "The memory account of one span."},
    {0, NULL},
};

static PyType_Spec Record_spec = {
    .name = "otel_memory.heap._core.Record",
    .basicsize = sizeof(RecordObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Record_slots,
};

/* --------------------------------------------------------------- functions */

PyDoc_STRVAR(install_doc,
             "install(find_and_load_code)\n--\n\n"
             "Hook the allocators, for good. Returns None, or why it cannot be.\n"
             "A second call changes nothing.");
static PyObject *
install(PyObject *module, PyObject *find_and_load_code)
{
    if (core.finalized) {
        return PyUnicode_FromString("the interpreter was ended and started again");
    }
    if (core.installed) {
        if (core.interpreter != PyInterpreterState_Get()) {
            return PyUnicode_FromString(
                "another interpreter of this process is counted");
        }
        Py_RETURN_NONE;
    }
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        return PyUnicode_FromString("sub-interpreters are not counted");
    }
    core.interpreter = PyInterpreterState_Get();
    if (core.record_type == NULL) {
        core.record_type
            = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Record_spec, NULL);
        core.variable = PyContextVar_New("otel_memory_record", NULL);
        if (core.record_type == NULL || core.variable == NULL) {
            return NULL;
        }
    }
    if (pairs_init_py() < 0 || record_init_py() < 0 || collector_init_py() < 0) {
        return NULL;
    }
    if (context_init_py(core.variable) < 0) {
        return PyUnicode_FromString(
            "this CPython keeps context variables in an unknown way");
    }
    if (state_init_py() < 0) {
        return PyUnicode_FromString("this CPython keeps its thread state elsewhere");
    }
    if (pages_init() < 0) {
        return PyUnicode_FromString(
            "no address space is left for 8 GiB of empty table (ulimit -v)");
    }
    if (threads_init() < 0) {
        return PyUnicode_FromString("no thread key is left");
    }
    stacks_init_py(find_and_load_code); /* without: samples have no stacks */
    const char *reason = hooks_install_py();
    if (reason != NULL) {
        return PyUnicode_FromString(reason);
    }
    Py_RETURN_NONE;
}

static PyObject *
set_attributing(PyObject *Py_UNUSED(self), PyObject *on)
{
    int truth = PyObject_IsTrue(on);
    if (truth < 0) {
        return NULL;
    }
    core.spans_wanted = truth;
    core.attributing = truth && !core.lost;
    thread_resync_nopy();
    Py_RETURN_NONE;
}

static PyObject *
set_sampling(PyObject *Py_UNUSED(self), PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"on", "rate_bytes", "seed", "capacity", NULL};
    int on;
    double rate_bytes = 0;
    unsigned long long seed = 0;
    Py_ssize_t capacity = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "p|$dKn:set_sampling", names, &on,
                                     &rate_bytes, &seed, &capacity)) {
        return NULL;
    }
    if (!(rate_bytes >= 0 && rate_bytes <= 1e15)) { /* NaN too */
        PyErr_SetString(PyExc_ValueError, "rate_bytes is not a number of bytes");
        return NULL;
    }
    if (capacity < 0) {
        PyErr_SetString(PyExc_ValueError, "capacity must not be negative");
        return NULL;
    }
    if (capacity > 0) {
        sampler_set_capacity((size_t)capacity);
    }
    sampler_fix_rate(rate_bytes);
    sampler_enable_nopy(on, seed);
    Py_RETURN_NONE;
}

static PyObject *
probe(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    if (stacks_are_full()) {
        stack_drain_py();
    }
    return PyBool_FromLong(core.installed && hooks_probe_py());
}

static PyObject *
mark_lost(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    core.lost = true;
    core.attributing = false;
    sampler_enable_nopy(false, 0);
    Py_RETURN_NONE;
}

static PyObject *
is_lost(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return PyBool_FromLong(core.lost);
}

static PyObject *
totals(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    int64_t net, allocated;
    threads_totals_nopy(&net, &allocated);
    return Py_BuildValue("(LL)", (long long)net, (long long)allocated);
}

static bool
is_installed(void)
{
    if (!core.installed) {
        PyErr_SetString(PyExc_RuntimeError, "the allocators are not hooked");
    }
    return core.installed;
}

static PyObject *
pairs(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    if (!is_installed()) {
        return NULL;
    }
    record_flush_all_py();
    profile_fill_pairs_py();
    record_drain_py();
    stack_drain_py();
    return pairs_list_py();
}

static PyObject *
retire_pair(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *sort, *name, *entry;
    int kind;
    if (!is_installed()
        || !PyArg_ParseTuple(args, "UUiU:retire_pair", &sort, &name, &kind, &entry)) {
        return NULL;
    }
    if (!PyUnicode_CheckExact(name) || !PyUnicode_CheckExact(entry)) {
        PyErr_SetString(PyExc_TypeError, "names must be exact str");
        return NULL;
    }
    Sort of_name = PyUnicode_Compare(sort, sort_name(SORT_SPAN)) == 0 ? SORT_SPAN
                                                                      : SORT_AFTER_END;
    Pair *pair = pairs_find_py(of_name, name, entry, kind);
    if (pair != NULL) {
        pairs_retire_py(pair);
    }
    return PyBool_FromLong(pair != NULL);
}

static PyObject *
stacks(PyObject *Py_UNUSED(self), PyObject *limit_object)
{
    Py_ssize_t limit = PyLong_AsSsize_t(limit_object);
    if (limit < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "limit must not be negative");
        }
        return NULL;
    }
    if (!is_installed()) {
        return NULL;
    }
    PyObject *list = profile_stacks_py(limit);
    record_drain_py();
    stack_drain_py();
    return list;
}

static PyObject *
health(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    SamplerHealth h = sampler_health_nopy();
    size_t memory_bytes = sampler_memory_bytes() + stacks_memory_bytes()
                          + pairs_memory_bytes() + record_memory_bytes()
                          + entries_memory_bytes();
    size_t bound_bytes = sampler_memory_bound_bytes + stacks_memory_bound_bytes
                         + pairs_memory_bound_bytes + record_memory_bound_bytes()
                         + entries_memory_bound_bytes + profile_memory_bound_bytes;
    return Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:d,s:n,s:n,s:L,s:n,s:n}", "samples",
        (unsigned long long)h.taken, "dropped", (unsigned long long)h.dropped,
        "live_samples", (unsigned long long)h.live_samples, "thinned",
        (unsigned long long)h.thinned, "stackless", (unsigned long long)h.stackless,
        "rate_bytes", h.rate, "stacks", (Py_ssize_t)stacks_count(), "pairs",
        (Py_ssize_t)pairs_count(), "open_spans", (long long)record_open_count(),
        "memory_bytes", (Py_ssize_t)memory_bytes, "memory_bound_bytes",
        (Py_ssize_t)bound_bytes);
}

/* A span of our own where there is no SDK: a child of what is current. */
static PyObject *
begin(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *name, *current = NULL;
    int kind = 0;
    if (!PyArg_ParseTuple(args, "U|i:begin", &name, &kind)) {
        return NULL;
    }
    if (!is_installed()) {
        return NULL;
    }
    if (kind < 0 || kind > 4) {
        PyErr_Format(PyExc_ValueError, "no such kind of span: %d", kind);
        return NULL;
    }
    if (!PyUnicode_CheckExact(name)) {
        PyErr_SetString(PyExc_TypeError, "name must be a str");
        return NULL;
    }
    if (PyContextVar_Get(core.variable, Py_None, &current) < 0) {
        return NULL;
    }
    Record *parent = Py_TYPE(current) == core.record_type
                         ? ((RecordObject *)current)->record
                         : NULL;
    RecordObject *record = record_new_py(core.record_type, name, kind, parent);
    Py_DECREF(current);
    return (PyObject *)record;
}

static PyObject *
finish(PyObject *Py_UNUSED(self), PyObject *record)
{
    if (Py_TYPE(record) != core.record_type) {
        PyErr_SetString(PyExc_TypeError, "a Record is needed");
        return NULL;
    }
    record_finish_py(((RecordObject *)record)->record);
    Py_RETURN_NONE;
}

static PyObject *
completed(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLongLong(record_completed_count());
}

static PyObject *
context_variable(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    return Py_NewRef(core.variable == NULL ? Py_None : core.variable);
}

static PyObject *
after_fork_in_child(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    if (core.installed) {
        record_reset_counters_py();
        entries_reset_py();
        collector_reset_nopy();
    }
    Py_RETURN_NONE;
}

static PyObject *
finalize(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    core.spans_wanted = core.attributing = false;
    core.finalized = true;
    state_forget_nopy();
    entries_switch_py(false);
    sampler_enable_nopy(false, 0);
    Py_RETURN_NONE;
}

static PyObject *
rss_bytes(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    int64_t rss = rss_read_bytes_nopy();
    if (rss < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(rss);
}

#define KEYWORDS(function)                                                             \
    (PyCFunction)(void (*)(void)) function, METH_VARARGS | METH_KEYWORDS
static PyMethodDef methods[] = {
    {"install", install, METH_O, install_doc},
    {"set_attributing", set_attributing, METH_O,
     PyDoc_STR("set_attributing(on)\n--\n\nCharge spans, or only (no span).")},
    {"set_sampling", KEYWORDS(set_sampling),
     PyDoc_STR("set_sampling(on, *, rate_bytes=0, seed=0, capacity=0)\n--\n\n"
               "Turn the sampler on or off; the rest is for tests: a fixed R, a seed "
               "for this thread, a smaller table.")},
    {"probe", probe, METH_NOARGS,
     PyDoc_STR("probe()\n--\n\nWhether allocations are still counted.")},
    {"mark_lost", mark_lost, METH_NOARGS,
     PyDoc_STR("mark_lost()\n--\n\nNo figure is right any more.")},
    {"is_lost", is_lost, METH_NOARGS,
     PyDoc_STR("is_lost()\n--\n\nWhether somebody took our hooks out.")},
    {"totals", totals, METH_NOARGS,
     PyDoc_STR("totals()\n--\n\n(bytes in use, bytes ever allocated) since install.")},
    {"pairs", pairs, METH_NOARGS,
     PyDoc_STR("pairs()\n--\n\nAll rows: (sort, name, kind, entry, count, allocated "
               "bytes, peak bytes, live bytes, live samples).")},
    {"retire_pair", retire_pair, METH_VARARGS,
     PyDoc_STR("retire_pair(sort, name, kind, entry)\n--\n\nSum a row into (other).")},
    {"stacks", stacks, METH_O,
     PyDoc_STR("stacks(limit)\n--\n\nLive bytes by row and stack, largest first, "
               "as heap._rows.SampledStack.")},
    {"health", health, METH_NOARGS, PyDoc_STR("health()\n--\n\nOf the sampler.")},
    {"begin", begin, METH_VARARGS,
     PyDoc_STR("begin(name, kind=0)\n--\n\nA Record that is a child of the current.")},
    {"finish", finish, METH_O, PyDoc_STR("finish(record)\n--\n\nEnd a Record.")},
    {"completed", completed, METH_NOARGS,
     PyDoc_STR("completed()\n--\n\nHow many spans have ended.")},
    {"wrap", method_wrap_py, METH_VARARGS,
     PyDoc_STR("wrap(kind, function)\n--\n\nWhat stands in a class in place of "
               "`function`, which is one of start_span, end, update_name,\nattach and "
               "detach.")},
    {"context_variable", context_variable, METH_NOARGS,
     PyDoc_STR("context_variable()\n--\n\nThe ContextVar that carries Records.")},
    {"after_fork_in_child", after_fork_in_child, METH_NOARGS,
     PyDoc_STR("after_fork_in_child()\n--\n\nCount anew.")},
    {"finalize", finalize, METH_NOARGS,
     PyDoc_STR("finalize()\n--\n\nThe interpreter ends: look nothing up any more.")},
    {"rss_bytes", rss_bytes, METH_NOARGS,
     PyDoc_STR("rss_bytes()\n--\n\nThe process's resident set size, or None.")},
    {NULL, NULL, 0, NULL},
};

#if defined(OTEL_MEMORY_SANITIZED) && OTEL_MEMORY_SANITIZED
/* Proves that the sanitizer of a sanitized build looks at this file. */
static PyObject *
plant_overflow(PyObject *Py_UNUSED(self), PyObject *size_object)
{
    Py_ssize_t size = PyLong_AsSsize_t(size_object);
    if (size < 1) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    volatile char *block = malloc((size_t)size);
    block[size] = 1;
    free((void *)block);
    Py_RETURN_NONE;
}
static PyMethodDef sanitized_methods[] = {
    {"plant_overflow", plant_overflow, METH_O,
     PyDoc_STR("plant_overflow(size)\n--\n\nWrite one byte too far.")},
    {NULL, NULL, 0, NULL},
};
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static int
module_exec(PyObject *module)
{
    if (PyModule_AddFunctions(module, span_methods) < 0
        || PyModule_AddFunctions(module, entries_methods) < 0
        || PyModule_AddFunctions(module, collector_methods) < 0
        || PyModule_AddIntConstant(module, "ENTRIES_MAX", ENTRIES_MAX) < 0
        || PyModule_AddIntConstant(module, "SANITIZED", SANITIZED) < 0
        || PyModule_AddStringConstant(module, "VERSION", OTEL_MEMORY_VERSION) < 0) {
        return -1;
    }
#if SANITIZED
    if (PyModule_AddFunctions(module, sanitized_methods) < 0) {
        return -1;
    }
#endif
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    /* Importable everywhere, for sitecustomize runs everywhere; install() then
     * says that a sub-interpreter is not counted. */
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "otel_memory.heap._core",
    .m_doc = "The counting core. Use otel_memory.heap.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&module_definition);
}
