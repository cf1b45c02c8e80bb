/* Runs a command and tells what it took: the launcher of the benchmark.
 *
 *   measure COMMAND...     its last line on stderr: wall, user and system time in microseconds, peak memory in KiB,
 *                          how often it gave up the CPU by itself
 *   measure                prints CLOCK_MONOTONIC in nanoseconds: the instant of a command's start
 *
 * A program of its own, because Linux counts the peak memory of whoever forks as the child's, up to its exec:
 * started from Python, everything would take ten megabytes.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long microseconds(struct timeval time) { return time.tv_sec * 1000000LL + time.tv_usec; }

int main(int argc, char **argv) {
    if (argc < 2) {
        printf("%lld\n", now());
        return 0;
    }
    long long start = now();
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    /* Ctrl-C goes to the command too, and its end is what counts. */
    signal(SIGINT, SIG_IGN);
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) < 0) {
        perror("measure");
        return 1;
    }
    fprintf(stderr, "\n%lld %lld %lld %ld %ld\n", (now() - start) / 1000, microseconds(usage.ru_utime),
            microseconds(usage.ru_stime), usage.ru_maxrss, usage.ru_nvcsw);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
