/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which stacks took most within one span, its ended children included: the samples
 * taken while it ran, whether their blocks live or not. Kept for recorded spans
 * only, from the first sample until the span has ended. All of it is protected by
 * the GIL; what RAW took without it has no stack and is left out.
 *
 * When there are more stacks than room, a newcomer's bytes go to the smallest share,
 * and its name with them by chance, in proportion: so each stack's share is right on
 * average, however many come (unbiased space saving: Ting, Data Sketches for
 * Disaggregated Subset Sum and Frequent Item Estimation, 2018).
 */
#include "core.h"

#include <stdlib.h>

#define ROOM_MAX 64 /* stacks a span */

typedef struct {
    Stack *stack; /* strong */
    double bytes;
} Share;

struct Took {
    uint16_t used, room;
    Share shares[];
};

static size_t memory_bytes; /* of all of them */

const size_t took_memory_bound_bytes = sizeof(Took) + ROOM_MAX * sizeof(Share);

size_t
took_memory_bytes(void)
{
    return memory_bytes;
}

static size_t
size_of(const Took *took)
{
    return took == NULL ? 0 : sizeof(*took) + took->room * sizeof(Share);
}

static Share *
share_of_nopy(Took *took, const Stack *stack)
{
    for (uint16_t i = 0; i < took->used; i++) {
        if (took->shares[i].stack == stack) {
            return &took->shares[i];
        }
    }
    return NULL;
}

static Share *
smallest_nopy(Took *took)
{
    Share *smallest = &took->shares[0];
    for (uint16_t i = 1; i < took->used; i++) {
        if (took->shares[i].bytes < smallest->bytes) {
            smallest = &took->shares[i];
        }
    }
    return smallest;
}

/* Add what one stack took. Takes a reference of its own, unless stacks are short:
 * spans that stay open for days must not keep others from having any. */
void
took_add_nopy(Record *record, Stack *stack, double bytes)
{
    Took *took = record->took;
    Share *share = took == NULL ? NULL : share_of_nopy(took, stack);
    if (share != NULL) {
        share->bytes += bytes;
        return;
    }
    if (stacks_are_full()) {
        return;
    }
    if (took == NULL || took->used == took->room) {
        uint16_t room = took == NULL ? 4 : (uint16_t)(took->room * 2);
        size_t before_bytes = size_of(took);
        Took *wider = room > ROOM_MAX
                          ? NULL
                          : realloc(took, sizeof(*took) + room * sizeof(Share));
        if (wider != NULL) {
            wider->used = before_bytes == 0 ? 0 : wider->used;
            wider->room = room;
            memory_bytes += size_of(wider) - before_bytes;
            record->took = took = wider;
        }
    }
    if (took == NULL) {
        return; /* memory is short */
    }
    if (took->used < took->room) {
        share = &took->shares[took->used++];
    } else {
        share = smallest_nopy(took);
        bytes += share->bytes;
        if (uniform_nopy(&this_thread.random) * bytes <= share->bytes) {
            share->bytes = bytes;
            return;
        }
        stack_release_nopy(share->stack);
    }
    stack_hold_nopy(stack);
    *share = (Share){stack, bytes};
}

/* What an ended child took, its parent took. */
void
took_merge_nopy(Record *parent, const Record *child)
{
    for (uint16_t i = 0; child->took != NULL && i < child->took->used; i++) {
        took_add_nopy(parent, child->took->shares[i].stack,
                      child->took->shares[i].bytes);
    }
}

void
took_forget_nopy(Record *record)
{
    Took *took = record->took;
    record->took = NULL;
    for (uint16_t i = 0; took != NULL && i < took->used; i++) {
        stack_release_nopy(took->shares[i].stack);
    }
    memory_bytes -= size_of(took);
    free(took);
}

/* A list of (frames, bytes), in no order. */
PyObject *
took_list_py(const Record *record)
{
    /* Building it allocates, and other threads may add to the record meanwhile:
     * take the shares first. */
    Share shares[ROOM_MAX];
    uint16_t used = record->took == NULL ? 0 : record->took->used;
    for (uint16_t i = 0; i < used; i++) {
        shares[i] = record->took->shares[i];
        stack_hold_nopy(shares[i].stack);
    }
    PyObject *list = PyList_New(0);
    for (uint16_t i = 0; i < used; i++) {
        PyObject *frames = list == NULL ? NULL : stack_frames_py(shares[i].stack);
        PyObject *item
            = frames == NULL
                  ? NULL
                  : Py_BuildValue("(NL)", frames, (long long)(shares[i].bytes + 0.5));
        if (list != NULL && (item == NULL || PyList_Append(list, item) < 0)) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
        stack_release_nopy(shares[i].stack);
    }
    return list;
}
