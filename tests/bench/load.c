/* The loads that the benchmark makes up.
 *
 *   load gaps SECONDS       looks at the time without a break, below forty calls, on the last CPU alone, and prints how
 *                           often and for how long it was interrupted: interruptions, their nanoseconds
 *   load storm SECONDS      starts /bin/true, one after the other, and prints how many
 *   load threads COUNT      so many threads that work for a millisecond and sleep, which together fill the machine
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* An interrupt takes more than the one, and another program on this CPU more than the other. */
#define SHORTEST 1000
#define LONGEST 300000

static __attribute__((noinline)) int look(long long end) {
    long long before = now(), gaps = 0, lost = 0;
    while (before < end) {
        long long after = now();
        if (after - before >= SHORTEST && after - before <= LONGEST) {
            gaps++;
            lost += after - before;
        }
        before = after;
    }
    printf("%lld %lld\n", gaps, lost);
    return 0;
}

static __attribute__((noinline)) int below(int calls, long long end) {
    volatile char frame[256];
    frame[0] = 1;
    int result = calls ? below(calls - 1, end) : look(end);
    return result + frame[0] - 1;
}

static int gaps(double seconds) {
    cpu_set_t last;
    CPU_ZERO(&last);
    CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &last);
    sched_setaffinity(0, sizeof last, &last);
    return below(40, now() + (long long)(seconds * 1e9));
}

static int storm(double seconds) {
    char *arguments[] = {"/bin/true", NULL};
    long long end = now() + (long long)(seconds * 1e9), started = 0;
    for (; now() < end; started++) {
        pid_t child;
        if (posix_spawn(&child, arguments[0], NULL, NULL, arguments, NULL) != 0 || waitpid(child, NULL, 0) < 0) {
            return 1;
        }
    }
    printf("%lld\n", started);
    return 0;
}

static long sleep_us;

static void *work(void *unused) {
    for (;;) {
        for (long long end = now() + 1000000; now() < end;) {
        }
        usleep(sleep_us);
    }
    return unused;
}

static int threads(int count) {
    /* A tenth more than the machine can do. */
    sleep_us = 1000L * (long)(count / (1.1 * sysconf(_SC_NPROCESSORS_ONLN)));
    for (int i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0) {
            return 1;
        }
    }
    pause();
    return 0;
}

int main(int argc, char **argv) {
    double number = argc > 2 ? atof(argv[2]) : 1;
    if (argc > 1 && strcmp(argv[1], "gaps") == 0) {
        return gaps(number);
    }
    if (argc > 1 && strcmp(argv[1], "storm") == 0) {
        return storm(number);
    }
    return argc > 1 && strcmp(argv[1], "threads") == 0 ? threads((int)number) : 2;
}
