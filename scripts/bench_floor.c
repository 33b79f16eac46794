/* The system calls alone that a start needs for a volume of directories 0 to 99, without
 * anything of what it decides and remembers: the least that a safe way can take. Part of
 * scripts/bench:
 *
 *     bench_floor give DIRECTORY UID THREADS   opens each entry, looks at it, gives it away through
 *                                              the same descriptor, and closes it
 *     bench_floor stat DIRECTORY...            looks at each entry
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int top, next, uid, gives;

static void entry(int directory, const char *name) {
    struct statx seen;
    if (!gives) {
        statx(directory, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &seen);
        return;
    }
    int it = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    statx(it, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &seen);
    if (fchownat(it, "", uid, uid, AT_EMPTY_PATH)) exit(1);
    close(it);
}

static void *work(void *unused) {
    for (int number; (number = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < 100;) {
        char name[16];
        sprintf(name, "%d", number);
        DIR *directory = fdopendir(openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        if (!directory) exit(1);
        for (struct dirent *found; (found = readdir(directory));)
            if (found->d_name[0] != '.') entry(dirfd(directory), found->d_name);
        closedir(directory);
    }
    return unused;
}

static void walk(const char *path, int threads) {
    pthread_t each[16];
    top = open(path, O_RDONLY | O_DIRECTORY);
    next = 0;
    for (int number = 0; number < threads; number++) pthread_create(&each[number], 0, work, 0);
    for (int number = 0; number < threads; number++) pthread_join(each[number], 0);
    close(top);
}

int main(int count, char **words) {
    gives = count == 5 && !strcmp(words[1], "give");
    if (gives) {
        uid = atoi(words[3]);
        walk(words[2], atoi(words[4]));
    } else
        for (int number = 2; number < count; number++) walk(words[number], 1);
}
