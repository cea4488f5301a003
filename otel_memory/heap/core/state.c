/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the interpreter keeps the thread state that holds the GIL.
 *
 * The public function for it costs a call, since 3.12 one with __tls_get_addr
 * inside, at every allocation and every free: a fifth of what we cost. So the
 * hooks read the place itself. It is found through internal headers, per minor
 * version, and believed only if it agrees with the public function.
 */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include <Python.h>
#if PY_VERSION_HEX >= 0x030C0000
#include <internal/pycore_interp.h>
#else
#include <internal/pycore_runtime.h>
#endif
#undef Py_BUILD_CORE

#include "core.h"

static PyThreadState *no_state;
PyThreadState **state_slot = &no_state;

/* 0, or -1 when the place is not where we look for it. */
int
state_init_py(void)
{
    PyThreadState **slot;
#if PY_VERSION_HEX >= 0x030C0000
    slot = (PyThreadState **)&core.interpreter->ceval.gil->last_holder;
#else
    slot = (PyThreadState **)&_PyRuntime.gilstate.tstate_current;
#endif
    if (*slot != STATE_BY_CALL()) {
        return -1;
    }
    state_slot = slot;
    return 0;
}

/* The interpreter ends: its thread states go, so the hooks see none. */
void
state_forget_nopy(void)
{
    state_slot = &no_state;
}
