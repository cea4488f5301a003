/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Python stacks of samples, read inside a hook and interned.
 *
 * Frames are walked by the interpreter's own layout, compiled per minor version:
 * the public API makes frame objects (1 microsecond, and the collector may start
 * inside). Lines are resolved when somebody reads them, never in the hook.
 * stacks_check_py compares the walk with sys._getframe at start; where they
 * differ, samples have no stacks.
 */
#include "core.h"

#ifndef Py_BUILD_CORE
#define Py_BUILD_CORE 1
#endif
#if PY_VERSION_HEX >= 0x030B0000
#include <internal/pycore_frame.h>
#endif
#undef Py_BUILD_CORE
#include <frameobject.h>

#include <stdlib.h>
#include <string.h>

#define BUCKETS 2048
#define STACKS_MAX 4096
#define WALK_MAX 400 /* frames looked at in search of an import */

/* All protected by the GIL. */
static Stack *buckets[BUCKETS];
static size_t stack_count, frame_count;
static uint64_t refused; /* samples whose stack found no room */
static bool walk_is_right;
static PyCodeObject *import_code; /* importlib._bootstrap._find_and_load's */

size_t
stacks_count(void)
{
    return stack_count;
}

size_t
stacks_memory_bytes(void)
{
    return sizeof(buckets) + stack_count * sizeof(Stack) + frame_count * sizeof(Frame);
}

const size_t stacks_memory_bound_bytes
    = sizeof(buckets) + STACKS_MAX * (sizeof(Stack) + STACK_DEPTH * sizeof(Frame));

/* Time to drain: the dead are kept until somebody does. */
bool
stacks_are_full(void)
{
    return stack_count >= STACKS_MAX - STACKS_MAX / 8;
}

uint64_t
stacks_refused(void)
{
    return refused;
}

/* The thread state whose GIL this thread holds, or NULL. */
PyThreadState *
state_if_gil_held_nopy(void)
{
    PyThreadState *state = STATE_BY_CALL();
#if PY_VERSION_HEX < 0x030C0000
    /* Up to 3.11 that is the state of whoever holds the GIL. */
    if (state != NULL && PyGILState_GetThisThreadState() != state) {
        return NULL;
    }
#endif
    if (state != NULL && state->interp != core.interpreter) {
        return NULL;
    }
    return state;
}

/* Newest frame first. Returns how many there are up to `room`; `*in_import`
 * says whether an import is among the first WALK_MAX. */
static int
walk_nopy(PyThreadState *state, Frame *frames, int room, bool *in_import)
{
    int depth = 0;
    *in_import = false;
#if PY_VERSION_HEX < 0x030B0000
    PyFrameObject *frame = state->frame;
    for (int seen = 0; frame != NULL && seen < WALK_MAX;
         frame = frame->f_back, seen++) {
        PyCodeObject *code = frame->f_code;
        int instruction = frame->f_lasti * 2; /* code units of 2 bytes */
#else
#if PY_VERSION_HEX >= 0x030D0000
    _PyInterpreterFrame *frame = state->current_frame;
#else
    _PyInterpreterFrame *frame
        = state->cframe == NULL ? NULL : state->cframe->current_frame;
#endif
    for (int seen = 0; frame != NULL && seen < WALK_MAX;
         frame = frame->previous, seen++) {
#if PY_VERSION_HEX >= 0x030C0000
        if (frame->owner == FRAME_OWNED_BY_CSTACK) {
            continue;
        }
#endif
#if PY_VERSION_HEX >= 0x030D0000
        if (frame->f_executable == NULL || !PyCode_Check(frame->f_executable)) {
            continue;
        }
        PyCodeObject *code = (PyCodeObject *)frame->f_executable;
        _Py_CODEUNIT *at = frame->instr_ptr;
#else
        PyCodeObject *code = frame->f_code;
        if (code == NULL) {
            continue;
        }
        _Py_CODEUNIT *at = frame->prev_instr;
#endif
        _Py_CODEUNIT *start = (_Py_CODEUNIT *)code->co_code_adaptive;
        if (frame->owner != FRAME_OWNED_BY_GENERATOR
            && at < start + code->_co_firsttraceable) {
            continue; /* not begun */
        }
        int instruction = (int)(at - start) * (int)sizeof(_Py_CODEUNIT);
#endif
        if (Py_REFCNT(code) <= 0) {
            continue; /* a frame that is just dying, below a weakref's callback */
        }
        if (depth < room) {
            frames[depth].code = code;
            frames[depth].instruction = instruction;
            depth++;
        }
        if (code == import_code) {
            *in_import = true;
        }
        if (depth == room && *in_import) {
            break;
        }
    }
    return depth;
}

/* A strong reference, or NULL when there is no stack or no room for one. The
 * caller holds the GIL. Taking references to code objects is all it does to the
 * interpreter: an addition each, once per distinct stack. */
Stack *
stack_capture_nopy(PyThreadState *state)
{
    if (!walk_is_right) {
        return NULL;
    }
    Frame frames[STACK_DEPTH];
    bool in_import;
    int depth = walk_nopy(state, frames, STACK_DEPTH, &in_import);
    if (depth == 0) {
        return NULL;
    }
    uint64_t hash = 1469598103934665603u ^ (uint64_t)in_import; /* FNV-1a */
    for (int i = 0; i < depth; i++) {
        hash = (hash ^ (uintptr_t)frames[i].code) * 1099511628211u;
        hash = (hash ^ (uint64_t)frames[i].instruction) * 1099511628211u;
    }
    hash ^= hash >> 29;
    Stack **bucket = &buckets[hash % BUCKETS];
    for (Stack *stack = *bucket; stack != NULL; stack = stack->next_in_bucket) {
        if (stack->hash != hash || stack->depth != depth
            || stack->in_import != in_import) {
            continue;
        }
        bool equal = true;
        for (int i = 0; i < depth && equal; i++) {
            equal = stack->frames[i].code == frames[i].code
                    && stack->frames[i].instruction == frames[i].instruction;
        }
        if (equal) {
            stack_hold_nopy(stack);
            return stack;
        }
    }
    if (stack_count >= STACKS_MAX) {
        refused++;
        return NULL;
    }
    Stack *stack = malloc(sizeof(*stack) + (size_t)depth * sizeof(Frame));
    if (stack == NULL) {
        return NULL;
    }
    stack->hash = hash;
    stack->references = 1;
    stack->depth = (uint16_t)depth;
    stack->in_import = in_import;
    for (int i = 0; i < depth; i++) {
        Py_INCREF(frames[i].code);
        stack->frames[i] = frames[i];
    }
    stack->next_in_bucket = *bucket;
    *bucket = stack;
    stack_count++;
    frame_count += (size_t)depth;
    return stack;
}

/* With or without the GIL; stack_drain_py frees. */
void
stack_release_nopy(Stack *stack)
{
    if (stack != NULL) {
        atomic_fetch_sub_explicit(&stack->references, 1, memory_order_release);
    }
}

/* Free the stacks of which no sample is left. */
void
stack_drain_py(void)
{
    Stack *dead = NULL;
    for (size_t i = 0; i < BUCKETS; i++) {
        Stack **link = &buckets[i];
        while (*link != NULL) {
            Stack *stack = *link;
            if (atomic_load_explicit(&stack->references, memory_order_acquire) == 0) {
                *link = stack->next_in_bucket;
                stack->next_in_bucket = dead;
                dead = stack;
                stack_count--;
                frame_count -= stack->depth;
            } else {
                link = &stack->next_in_bucket;
            }
        }
    }
    while (dead != NULL) { /* out of the table: a decref may run any code */
        Stack *next = dead->next_in_bucket;
        for (int i = 0; i < dead->depth; i++) {
            Py_DECREF(dead->frames[i].code);
        }
        free(dead);
        dead = next;
    }
}

/* A tuple of (file, line, function), the allocating frame first. */
PyObject *
stack_frames_py(Stack *stack)
{
    Py_ssize_t depth = stack == NULL ? 0 : stack->depth;
    PyObject *frames = PyTuple_New(depth);
    for (Py_ssize_t i = 0; frames != NULL && i < depth; i++) {
        PyCodeObject *code = stack->frames[i].code;
#if PY_VERSION_HEX >= 0x030B0000
        PyObject *function = code->co_qualname;
#else
        PyObject *function = code->co_name;
#endif
        PyObject *frame = Py_BuildValue(
            "(OiO)", code->co_filename,
            PyCode_Addr2Line(code, stack->frames[i].instruction), function);
        if (frame == NULL) {
            Py_CLEAR(frames);
            break;
        }
        PyTuple_SET_ITEM(frames, i, frame);
    }
    return frames;
}

/* Compare our walk with the public frames of the caller. */
static int
stacks_check_py(void)
{
    Frame frames[STACK_DEPTH];
    bool in_import;
    PyFrameObject *frame = PyEval_GetFrame(); /* borrowed; makes frame objects */
    int depth = walk_nopy(PyThreadState_Get(), frames, STACK_DEPTH, &in_import);
    bool right = frame != NULL && depth > 0;
    Py_XINCREF(frame);
    for (int i = 0; right && i < depth && frame != NULL; i++) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        right = code == frames[i].code
                && PyCode_Addr2Line(code, frames[i].instruction)
                       == PyFrame_GetLineNumber(frame);
        Py_DECREF(code);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    right = right && (frame == NULL || depth == STACK_DEPTH);
    Py_XDECREF(frame);
    PyErr_Clear();
    walk_is_right = right;
    return right ? 0 : -1;
}

int
stacks_init_py(PyObject *find_and_load_code)
{
    if (PyCode_Check(find_and_load_code)) {
        Py_INCREF(find_and_load_code); /* for ever */
        import_code = (PyCodeObject *)find_and_load_code;
    }
    return stacks_check_py();
}
