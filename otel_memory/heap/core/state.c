/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the interpreter keeps the thread state that holds the GIL.
 *
 * The public function for it costs a call, since 3.12 one with __tls_get_addr
 * inside, at every allocation and every free: a fifth of what we cost. So the
 * hooks read the place itself: up to 3.11 a variable of the runtime, since then
 * what the GIL says of its last holder, who is the present one for whoever holds
 * it. Found through internal headers, per minor version, and believed only if it
 * agrees with the public function.
 */
#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#include <Python.h>
#if PY_VERSION_HEX >= 0x030C0000
#include <internal/pycore_interp.h>
#endif
#include <internal/pycore_runtime.h>
#undef Py_BUILD_CORE

#include "core.h"

static PyThreadState *no_state;
PyThreadState **state_slot = &no_state;
#if PY_VERSION_HEX >= 0x030C0000
PyInterpreterState **newest_interpreter_slot = &core.interpreter;
#endif

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
#if PY_VERSION_HEX >= 0x030C0000
    if (_PyRuntime.interpreters.head != PyInterpreterState_Head()) {
        return -1;
    }
    newest_interpreter_slot = &_PyRuntime.interpreters.head;
#endif
    state_slot = slot;
    return 0;
}

/* The interpreter ends: its thread states go, so the hooks see none. */
void
state_forget_nopy(void)
{
    state_slot = &no_state;
}
