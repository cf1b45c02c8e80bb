/* Runs a command as a plain user with the capabilities given, and no others:
 *
 *   as_user CAPABILITIES COMMAND...      their numbers, separated by commas; - for none
 *
 * busybox's setpriv cannot change the user.
 */
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USER 1000

static void must(int result, const char *what) {
    if (result != 0) {
        perror(what);
        exit(125);
    }
}

int main(int argc, char **argv) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {0};
    unsigned long long kept = 0;
    if (argc < 3) {
        return 2;
    }
    for (char *one = strtok(argv[1], ","); one && *one != '-'; one = strtok(NULL, ",")) {
        kept |= 1ULL << atoi(one);
    }
    must(setgroups(0, NULL), "setgroups");
    must(setresgid(USER, USER, USER), "setresgid");
    must(prctl(PR_SET_KEEPCAPS, 1), "keeping capabilities");
    must(setresuid(USER, USER, USER), "setresuid");
    for (int half = 0; half < 2; half++) {
        __u32 bits = kept >> (32 * half);
        sets[half] = (struct __user_cap_data_struct){bits, bits, bits};
    }
    must(syscall(SYS_capset, &head, sets), "capset");
    for (int number = 0; number < 64; number++) {
        if (kept >> number & 1) {
            must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0), "ambient capabilities");
        }
    }
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return 127;
}
