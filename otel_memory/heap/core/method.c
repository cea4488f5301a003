/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type of our wrappers: a descriptor that stands in a class in a function's
 * place and is called with the instance first, without making a bound method.
 */
#include "core.h"

#include <structmember.h>

static PyTypeObject *method_type;

static int
Method_traverse(MethodObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->wrapped);
    return 0;
}

static void
Method_dealloc(MethodObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->wrapped);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyObject *
Method_get(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(owner))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self)
                                                   : PyMethod_New(self, instance);
}

/* Name, signature, documentation and the rest are the wrapped function's. */
static PyObject *
Method_getattro(PyObject *self, PyObject *name)
{
    static const char *const of_the_type[] = {"__doc__", "__module__"};
    for (int i = 0; i < 2; i++) {
        if (PyUnicode_CompareWithASCIIString(name, of_the_type[i]) == 0) {
            return PyObject_GetAttr(((MethodObject *)self)->wrapped, name);
        }
    }
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        value = PyObject_GetAttr(((MethodObject *)self)->wrapped, name);
    }
    return value;
}

static PyObject *
Method_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<otel_memory wrapper of %R>",
                                ((MethodObject *)self)->wrapped);
}

static PyMemberDef Method_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(MethodObject, vectorcall), READONLY,
     NULL},
    {"__wrapped__", T_OBJECT, offsetof(MethodObject, wrapped), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot Method_slots[] = {
    {Py_tp_dealloc, Method_dealloc},   {Py_tp_traverse, Method_traverse},
    {Py_tp_call, PyVectorcall_Call},   {Py_tp_descr_get, Method_get},
    {Py_tp_getattro, Method_getattro}, {Py_tp_members, Method_members},
    {Py_tp_repr, Method_repr},         {0, NULL},
};

static PyType_Spec Method_spec = {
    .name = "otel_memory.heap._core.Method",
    .basicsize = sizeof(MethodObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = Method_slots,
};

/* wrap(kind, function): what stands in a class in place of `function`. */
PyObject *
method_wrap_py(PyObject *module, PyObject *args)
{
    const char *kind;
    PyObject *wrapped;
    if (!PyArg_ParseTuple(args, "sO:wrap", &kind, &wrapped)) {
        return NULL;
    }
    if (method_type == NULL) {
        method_type
            = (PyTypeObject *)PyType_FromModuleAndSpec(module, &Method_spec, NULL);
        if (method_type == NULL) {
            return NULL;
        }
    }
    if (!spans_are_configured()) {
        PyErr_SetString(PyExc_RuntimeError, "configure_spans comes first");
        return NULL;
    }
    vectorcallfunc call = span_method_call(kind);
    if (call == NULL) {
        PyErr_Format(PyExc_ValueError, "no such kind of wrapper: %s", kind);
        return NULL;
    }
    MethodObject *self = (MethodObject *)method_type->tp_alloc(method_type, 0);
    if (self != NULL) {
        self->vectorcall = call;
        self->wrapped = Py_NewRef(wrapped);
    }
    return (PyObject *)self;
}
