/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded: the coarse clock, which nobody but the counting core asks, can be put
 * ahead, so that hours pass at once. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic long ahead_seconds;

void
put_ahead(long seconds)
{
    atomic_fetch_add(&ahead_seconds, seconds);
}

int
clock_gettime(clockid_t clock, struct timespec *ts)
{
    long failed = syscall(SYS_clock_gettime, clock, ts);
    if (failed == 0 && clock == CLOCK_MONOTONIC_COARSE) {
        ts->tv_sec += ahead_seconds;
    }
    return (int)failed;
}
