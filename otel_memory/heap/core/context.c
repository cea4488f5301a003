/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Find our ContextVar in the current context without asking the interpreter.
 *
 * PyContextVar_Get compares keys through PyObject_RichCompareBool, which counts
 * recursion and raises at a nearly full stack; inside an allocator hook that
 * would be an exception from nowhere. A context's variables are a hash array
 * mapped trie whose layout is the same in CPython 3.10 to 3.13 (Python/hamt.c),
 * so we walk it ourselves and compare by identity. context_init_py proves the
 * walk on real contexts of all three node types, or the source is off.
 */
#include "core.h"

typedef struct {
    PyObject_HEAD PyObject *root;
} HamtLayout;

typedef struct {
    PyObject_VAR_HEAD uint32_t bitmap;
    PyObject *slots[1];
} BitmapNode;

typedef struct {
    PyObject_HEAD PyObject *children[32];
} ArrayNode;

typedef struct {
    PyObject_VAR_HEAD int32_t hash;
    PyObject *slots[1];
} CollisionNode;

static PyTypeObject *bitmap_type, *array_type; /* learned by context_init_py */
static uint32_t variable_hash;                 /* folded to 32 bits as hamt.c does */

static uint32_t
fold_hash(Py_hash_t hash)
{
    int32_t folded
        = (int32_t)((uint64_t)hash & 0xffffffffu) ^ (int32_t)((uint64_t)hash >> 32);
    return (uint32_t)(folded == -1 ? -2 : folded);
}

/* A borrowed value, or NULL. */
static PyObject *
trie_find_nopy(PyObject *node, PyObject *key, uint32_t hash)
{
    for (uint32_t shift = 0; node != NULL; shift += 5) {
        if (Py_TYPE(node) == bitmap_type) {
            BitmapNode *bitmap = (BitmapNode *)node;
            uint32_t bit = 1u << ((hash >> shift) & 31);
            if ((bitmap->bitmap & bit) == 0) {
                return NULL;
            }
            int index = __builtin_popcount(bitmap->bitmap & (bit - 1));
            if (bitmap->slots[2 * index] != NULL) {
                return bitmap->slots[2 * index] == key ? bitmap->slots[2 * index + 1]
                                                       : NULL;
            }
            node = bitmap->slots[2 * index + 1];
        } else if (Py_TYPE(node) == array_type) {
            node = ((ArrayNode *)node)->children[(hash >> shift) & 31];
        } else { /* keys with one and the same 32-bit hash */
            CollisionNode *collision = (CollisionNode *)node;
            for (Py_ssize_t i = 0; i + 1 < Py_SIZE(node); i += 2) {
                if (collision->slots[i] == key) {
                    return collision->slots[i + 1];
                }
            }
            return NULL;
        }
        if (shift > 30) {
            return NULL;
        }
    }
    return NULL;
}

void *
context_vars_nopy(PyThreadState *state)
{
    ContextLayout *context = (ContextLayout *)state->context;
    return context == NULL ? NULL : context->vars;
}

Record *
context_record_nopy(PyThreadState *state)
{
    HamtLayout *vars = context_vars_nopy(state);
    if (vars == NULL) {
        return &record_no_span;
    }
    PyObject *value = trie_find_nopy(vars->root, core.variable, variable_hash);
    if (value == NULL || Py_TYPE(value) != core.record_type) {
        return &record_no_span;
    }
    return ((RecordObject *)value)->record;
}

/* Learn the node types from a context with `count` variables of which ours
 * is one, and compare our walk with the interpreter's answer. */
static int
check_with_variables_py(PyObject *variable, int count, bool learn_array)
{
    int result = -1;
    PyObject *value = PyLong_FromLong(0x6d656d); /* any value that is not shared */
    PyObject *others = PyList_New(0);
    PyObject *context = PyContext_New();
    if (value == NULL || others == NULL || context == NULL
        || PyContext_Enter(context) < 0) {
        goto done;
    }
    PyObject *token = NULL;
    for (int i = 0; i <= count; i++) {
        PyObject *other
            = i == count / 2 ? Py_NewRef(variable) : PyContextVar_New("other", NULL);
        if (other == NULL || PyList_Append(others, other) < 0) {
            Py_XDECREF(other);
            goto leave;
        }
        token = PyContextVar_Set(other, value);
        Py_DECREF(other);
        if (token == NULL) {
            goto leave;
        }
        Py_DECREF(token);
    }
    PyThreadState *state = PyThreadState_Get();
    HamtLayout *vars = context_vars_nopy(state);
    if (vars == NULL || vars->root == NULL) {
        goto leave;
    }
    const char *root_type = Py_TYPE(vars->root)->tp_name;
    if (learn_array) {
        if (strcmp(root_type, "hamt_array_node") != 0) {
            goto leave;
        }
        array_type = Py_TYPE(vars->root);
    } else {
        if (strcmp(root_type, "hamt_bitmap_node") != 0) {
            goto leave;
        }
        bitmap_type = Py_TYPE(vars->root);
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(others); i++) {
        PyObject *other = PyList_GET_ITEM(others, i);
        if (trie_find_nopy(vars->root, other, fold_hash(PyObject_Hash(other)))
            != value) {
            goto leave;
        }
    }
    PyObject *absent = PyContextVar_New("absent", NULL);
    if (absent == NULL) {
        goto leave;
    }
    PyObject *found
        = trie_find_nopy(vars->root, absent, fold_hash(PyObject_Hash(absent)));
    Py_DECREF(absent);
    result = found == NULL ? 0 : -1;
leave:
    if (PyContext_Exit(context) < 0) {
        result = -1;
    }
done:
    Py_XDECREF(context);
    Py_XDECREF(others);
    Py_XDECREF(value);
    PyErr_Clear();
    return result;
}

int
context_init_py(PyObject *variable)
{
    Py_hash_t hash = PyObject_Hash(variable);
    if (hash == -1) {
        PyErr_Clear();
        return -1;
    }
    variable_hash = fold_hash(hash);
    if (check_with_variables_py(variable, 3, false) < 0
        || check_with_variables_py(variable, 300, true) < 0) {
        return -1;
    }
    return 0;
}
