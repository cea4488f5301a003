/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that Python did not start, for the scripts beside this directory. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

static int
join_without_gil(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = pthread_create(&thread, NULL, run, argument);
    if (!failed) {
        failed = pthread_join(thread, NULL);
    }
    Py_END_ALLOW_THREADS
    return failed;
}

/* The GIL. */
static void
call_and_print(PyObject *callable, const char *format, int number)
{
    PyObject *answer = PyObject_CallFunction(callable, format, number);
    if (answer == NULL) {
        PyErr_Print();
    }
    Py_XDECREF(answer);
}

/* ------------------------------------------------- two callbacks, one thread */

static void *
call_twice_run(void *callable)
{
    for (int i = 0; i < 2; i++) {
        PyGILState_STATE state = PyGILState_Ensure(); /* a new thread state each */
        call_and_print(callable, "i", i);
        PyGILState_Release(state);
    }
    return NULL;
}

static PyObject *
call_twice(PyObject *self, PyObject *callable)
{
    if (join_without_gil(call_twice_run, callable)) {
        return PyErr_Format(PyExc_RuntimeError, "no thread");
    }
    Py_RETURN_NONE;
}

/* ---------------------- a thread that ends between two looks at its context */

typedef struct {
    PyObject *callable;
    Py_ssize_t size;
    void *block;
} Leaving;

static void *
call_and_leave_run(void *argument)
{
    Leaving *leaving = argument;
    PyGILState_Ensure();
    call_and_print(leaving->callable, NULL, 0);
    PyEval_SaveThread(); /* and never comes back: the thread state is leaked */
    leaving->block = PyMem_RawMalloc((size_t)leaving->size);
    return NULL;
}

static PyObject *
call_and_leave(PyObject *self, PyObject *args)
{
    Leaving leaving = {NULL, 0, NULL};
    if (!PyArg_ParseTuple(args, "On", &leaving.callable, &leaving.size)) {
        return NULL;
    }
    if (join_without_gil(call_and_leave_run, &leaving)) {
        return PyErr_Format(PyExc_RuntimeError, "no thread");
    }
    return PyLong_FromVoidPtr(leaving.block);
}

/* ---------------------------------------- threads that never take the GIL */

#define HAMMERS 8
static pthread_t hammers[HAMMERS];
static int hammers_started;
static atomic_bool hammering;
static atomic_llong rounds;

static void *
hammer_run(void *argument)
{
    size_t size = (size_t)(uintptr_t)argument;
    while (atomic_load(&hammering)) {
        void *block = PyMem_RawMalloc(size);
        block = PyMem_RawRealloc(block, size * 2);
        PyMem_RawFree(block);
        atomic_fetch_add(&rounds, 1);
    }
    return NULL;
}

static PyObject *
hammer(PyObject *self, PyObject *args)
{
    int threads;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(args, "in", &threads, &size)) {
        return NULL;
    }
    atomic_store(&hammering, true);
    while (hammers_started < threads && hammers_started < HAMMERS) {
        if (pthread_create(&hammers[hammers_started], NULL, hammer_run,
                           (void *)(uintptr_t)size)) {
            return PyErr_Format(PyExc_RuntimeError, "no thread");
        }
        hammers_started++;
    }
    Py_RETURN_NONE;
}

static PyObject *
rest(PyObject *self, PyObject *none)
{
    atomic_store(&hammering, false);
    Py_BEGIN_ALLOW_THREADS
    while (hammers_started > 0) {
        pthread_join(hammers[--hammers_started], NULL);
    }
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(atomic_load(&rounds));
}

static PyMethodDef methods[] = {
    {"call_twice", call_twice, METH_O,
     "Call with 0 and 1 on one native thread, letting go of Python between."},
    {"call_and_leave", call_and_leave, METH_VARARGS,
     "Call, then allocate `size` RAW bytes without the GIL and end the thread."},
    {"hammer", hammer, METH_VARARGS,
     "Start threads that allocate and free RAW blocks without the GIL."},
    {"rest", rest, METH_NOARGS, "Stop them; how many rounds there were."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition
    = {PyModuleDef_HEAD_INIT, "native_thread", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC
PyInit_native_thread(void)
{
    return PyModule_Create(&definition);
}
