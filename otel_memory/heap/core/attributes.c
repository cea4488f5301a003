/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an ended span says of itself: our attributes on the span object. The SDK's
 * own dict is written to, for set_attribute takes a lock and cleans values that
 * need no cleaning. All of it is protected by the GIL.
 */
#include "core.h"

static PyTypeObject *bounded_attributes_type;
static PyObject *attribute_filter; /* callable (name, kind index) -> bool; or NULL */
static PyObject *describe_sites;   /* callable [(frames, bytes)] -> tuple; or NULL */
static uint64_t sites_threshold_bytes;

static PyObject *str_attributes, *str_dict, *str_maxlen, *str_immutable,
    *str_set_attribute;
enum {
    FIGURE_DELTA,
    FIGURE_PEAK,
    FIGURE_ALLOCATED,
    FIGURE_OWN,
    FIGURE_RSS,
    FIGURE_EXCLUSIVE,
    FIGURE_SITES, /* last: at the limit of attributes it is the one to miss */
    FIGURES
};
static PyObject *attribute_names[FIGURES];

int
intern_strings_py(const NamedString *strings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (*strings[i].string == NULL) {
            *strings[i].string = PyUnicode_InternFromString(strings[i].text);
            if (*strings[i].string == NULL) {
                return -1;
            }
        }
    }
    return 0;
}

int
attributes_configure_py(PyTypeObject *bounded_type, PyObject *filter)
{
    static const NamedString strings[] = {
        {&str_attributes, "_attributes"},
        {&str_dict, "_dict"},
        {&str_maxlen, "maxlen"},
        {&str_immutable, "_immutable"},
        {&str_set_attribute, "set_attribute"},
        {&attribute_names[FIGURE_DELTA], "otel_memory.heap.delta"},
        {&attribute_names[FIGURE_PEAK], "otel_memory.heap.peak"},
        {&attribute_names[FIGURE_ALLOCATED], "otel_memory.heap.allocated"},
        {&attribute_names[FIGURE_OWN], "otel_memory.heap.self.allocated"},
        {&attribute_names[FIGURE_RSS], "otel_memory.rss.delta"},
        {&attribute_names[FIGURE_EXCLUSIVE], "otel_memory.rss.exclusive"},
        {&attribute_names[FIGURE_SITES], "otel_memory.heap.top_sites"},
    };
    if (intern_strings_py(strings, sizeof(strings) / sizeof(strings[0])) < 0) {
        return -1;
    }
    Py_XSETREF(bounded_attributes_type, (PyTypeObject *)Py_NewRef(bounded_type));
    Py_XSETREF(attribute_filter, filter == Py_None ? NULL : Py_NewRef(filter));
    return 0;
}

/* Spans that took so much say which lines took most; 0: none does. */
void
attributes_set_sites_py(uint64_t threshold_bytes, PyObject *describe)
{
    sites_threshold_bytes = threshold_bytes;
    Py_XSETREF(describe_sites, describe == Py_None ? NULL : Py_NewRef(describe));
}

bool
attributes_want_sites(void)
{
    return sites_threshold_bytes > 0 && describe_sites != NULL;
}

/* What took most, as a tuple of texts; None where nothing is to be said. */
static PyObject *
sites_py(const Record *record)
{
    if (!attributes_want_sites() || record->allocated < sites_threshold_bytes
        || record->took == NULL) {
        Py_RETURN_NONE;
    }
    PyObject *describe = Py_NewRef(describe_sites); /* may be exchanged meanwhile */
    PyObject *list = took_list_py(record);
    PyObject *sites = list == NULL ? NULL : PyObject_CallOneArg(describe, list);
    Py_XDECREF(list);
    Py_DECREF(describe);
    if (sites != NULL && (!PyTuple_CheckExact(sites) || PyTuple_GET_SIZE(sites) == 0)) {
        Py_SETREF(sites, Py_NewRef(Py_None));
    }
    return sites;
}

static PyObject *
figure_py(const Record *record, int figure)
{
    if (core.lost && figure != FIGURE_RSS && figure != FIGURE_EXCLUSIVE) {
        return Py_NewRef(Py_None);
    }
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
    case FIGURE_SITES:
        return sites_py(record);
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
    if (look_up_attribute_py(span, str_attributes, &attributes) > 0
        && Py_TYPE(attributes) == bounded_attributes_type
        && look_up_attribute_py(attributes, str_immutable, &immutable) > 0
        && immutable == Py_False
        && look_up_attribute_py(attributes, str_dict, &dict) > 0
        && PyDict_CheckExact(dict)
        && look_up_attribute_py(attributes, str_maxlen, &maxlen) > 0) {
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
    PyObject *answer = PyObject_CallFunction(attribute_filter, "Oi", record->name,
                                             (int)record->kind);
    int wanted = answer == NULL ? -1 : PyObject_IsTrue(answer);
    Py_XDECREF(answer);
    return wanted;
}

/* At the limit of attributes a new one evicts the oldest, which is the user's:
 * then ours stay out. */
int
attributes_write_py(PyObject *span, const Record *record)
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
            PyObject *answer = PyObject_CallMethodObjArgs(
                span, str_set_attribute, attribute_names[i], value, NULL);
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
