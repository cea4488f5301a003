/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrapped around OpenTelemetry: start_span, end, update_name, attach and
 * detach. A wrapper is a Method, an object of our own that stands in the class in
 * the function's place: wrapt's bound wrappers cost 0.3 microseconds a call and
 * come from a free list that moves 128 bytes between spans at each.
 *
 * A span's record is an attribute of the span object, so an abandoned span takes
 * it along. Nothing here takes a lock or touches an instrument, and nothing here
 * raises: what goes wrong on our side is handed to the reporter and cleared;
 * what the wrapped function raises passes through.
 */
#include "core.h"

#include <string.h>
#include <time.h>

/* Set by configure_spans, under the GIL. */
static PyObject *kinds;         /* tuple of the members of SpanKind, by value */
static PyObject *span_key;      /* of the current span in a Context */
static PyObject *suppress_key;  /* of instrumentation that is switched off */
static PyObject *otel_variable; /* OpenTelemetry's ContextVar of the Context */
static PyTypeObject *non_recording_type;
static PyObject *reporter; /* callable (where, exception); or NULL */
static RecordObject *telemetry_record;

#define WRAPPED(self) (((MethodObject *)(self))->wrapped)

static PyObject *str_charged, *str_old_value;
static PyObject *str_record, *str_name, *str_kind, *str_context, *str_span_context;

/*
 * Our own mistake, not the application's: say so and go on. But an exception that
 * is no Exception (an interrupt, an exit, a worker's time-out) only happened to
 * arrive here. It stays set, and -1 says so.
 */
static int
report_failure_py(const char *where)
{
    if (!PyErr_Occurred()) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (reporter != NULL && value != NULL) {
        PyObject *answer = PyObject_CallFunction(reporter, "sO", where, value);
        Py_XDECREF(answer);
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_Exception)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

/* The record of a span, whatever wraps the span: a new reference or NULL. Sets an
 * exception only if one arrived that is none of ours. */
static RecordObject *
record_of_span_py(PyObject *span)
{
    PyObject *record = NULL;
    if (span == NULL || span == Py_None
        || look_up_attribute_py(span, str_record, &record) < 0) {
        if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear();
        }
        return NULL;
    }
    if (record != NULL && Py_TYPE(record) != core.record_type) {
        Py_CLEAR(record);
    }
    return (RecordObject *)record;
}

/*
 * Whose record is charged while this span is current: its own, or that of the
 * span whose context it carries (what a disabled tracer hands out).
 */
static RecordObject *
charged_by_span_py(PyObject *span)
{
    RecordObject *record = record_of_span_py(span);
    PyObject *charged = NULL;
    if (record != NULL || span == NULL || span == Py_None || PyErr_Occurred()) {
        return record;
    }
    if (look_up_attribute_py(span, str_charged, &charged) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Exception)) {
            PyErr_Clear();
        }
        return NULL;
    }
    if (charged != NULL && Py_TYPE(charged) != core.record_type) {
        Py_CLEAR(charged);
    }
    return (RecordObject *)charged;
}

/* A borrowed value of a Context (a dict), or NULL. */
static PyObject *
context_value_py(PyObject *context, PyObject *key)
{
    if (context == NULL || !PyDict_Check(context)) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(context, key);
    if (value == NULL) {
        PyErr_Clear();
    }
    return value;
}

/* The arguments of a method's call, as vectorcall has them: the instance first. */
typedef struct {
    PyObject *const *values;
    Py_ssize_t count; /* positional ones, the instance included */
    PyObject *names;  /* tuple of the others' names, or NULL */
} Call;

static Call
call_of(PyObject *const *args, size_t nargsf, PyObject *names)
{
    return (Call){args, PyVectorcall_NARGS(nargsf), names};
}

static PyObject *
instance_of(Call call)
{
    return call.count > 0 ? call.values[0] : NULL;
}

/* Borrowed, or NULL. `position` does not count the instance. */
static PyObject *
argument(Call call, Py_ssize_t position, PyObject *name)
{
    if (position + 1 < call.count) {
        return call.values[position + 1];
    }
    for (Py_ssize_t i = 0; call.names != NULL && i < PyTuple_GET_SIZE(call.names);
         i++) {
        PyObject *given = PyTuple_GET_ITEM(call.names, i);
        if (given == name || PyUnicode_Compare(given, name) == 0) {
            return call.values[call.count + i];
        }
    }
    return NULL;
}

static int
kind_index(PyObject *kind)
{
    for (Py_ssize_t i = 0; kind != NULL && kinds != NULL && i < PyTuple_GET_SIZE(kinds);
         i++) {
        if (PyTuple_GET_ITEM(kinds, i) == kind) {
            return (int)i;
        }
    }
    return 0;
}

static PyObject *
exact_str_py(PyObject *name)
{
    if (name != NULL && PyUnicode_CheckExact(name)) {
        return Py_NewRef(name);
    }
    return name == NULL ? PyUnicode_FromString("(unnamed)") : PyObject_Str(name);
}

/* -------------------------------------------------------------- start_span */

/* Whether the tracer gave us a span of its own: a disabled one answers with its
 * parent's context. */
static bool
is_new_span_py(PyObject *span, PyObject *parent)
{
    if (Py_TYPE(span) != non_recording_type) {
        return true;
    }
    /* Attributes of the instance, no method: those would run Python code. */
    PyObject *own = NULL, *of_parent = NULL;
    bool is_new = false;
    if (look_up_attribute_py(span, str_span_context, &own) > 0 && PyTuple_Check(own)
        && PyTuple_GET_SIZE(own) >= 2) { /* trace id, span id, ... */
        is_new = PyObject_IsTrue(PyTuple_GET_ITEM(own, 1)) == 1;
    }
    if (is_new && parent != NULL && parent != Py_None
        && look_up_attribute_py(parent, str_span_context, &of_parent) > 0) {
        is_new = of_parent != own;
    }
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
    }
    Py_XDECREF(own);
    Py_XDECREF(of_parent);
    return is_new;
}

static int
trace_id_bytes_py(PyObject *number, uint8_t *bytes)
{
#if PY_VERSION_HEX >= 0x030D0000
    return _PyLong_AsByteArray((PyLongObject *)number, bytes, 16, 0, 0, 1);
#else
    return _PyLong_AsByteArray((PyLongObject *)number, bytes, 16, 0, 0);
#endif
}

/* Remember which span of which trace this is, if a backend will have it. */
static int
note_ids_py(PyObject *span, Record *record)
{
    PyObject *ids = NULL; /* trace id, span id, remote, flags, ... */
    if (Py_TYPE(span) == non_recording_type
        || look_up_attribute_py(span, str_span_context, &ids) <= 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (PyTuple_Check(ids) && PyTuple_GET_SIZE(ids) >= 4
        && PyLong_Check(PyTuple_GET_ITEM(ids, 0))
        && PyLong_Check(PyTuple_GET_ITEM(ids, 1))
        && PyLong_Check(PyTuple_GET_ITEM(ids, 3))
        && (PyLong_AsUnsignedLongMask(PyTuple_GET_ITEM(ids, 3)) & TRACE_FLAG_SAMPLED)
        && trace_id_bytes_py(PyTuple_GET_ITEM(ids, 0), record->trace_id) == 0) {
        record->span_id = PyLong_AsUnsignedLongLongMask(PyTuple_GET_ITEM(ids, 1));
    }
    Py_DECREF(ids);
    return PyErr_Occurred() ? -1 : 0;
}

static int
begin_span_py(PyObject *span, Call call)
{
    PyObject *context = argument(call, 1, str_context);
    PyObject *current = NULL;
    if (context == NULL || context == Py_None) {
        if (PyContextVar_Get(otel_variable, NULL, &current) < 0) {
            return -1;
        }
        context = current;
    }
    int result = -1;
    PyObject *parent = context_value_py(context, span_key);
    PyObject *name = NULL;
    RecordObject *parent_record = NULL, *own = NULL, *record = NULL;
    Py_XINCREF(parent);
    if (!is_new_span_py(span, parent)
        || (own = record_of_span_py(span)) != NULL) { /* a tracer on another */
        result = PyErr_Occurred() ? -1 : 0;
        goto done;
    }
    parent_record = charged_by_span_py(parent);
    if (PyErr_Occurred()) {
        goto done;
    }
    name = exact_str_py(argument(call, 0, str_name));
    if (name == NULL) {
        goto done;
    }
    record
        = record_new_py(core.record_type, name, kind_index(argument(call, 2, str_kind)),
                        parent_record == NULL ? NULL : parent_record->record);
    if (record == NULL) {
        goto done;
    }
    if (PyObject_SetAttr(span, str_record, (PyObject *)record) == 0) {
        result = note_ids_py(span, record->record);
    }
done:
    Py_XDECREF(parent);
    Py_XDECREF(current);
    Py_XDECREF(name);
    Py_XDECREF(parent_record);
    Py_XDECREF(own);
    Py_XDECREF(record);
    return result;
}

/* Where nothing was counted since `allocated`, though something must have been
 * allocated: has somebody taken our hooks out? */
static void
look_for_loss_py(int64_t allocated)
{
    if (UNLIKELY(thread_allocated(&this_thread) == allocated) && core.installed
        && !core.lost && !hooks_probe_py()) {
        core.lost = true;
        core.attributing = false;
    }
}

static PyObject *
start_span(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    /* The SDK takes 10 kB and keeps 3 kB for each span; that is not the parent's. */
    Forced before = thread_force_py(&record_telemetry);
    int64_t allocated = thread_allocated(&this_thread);
    PyObject *span = PyObject_Vectorcall(WRAPPED(self), args, nargsf, names);
    look_for_loss_py(allocated);
    if (span != NULL && core.spans_wanted
        && begin_span_py(span, call_of(args, nargsf, names)) < 0
        && report_failure_py("start_span") < 0) {
        Py_CLEAR(span);
    }
    thread_release_nopy(before);
    return span;
}

/* --------------------------------------------------------------------- end */

/*
 * The last few ended spans, held a moment longer. The application drops its span
 * right after the end, in the parent's time; the half kilobyte that this frees was
 * (telemetry)'s, and 2,000 empty children would make their parent's delta -1 MB.
 * So the last reference is ours, and goes at a later end. The GIL.
 */
#define LINGERING 4
static PyObject *lingering[LINGERING];
static unsigned lingering_next;

static void
linger_py(PyObject *span)
{
    PyObject *oldest = lingering[lingering_next];
    lingering[lingering_next] = Py_XNewRef(span);
    lingering_next = (lingering_next + 1) % LINGERING;
    Py_XDECREF(oldest); /* last: it may run any code */
}

/* Our part of Span.end: the figures, and the end's time where none was given. */
static int
end_record_py(PyObject *span, Record *record, bool needs_time,
              const struct timespec *now, PyObject **end_time)
{
    record_finish_py(record);
    entries_add_py(record);
    if (Py_TYPE(span) == non_recording_type) {
        return 0;
    }
    int64_t allocated = thread_allocated(&this_thread);
    if (needs_time) {
        *end_time
            = PyLong_FromLongLong((long long)now->tv_sec * 1000000000LL + now->tv_nsec);
        if (*end_time == NULL) {
            return -1;
        }
    }
    look_for_loss_py(allocated);
    return attributes_write_py(span, record);
}

/* Span.end, recording or not. Whatever happens to us, the span ends. */
static PyObject *
end(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *span = instance_of(call_of(args, nargsf, names));
    struct timespec now; /* before our own work, which is not the span's */
    clock_gettime(CLOCK_REALTIME, &now);
    RecordObject *record = record_of_span_py(span);
    bool is_open = record != NULL && !record->record->ended;
    if (!is_open && !PyErr_Occurred()) {
        Py_XDECREF(record);
        return PyObject_Vectorcall(WRAPPED(self), args, nargsf, names);
    }
    Forced before = thread_force_py(&record_telemetry);
    PyObject *end_time = NULL, *type, *value, *traceback;
    bool needs_time = PyVectorcall_NARGS(nargsf) == 1 && names == NULL;
    if (is_open
        && end_record_py(span, record->record, needs_time, &now, &end_time) < 0) {
        report_failure_py("end");
    }
    if (is_open) {
        took_forget_nopy(record->record);
    }
    PyErr_Fetch(&type, &value, &traceback); /* what is not ours waits for the end */
    PyObject *with_time[2] = {span, end_time};
    PyObject *result = end_time != NULL
                           ? PyObject_Vectorcall(WRAPPED(self), with_time, 2, NULL)
                           : PyObject_Vectorcall(WRAPPED(self), args, nargsf, names);
    if (type != NULL) {
        Py_CLEAR(result);
        PyErr_Restore(type, value, traceback);
    }
    Py_XDECREF(end_time);
    Py_XDECREF(record);
    linger_py(span);
    thread_release_nopy(before);
    return result;
}

/* Span.update_name, recording or not. */
static PyObject *
update_name(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *result = PyObject_Vectorcall(WRAPPED(self), args, nargsf, names);
    Call call = call_of(args, nargsf, names);
    RecordObject *record = result == NULL ? NULL : record_of_span_py(instance_of(call));
    if (record != NULL) {
        PyObject *name = exact_str_py(argument(call, 0, str_name));
        if (name != NULL) {
            record_rename_py(record->record, name);
            Py_DECREF(name);
        }
        Py_DECREF(record);
    }
    if (result != NULL && report_failure_py("update_name") < 0) {
        Py_CLEAR(result);
    }
    return result;
}

/* --------------------------------------------------------- attach, detach */

/*
 * A span without a record that carries the context of the span that was current
 * before it comes from a disabled tracer: go on charging that one. `token` is what
 * attach returned.
 */
static RecordObject *
charged_before_py(PyObject *span, PyObject *token)
{
    PyObject *context = NULL, *own = NULL, *before = NULL;
    RecordObject *record = NULL;
    if (look_up_attribute_py(token, str_old_value, &context) > 0) {
        PyObject *current = context_value_py(context, span_key);
        if (current != NULL && current != span
            && look_up_attribute_py(span, str_span_context, &own) > 0
            && look_up_attribute_py(current, str_span_context, &before) > 0
            && own == before && (record = charged_by_span_py(current)) != NULL
            && PyObject_SetAttr(span, str_charged, (PyObject *)record) < 0) {
            PyErr_Clear(); /* no attributes on such a span: looked for each time */
        }
    }
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_Exception)) {
        PyErr_Clear();
    }
    Py_XDECREF(context);
    Py_XDECREF(own);
    Py_XDECREF(before);
    return record;
}

/* Make our ContextVar say what OpenTelemetry's Context says. `token` is attach's,
 * or NULL. */
static int
follow_context_py(PyObject *context, PyObject *token)
{
    PyObject *span = context_value_py(context, span_key);
    PyObject *wanted = NULL;
    if (span != NULL) {
        Py_INCREF(span);
        wanted = (PyObject *)charged_by_span_py(span);
        if (wanted == NULL && token != NULL && !PyErr_Occurred()) {
            wanted = (PyObject *)charged_before_py(span, token);
        }
        Py_DECREF(span);
        if (wanted == NULL && PyErr_Occurred()) {
            return -1;
        }
    } else {
        /* An exporter's own thread. A user who switches instrumentation off
         * around code of his own has a span. */
        PyObject *suppressed = context_value_py(context, suppress_key);
        if (suppressed == Py_True) {
            wanted = Py_NewRef((PyObject *)telemetry_record);
        }
    }
    if (wanted == NULL) {
        wanted = Py_NewRef(Py_None);
    }
    PyObject *present = NULL;
    int result = PyContextVar_Get(core.variable, Py_None, &present);
    if (result == 0 && present != wanted) {
        PyObject *token = PyContextVar_Set(core.variable, wanted);
        result = token == NULL ? -1 : 0;
        Py_XDECREF(token);
    }
    Py_XDECREF(present);
    Py_DECREF(wanted);
    return result;
}

/* ContextVarsRuntimeContext.attach. */
static PyObject *
attach(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *token = PyObject_Vectorcall(WRAPPED(self), args, nargsf, names);
    if (token != NULL && core.attributing
        && follow_context_py(argument(call_of(args, nargsf, names), 0, str_context),
                             token)
               < 0
        && report_failure_py("attach") < 0) {
        Py_CLEAR(token);
    }
    return token;
}

/* ContextVarsRuntimeContext.detach. */
static PyObject *
detach(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *result = PyObject_Vectorcall(WRAPPED(self), args, nargsf, names);
    if (result != NULL && core.attributing) {
        PyObject *context = NULL;
        if ((PyContextVar_Get(otel_variable, NULL, &context) < 0
             || follow_context_py(context, NULL) < 0)
            && report_failure_py("detach") < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(context);
    }
    return result;
}

/* ------------------------------------------------------------------ kinds */

static const struct {
    const char *name;
    vectorcallfunc call;
} method_kinds[] = {
    {"start_span", start_span}, {"end", end},       {"update_name", update_name},
    {"attach", attach},         {"detach", detach},
};

bool
spans_are_configured(void)
{
    return kinds != NULL;
}

/* The wrapper of this name, or NULL. */
vectorcallfunc
span_method_call(const char *kind)
{
    for (size_t i = 0; i < sizeof(method_kinds) / sizeof(method_kinds[0]); i++) {
        if (strcmp(kind, method_kinds[i].name) == 0) {
            return method_kinds[i].call;
        }
    }
    return NULL;
}

/* ----------------------------------------------------------------- wiring */

PyDoc_STRVAR(configure_spans_doc,
             "configure_spans(kinds, span_key, suppress_key, otel_variable, "
             "non_recording_type, bounded_attributes_type, attribute_filter, "
             "reporter)\n--\n\nWhat the wrappers need to know of OpenTelemetry.");
static PyObject *
configure_spans(PyObject *Py_UNUSED(self), PyObject *args)
{
    PyObject *given[8];
    if (!core.installed) {
        PyErr_SetString(PyExc_RuntimeError, "the allocators are not hooked");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "O!UUOO!O!OO:configure_spans", &PyTuple_Type, &given[0],
                          &given[1], &given[2], &given[3], &PyType_Type, &given[4],
                          &PyType_Type, &given[5], &given[6], &given[7])) {
        return NULL;
    }
    static const NamedString strings[] = {
        {&str_record, "_otel_memory_record"},
        {&str_charged, "_otel_memory_charged"},
        {&str_old_value, "old_value"},
        {&str_name, "name"},
        {&str_kind, "kind"},
        {&str_context, "context"},
        {&str_span_context, "_context"},
    };
    if (intern_strings_py(strings, sizeof(strings) / sizeof(strings[0])) < 0
        || attributes_configure_py((PyTypeObject *)given[5], given[6]) < 0) {
        return NULL;
    }
    if (telemetry_record == NULL) {
        telemetry_record
            = (RecordObject *)core.record_type->tp_alloc(core.record_type, 0);
        if (telemetry_record == NULL) {
            return NULL;
        }
        telemetry_record->record = &record_telemetry;
        record_hold_nopy(&record_telemetry);
    }
    collector_forget_nopy(); /* one that ran when we were taken out is over */
    Py_XSETREF(kinds, Py_NewRef(given[0]));
    Py_XSETREF(span_key, Py_NewRef(given[1]));
    Py_XSETREF(suppress_key, Py_NewRef(given[2]));
    Py_XSETREF(otel_variable, Py_NewRef(given[3]));
    Py_XSETREF(non_recording_type, (PyTypeObject *)Py_NewRef(given[4]));
    Py_XSETREF(reporter, given[7] == Py_None ? NULL : Py_NewRef(given[7]));
    Py_RETURN_NONE;
}

PyDoc_STRVAR(
    set_top_sites_doc,
    "set_top_sites(threshold_bytes, describe)\n--\n\n"
    "Have recorded spans that took so much say where: `describe` makes a tuple "
    "of texts of [(frames, bytes)]. 0 or None: none does.");
static PyObject *
set_top_sites(PyObject *Py_UNUSED(self), PyObject *args)
{
    unsigned long long threshold_bytes;
    PyObject *describe;
    if (!PyArg_ParseTuple(args, "KO:set_top_sites", &threshold_bytes, &describe)) {
        return NULL;
    }
    attributes_set_sites_py(threshold_bytes, describe);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_spans_doc, "forget_spans()\n--\n\nLet go of the last ended spans.");
static PyObject *
forget_spans(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    collector_forget_nopy();
    entries_clear_py();
    for (int i = 0; i < LINGERING; i++) {
        linger_py(NULL);
    }
    Py_RETURN_NONE;
}

PyMethodDef span_methods[] = {
    {"forget_spans", forget_spans, METH_NOARGS, forget_spans_doc},
    {"configure_spans", configure_spans, METH_VARARGS, configure_spans_doc},
    {"set_top_sites", set_top_sites, METH_VARARGS, set_top_sites_doc},
    {NULL, NULL, 0, NULL},
};
