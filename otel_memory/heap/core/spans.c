/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wrapped around OpenTelemetry: start_span, end, update_name, attach and
 * detach. Each has the signature that wrapt calls, (wrapped, instance, args,
 * kwargs), and does for the span what plain Python did at ten times the cost.
 *
 * A span's record is an attribute of the span object, so an abandoned span takes
 * it along. Nothing here takes a lock or touches an instrument, and nothing here
 * raises: what goes wrong on our side is handed to the reporter and cleared;
 * what the wrapped function raises passes through.
 */
#include "core.h"

#include <time.h>

#define KINDS 5

/* Set by configure_spans, under the GIL. */
static PyObject *kinds;          /* tuple of the members of SpanKind, by value */
static PyObject *span_key;       /* of the current span in a Context */
static PyObject *suppress_key;   /* of instrumentation that is switched off */
static PyObject *otel_variable;  /* OpenTelemetry's ContextVar of the Context */
static PyTypeObject *non_recording_type;
static PyTypeObject *bounded_attributes_type;
static PyObject *attribute_filter; /* callable (name, kind index) -> bool; or NULL */
static PyObject *reporter;         /* callable (where, exception); or NULL */
static RecordObject *telemetry_record;

static PyObject *str_record, *str_name, *str_kind, *str_context, *str_end_time,
    *str_attributes, *str_dict, *str_maxlen, *str_immutable, *str_set_attribute,
    *str_get_span_context, *str_is_valid, *str_span_context, *str_generation,
    *str_start;
enum { FIGURE_DELTA, FIGURE_PEAK, FIGURE_ALLOCATED, FIGURE_OWN, FIGURE_RSS,
       FIGURE_EXCLUSIVE, FIGURES };
static PyObject *attribute_names[FIGURES];

static int
look_up_attribute(PyObject *object, PyObject *name, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyObject_GetOptionalAttr(object, name, value);
#else
    return _PyObject_LookupAttr(object, name, value);
#endif
}

/* Our own mistake, not the application's: say so and go on. */
static void
report_failure_py(const char *where)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL) {
        return;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (reporter != NULL && value != NULL) {
        PyObject *answer = PyObject_CallFunction(reporter, "sO", where, value);
        Py_XDECREF(answer);
    }
    PyErr_Clear();
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* The record of a span, whatever wraps the span: a new reference or NULL. */
static RecordObject *
record_of_span_py(PyObject *span)
{
    PyObject *record = NULL;
    if (span == NULL || span == Py_None
        || look_up_attribute(span, str_record, &record) < 0) {
        PyErr_Clear();
        return NULL;
    }
    if (record != NULL && Py_TYPE(record) != core.record_type) {
        Py_CLEAR(record);
    }
    return (RecordObject *)record;
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

static PyObject *
argument(PyObject *args, PyObject *kwargs, Py_ssize_t position, PyObject *name)
{
    if (PyTuple_GET_SIZE(args) > position) {
        return PyTuple_GET_ITEM(args, position);
    }
    PyObject *value
        = kwargs == NULL ? NULL : PyDict_GetItemWithError(kwargs, name);
    if (value == NULL) {
        PyErr_Clear();
    }
    return value;
}

static bool
unpack(PyObject *const *call, Py_ssize_t count, PyObject **kwargs)
{
    if (count != 4 || !PyTuple_Check(call[2])) {
        PyErr_SetString(PyExc_TypeError,
                        "expected (wrapped, instance, args tuple, kwargs)");
        return false;
    }
    *kwargs = PyDict_Check(call[3]) ? call[3] : NULL;
    return true;
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
    PyObject *own = NULL, *valid = NULL, *of_parent = NULL;
    bool is_new = false;
    if (look_up_attribute(span, str_span_context, &own) > 0
        && (valid = PyObject_GetAttr(own, str_is_valid)) != NULL
        && PyObject_IsTrue(valid) == 1) {
        is_new = true;
        if (parent != NULL && parent != Py_None) {
            of_parent = PyObject_CallMethodNoArgs(parent, str_get_span_context);
            is_new = of_parent != NULL && of_parent != own;
        }
    }
    PyErr_Clear();
    Py_XDECREF(own);
    Py_XDECREF(valid);
    Py_XDECREF(of_parent);
    return is_new;
}

static int
begin_span_py(PyObject *span, PyObject *args, PyObject *kwargs)
{
    PyObject *context = argument(args, kwargs, 1, str_context);
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
    if (!is_new_span_py(span, parent)) {
        result = 0;
        goto done;
    }
    own = record_of_span_py(span);
    if (own != NULL) { /* wrapped twice, or a tracer on top of another */
        result = 0;
        goto done;
    }
    parent_record = record_of_span_py(parent);
    name = exact_str_py(argument(args, kwargs, 0, str_name));
    if (name == NULL) {
        goto done;
    }
    record = record_new_py(core.record_type, name,
                           kind_index(argument(args, kwargs, 2, str_kind)),
                           parent_record == NULL ? NULL : parent_record->record);
    if (record == NULL) {
        goto done;
    }
    result = PyObject_SetAttr(span, str_record, (PyObject *)record);
done:
    Py_XDECREF(parent);
    Py_XDECREF(current);
    Py_XDECREF(name);
    Py_XDECREF(parent_record);
    Py_XDECREF(own);
    Py_XDECREF(record);
    return result;
}

PyDoc_STRVAR(start_span_doc, "start_span(wrapped, instance, args, kwargs)\n--\n\n"
                             "Wrapper of Tracer.start_span.");
static PyObject *
start_span(PyObject *Py_UNUSED(self), PyObject *const *call, Py_ssize_t count)
{
    PyObject *kwargs;
    if (!unpack(call, count, &kwargs)) {
        return NULL;
    }
    /* The SDK takes 10 kB and keeps 3 kB for each span; that is not the parent's. */
    Forced before = thread_force_nopy(&record_telemetry);
    PyObject *span = PyObject_Call(call[0], call[2], kwargs);
    if (span != NULL && core.attributing && begin_span_py(span, call[2], kwargs) < 0) {
        report_failure_py("start_span");
    }
    thread_release_nopy(before);
    return span;
}

/* --------------------------------------------------------------------- end */

static PyObject *
figure_py(const Record *record, int figure)
{
    switch (figure) {
    case FIGURE_DELTA:
        return PyLong_FromLongLong(record->net);
    case FIGURE_PEAK:
        return PyLong_FromLongLong(record->peak);
    case FIGURE_ALLOCATED:
        return PyLong_FromUnsignedLongLong(record->allocated);
    case FIGURE_OWN:
        return PyLong_FromUnsignedLongLong(record->own_allocated);
    case FIGURE_RSS:
        return record->rss_bytes == INT64_MIN ? Py_NewRef(Py_None)
                                              : PyLong_FromLongLong(record->rss_bytes);
    default:
        return PyBool_FromLong(record->rss_exclusive);
    }
}

/* The span's attributes as a dict that we may write to, and how many more it
 * takes. NULL: not the SDK's layout; use set_attribute. */
static PyObject *
attributes_dict_py(PyObject *span, Py_ssize_t *room)
{
    PyObject *attributes = NULL, *dict = NULL, *maxlen = NULL, *immutable = NULL;
    PyObject *result = NULL;
    if (look_up_attribute(span, str_attributes, &attributes) > 0
        && Py_TYPE(attributes) == bounded_attributes_type
        && look_up_attribute(attributes, str_immutable, &immutable) > 0
        && immutable == Py_False && look_up_attribute(attributes, str_dict, &dict) > 0
        && PyDict_CheckExact(dict)
        && look_up_attribute(attributes, str_maxlen, &maxlen) > 0) {
        *room = PY_SSIZE_T_MAX;
        if (maxlen != Py_None) {
            *room = PyLong_AsSsize_t(maxlen) - PyDict_GET_SIZE(dict);
        }
        if (!PyErr_Occurred()) {
            result = Py_NewRef(dict);
        }
    }
    PyErr_Clear();
    Py_XDECREF(attributes);
    Py_XDECREF(dict);
    Py_XDECREF(maxlen);
    Py_XDECREF(immutable);
    return result;
}

static int
wanted_py(const Record *record)
{
    if (attribute_filter == NULL) {
        return 1;
    }
    PyObject *answer
        = PyObject_CallFunction(attribute_filter, "Oi", record->name, (int)record->kind);
    int wanted = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return wanted;
}

/* At the limit of attributes a new one evicts the oldest, which is the user's:
 * then ours stay out. */
static int
write_attributes_py(PyObject *span, const Record *record)
{
    int wanted = wanted_py(record);
    if (wanted <= 0) {
        return wanted;
    }
    Py_ssize_t room = 0;
    PyObject *dict = attributes_dict_py(span, &room);
    int result = 0;
    for (int i = 0; i < FIGURES && result == 0; i++) {
        PyObject *value = figure_py(record, i);
        if (value == NULL) {
            result = -1;
        } else if (value == Py_None) {
            /* not measured: no number */
        } else if (dict == NULL) {
            PyObject *answer = PyObject_CallMethodObjArgs(span, str_set_attribute,
                                                          attribute_names[i], value, NULL);
            result = answer == NULL ? -1 : 0;
            Py_XDECREF(answer);
        } else if (room > 0 || PyDict_Contains(dict, attribute_names[i]) == 1) {
            result = PyDict_SetItem(dict, attribute_names[i], value);
            room--;
        }
        Py_XDECREF(value);
    }
    Py_XDECREF(dict);
    return result;
}

/* kwargs with an end time, taken before our own work begins. */
static PyObject *
with_end_time_py(PyObject *args, PyObject *kwargs)
{
    PyObject *given = argument(args, kwargs, 0, str_end_time);
    if (given != NULL && given != Py_None) {
        return kwargs == NULL ? PyDict_New() : Py_NewRef(kwargs);
    }
    if (PyTuple_GET_SIZE(args) > 0) { /* end(None) */
        return kwargs == NULL ? PyDict_New() : Py_NewRef(kwargs);
    }
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    PyObject *now
        = PyLong_FromLongLong((long long)ts.tv_sec * 1000000000LL + ts.tv_nsec);
    PyObject *copy = kwargs == NULL ? PyDict_New() : PyDict_Copy(kwargs);
    if (now == NULL || copy == NULL || PyDict_SetItem(copy, str_end_time, now) < 0) {
        Py_CLEAR(copy);
    }
    Py_XDECREF(now);
    return copy;
}

PyDoc_STRVAR(end_doc, "end(wrapped, instance, args, kwargs)\n--\n\n"
                      "Wrapper of Span.end, recording or not.");
static PyObject *
end(PyObject *Py_UNUSED(self), PyObject *const *call, Py_ssize_t count)
{
    PyObject *kwargs;
    if (!unpack(call, count, &kwargs)) {
        return NULL;
    }
    RecordObject *record = record_of_span_py(call[1]);
    if (record == NULL || record->record->ended) {
        Py_XDECREF(record);
        return PyObject_Call(call[0], call[2], kwargs);
    }
    Forced before = thread_force_nopy(&record_telemetry);
    PyObject *with_time = NULL;
    bool recording = Py_TYPE(call[1]) != non_recording_type;
    if (recording) {
        with_time = with_end_time_py(call[2], kwargs);
        if (with_time == NULL) {
            report_failure_py("end");
        }
    }
    record_finish_py(record->record);
    if (recording && write_attributes_py(call[1], record->record) < 0) {
        report_failure_py("end");
    }
    PyObject *result
        = PyObject_Call(call[0], call[2], with_time == NULL ? kwargs : with_time);
    Py_XDECREF(with_time);
    Py_DECREF(record);
    thread_release_nopy(before);
    return result;
}

PyDoc_STRVAR(update_name_doc, "update_name(wrapped, instance, args, kwargs)\n--\n\n"
                              "Wrapper of Span.update_name, recording or not.");
static PyObject *
update_name(PyObject *Py_UNUSED(self), PyObject *const *call, Py_ssize_t count)
{
    PyObject *kwargs;
    if (!unpack(call, count, &kwargs)) {
        return NULL;
    }
    PyObject *result = PyObject_Call(call[0], call[2], kwargs);
    RecordObject *record = result == NULL ? NULL : record_of_span_py(call[1]);
    if (record != NULL) {
        PyObject *name = exact_str_py(argument(call[2], kwargs, 0, str_name));
        if (name == NULL) {
            report_failure_py("update_name");
        } else {
            record_rename_py(record->record, name);
            Py_DECREF(name);
        }
        Py_DECREF(record);
    }
    return result;
}

/* --------------------------------------------------------- attach, detach */

/* Make our ContextVar say what OpenTelemetry's Context says. */
static int
follow_context_py(PyObject *context)
{
    PyObject *span = context_value_py(context, span_key);
    PyObject *wanted = NULL;
    if (span != NULL) {
        Py_INCREF(span);
        wanted = (PyObject *)record_of_span_py(span);
        Py_DECREF(span);
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

PyDoc_STRVAR(attach_doc, "attach(wrapped, instance, args, kwargs)\n--\n\n"
                         "Wrapper of ContextVarsRuntimeContext.attach.");
static PyObject *
attach(PyObject *Py_UNUSED(self), PyObject *const *call, Py_ssize_t count)
{
    PyObject *kwargs;
    if (!unpack(call, count, &kwargs)) {
        return NULL;
    }
    PyObject *token = PyObject_Call(call[0], call[2], kwargs);
    if (token != NULL && core.attributing
        && follow_context_py(argument(call[2], kwargs, 0, str_context)) < 0) {
        report_failure_py("attach");
    }
    return token;
}

PyDoc_STRVAR(detach_doc, "detach(wrapped, instance, args, kwargs)\n--\n\n"
                         "Wrapper of ContextVarsRuntimeContext.detach.");
static PyObject *
detach(PyObject *Py_UNUSED(self), PyObject *const *call, Py_ssize_t count)
{
    PyObject *kwargs;
    if (!unpack(call, count, &kwargs)) {
        return NULL;
    }
    PyObject *result = PyObject_Call(call[0], call[2], kwargs);
    if (result != NULL && core.attributing) {
        PyObject *context = NULL;
        if (PyContextVar_Get(otel_variable, NULL, &context) < 0
            || follow_context_py(context) < 0) {
            report_failure_py("detach");
        }
        Py_XDECREF(context);
    }
    return result;
}

/* --------------------------------------------------------------- collector */

/* The collector does not run inside itself, so one place is enough. The GIL. */
static Forced before_collection;
static Thread *collecting;

PyDoc_STRVAR(gc_callback_doc,
             "gc_callback(phase, info)\n--\n\n"
             "For gc.callbacks: what a full collection frees is other spans' garbage "
             "and goes to (gc).\nYoung collections are charged as they come: their "
             "garbage is mostly the running span's.");
static PyObject *
gc_callback(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t count)
{
    if (count == 2 && PyDict_Check(args[1])) {
        PyObject *generation = PyDict_GetItemWithError(args[1], str_generation);
        bool full = generation != NULL && PyLong_Check(generation)
                    && PyLong_AsLong(generation) == 2;
        if (full && PyUnicode_Check(args[0])) {
            bool starts = PyUnicode_Compare(args[0], str_start) == 0;
            if (starts && collecting == NULL) {
                before_collection = thread_force_nopy(&record_gc);
                collecting = &this_thread;
            } else if (!starts && collecting == &this_thread) {
                collecting = NULL;
                thread_release_nopy(before_collection);
            }
        }
        PyErr_Clear();
    }
    Py_RETURN_NONE;
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
    if (!PyArg_ParseTuple(args, "O!UUOO!O!OO:configure_spans", &PyTuple_Type, &given[0],
                          &given[1], &given[2], &given[3], &PyType_Type, &given[4],
                          &PyType_Type, &given[5], &given[6], &given[7])) {
        return NULL;
    }
    static const struct {
        PyObject **string;
        const char *text;
    } strings[] = {
        {&str_record, "_otel_memory_record"},
        {&str_name, "name"},
        {&str_kind, "kind"},
        {&str_context, "context"},
        {&str_end_time, "end_time"},
        {&str_attributes, "_attributes"},
        {&str_dict, "_dict"},
        {&str_maxlen, "maxlen"},
        {&str_immutable, "_immutable"},
        {&str_set_attribute, "set_attribute"},
        {&str_get_span_context, "get_span_context"},
        {&str_is_valid, "is_valid"},
        {&str_span_context, "_context"},
        {&str_generation, "generation"},
        {&str_start, "start"},
        {&attribute_names[FIGURE_DELTA], "otel_memory.heap.delta"},
        {&attribute_names[FIGURE_PEAK], "otel_memory.heap.peak"},
        {&attribute_names[FIGURE_ALLOCATED], "otel_memory.heap.allocated"},
        {&attribute_names[FIGURE_OWN], "otel_memory.heap.self.allocated"},
        {&attribute_names[FIGURE_RSS], "otel_memory.rss.delta"},
        {&attribute_names[FIGURE_EXCLUSIVE], "otel_memory.rss.exclusive"},
    };
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        if (*strings[i].string == NULL) {
            *strings[i].string = PyUnicode_InternFromString(strings[i].text);
            if (*strings[i].string == NULL) {
                return NULL;
            }
        }
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
    Py_XSETREF(kinds, Py_NewRef(given[0]));
    Py_XSETREF(span_key, Py_NewRef(given[1]));
    Py_XSETREF(suppress_key, Py_NewRef(given[2]));
    Py_XSETREF(otel_variable, Py_NewRef(given[3]));
    Py_XSETREF(non_recording_type, (PyTypeObject *)Py_NewRef(given[4]));
    Py_XSETREF(bounded_attributes_type, (PyTypeObject *)Py_NewRef(given[5]));
    Py_XSETREF(attribute_filter, given[6] == Py_None ? NULL : Py_NewRef(given[6]));
    Py_XSETREF(reporter, given[7] == Py_None ? NULL : Py_NewRef(given[7]));
    Py_RETURN_NONE;
}

#define FAST(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL
PyMethodDef span_methods[] = {
    {"start_span", FAST(start_span), start_span_doc},
    {"end", FAST(end), end_doc},
    {"update_name", FAST(update_name), update_name_doc},
    {"attach", FAST(attach), attach_doc},
    {"detach", FAST(detach), detach_doc},
    {"gc_callback", FAST(gc_callback), gc_callback_doc},
    {"configure_spans", configure_spans, METH_VARARGS, configure_spans_doc},
    {NULL, NULL, 0, NULL},
};
