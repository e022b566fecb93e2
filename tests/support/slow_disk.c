/* A disk, or a resolver of names, that is slow, hangs or fails, for one process that is started with LD_PRELOAD.
 *
 * The environment variable SLOW_DISK names a file of rules. It may change at any time; replace it by a rename. A rule is a line:
 *
 *     OPERATION EFFECT path=TEXT [times=N] [chance=PERCENT]
 *
 * OPERATION  write, sync, sync-directory, lock, rename (also link), remove, open, read, list, truncate, make, stat, or any;
 *            look-up: the path is the name of a host
 * EFFECT     hold           the call waits until the rule is gone from the file
 *            delay=MS       the call waits for this long
 *            fail=ERRNO     the call fails with this number and has no effect
 * path=TEXT  only calls on paths that contain this text; it has no blanks
 * times=N    only the first N such calls
 * chance=P   only P of 100 such calls, at random
 *
 * Every rule that matches takes effect, in the order of the file. For each call that a rule affects, the file
 * "$SLOW_DISK.log" gets the line `begun OPERATION PATH OFFSET` before the call waits, and `done OPERATION PATH OFFSET`
 * after it has waited and before the disk is reached. OFFSET is -1 where a call has none.
 *
 * Build: cc -shared -fPIC -O1 -o slow_disk.so slow_disk.c -ldl -lpthread */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES 64

struct rule {
    char text[256], operation[16], path[160];
    long delay, times, chance;
    int fail, hold;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES];
static int count;
static struct timespec modified;
static ino_t inode;
/* How often a rule has taken effect, by its text: it keeps its count when the file is read again. */
static struct { char text[256]; long used; } uses[RULES];
static int used_count;

static void pause_ms(long ms) {
    struct timespec rest = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&rest, &rest) != 0) { }
}

static void parse(char *line) {
    struct rule rule = { .times = -1, .chance = 100 };
    char *save = NULL, *word;
    snprintf(rule.text, sizeof rule.text, "%s", line);
    for (int at = 0; (word = strtok_r(at == 0 ? line : NULL, " ", &save)) != NULL; at++) {
        if (at == 0) snprintf(rule.operation, sizeof rule.operation, "%s", word);
        else if (strcmp(word, "hold") == 0) rule.hold = 1;
        else if (strncmp(word, "delay=", 6) == 0) rule.delay = atol(word + 6);
        else if (strncmp(word, "fail=", 5) == 0) rule.fail = atoi(word + 5);
        else if (strncmp(word, "path=", 5) == 0) snprintf(rule.path, sizeof rule.path, "%s", word + 5);
        else if (strncmp(word, "times=", 6) == 0) rule.times = atol(word + 6);
        else if (strncmp(word, "chance=", 7) == 0) rule.chance = atol(word + 7);
    }
    if (rule.path[0] != 0 && count < RULES) rules[count++] = rule;
}

/* Reads the rules again if their file has changed. The lock is held. System calls are made directly, past this file. */
static void refresh(void) {
    const char *file = getenv("SLOW_DISK");
    struct stat now;
    if (file == NULL || syscall(SYS_newfstatat, AT_FDCWD, file, &now, 0) != 0) { count = 0; inode = 0; return; }
    if (now.st_ino == inode && now.st_mtim.tv_sec == modified.tv_sec && now.st_mtim.tv_nsec == modified.tv_nsec) return;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    char text[8192];
    long len = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    text[len < 0 ? 0 : len] = 0;
    inode = now.st_ino, modified = now.st_mtim, count = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) parse(line);
}

static int is_in_force(const char *text) {
    pthread_mutex_lock(&lock);
    refresh();
    int found = 0;
    for (int at = 0; at < count; at++) found |= strcmp(rules[at].text, text) == 0;
    pthread_mutex_unlock(&lock);
    return found;
}

/* Counts one use of a rule; returns 0 if it was used often enough. The lock is held. */
static int use(const struct rule *rule) {
    int at = 0;
    if (rule->chance < 100 && random() % 100 >= rule->chance) return 0;
    if (rule->times < 0) return 1;
    while (at < used_count && strcmp(uses[at].text, rule->text) != 0) at++;
    if (at == RULES) return 0;
    if (at == used_count) { memcpy(uses[at].text, rule->text, sizeof rule->text); used_count++; }
    return uses[at].used++ < rule->times;
}

static void note(const char *step, const char *operation, const char *path, long long offset) {
    char file[PATH_MAX], line[PATH_MAX + 64];
    snprintf(file, sizeof file, "%s.log", getenv("SLOW_DISK"));
    int len = snprintf(line, sizeof line, "%s %s %s %lld\n", step, operation, path, offset);
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return;
    syscall(SYS_write, fd, line, len);
    syscall(SYS_close, fd);
}

/* Applies the rules to a call. Returns 0, or the number of the error that the call fails with. */
static int affect(const char *operation, const char *path, long long offset) {
    struct rule found[RULES];
    int number = 0, fail = 0;
    pthread_mutex_lock(&lock);
    refresh();
    for (int at = 0; at < count; at++) {
        int named = strcmp(rules[at].operation, operation) == 0 || strcmp(rules[at].operation, "any") == 0;
        if (named && strstr(path, rules[at].path) != NULL && use(&rules[at])) found[number++] = rules[at];
    }
    pthread_mutex_unlock(&lock);
    if (number > 0) note("begun", operation, path, offset);
    for (int at = 0; at < number; at++) {
        if (found[at].delay > 0) pause_ms(found[at].delay);
        while (found[at].hold && is_in_force(found[at].text)) pause_ms(5);
        if (found[at].fail != 0) fail = found[at].fail;
    }
    if (number > 0) note("done", operation, path, offset);
    return fail;
}

static int idle(void) {
    pthread_mutex_lock(&lock);
    refresh();
    int none = count == 0;
    pthread_mutex_unlock(&lock);
    return none;
}

static int affect_fd(const char *operation, int fd, long long offset) {
    char link[64], path[PATH_MAX];
    if (idle()) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = 0;
    return path[0] == '/' ? affect(operation, path, offset) : 0;
}

static int affect_at(const char *operation, int dir, const char *name) {
    char link[64], path[PATH_MAX * 2];
    if (name == NULL || idle()) return 0;
    if (name[0] == '/' || dir == AT_FDCWD) return affect(operation, name, -1);
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    len = len < 0 ? 0 : len;
    snprintf(path + len, sizeof path - len, "/%s", name);
    return affect(operation, path, -1);
}

static int is_directory(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISDIR(found.st_mode);
}

/* Defines a function of the C library that first applies the rules. */
#define WRAP(result, failed, name, declared, passed, applied)                     \
    result name declared {                                                        \
        static result (*real) declared;                                           \
        if (real == NULL) real = (result (*) declared) dlsym(RTLD_NEXT, #name);   \
        int saved = errno, error = applied;                                       \
        if (error != 0) { errno = error; return failed; }                         \
        errno = saved;                                                            \
        return real passed;                                                       \
    }

WRAP(ssize_t, -1, write, (int fd, const void *b, size_t n), (fd, b, n), affect_fd("write", fd, -1))
WRAP(ssize_t, -1, writev, (int fd, const struct iovec *v, int n), (fd, v, n), affect_fd("write", fd, -1))
WRAP(ssize_t, -1, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at), affect_fd("write", fd, at))
WRAP(ssize_t, -1, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), (fd, v, n, at), affect_fd("write", fd, at))
WRAP(ssize_t, -1, read, (int fd, void *b, size_t n), (fd, b, n), affect_fd("read", fd, -1))
WRAP(ssize_t, -1, pread64, (int fd, void *b, size_t n, off64_t at), (fd, b, n, at), affect_fd("read", fd, at))
WRAP(int, -1, fsync, (int fd), (fd), affect_fd(is_directory(fd) ? "sync-directory" : "sync", fd, -1))
WRAP(int, -1, flock, (int fd, int what), (fd, what), affect_fd("lock", fd, -1))
WRAP(int, -1, fdatasync, (int fd), (fd), affect_fd("sync", fd, -1))
WRAP(int, -1, ftruncate64, (int fd, off64_t len), (fd, len), affect_fd("truncate", fd, len))
WRAP(int, -1, rename, (const char *from, const char *to), (from, to), affect_at("rename", AT_FDCWD, to))
WRAP(int, -1, renameat, (int fd, const char *from, int td, const char *to), (fd, from, td, to), affect_at("rename", td, to))
WRAP(int, -1, linkat, (int fd, const char *from, int td, const char *to, int f), (fd, from, td, to, f), affect_at("rename", td, to))
WRAP(int, -1, unlink, (const char *path), (path), affect_at("remove", AT_FDCWD, path))
WRAP(int, -1, unlinkat, (int dir, const char *path, int f), (dir, path, f), affect_at("remove", dir, path))
WRAP(int, -1, rmdir, (const char *path), (path), affect_at("remove", AT_FDCWD, path))
WRAP(int, -1, mkdir, (const char *path, mode_t mode), (path, mode), affect_at("make", AT_FDCWD, path))
WRAP(DIR *, NULL, opendir, (const char *path), (path), affect_at("list", AT_FDCWD, path))
WRAP(int, -1, statx, (int dir, const char *path, int f, unsigned m, struct statx *s), (dir, path, f, m, s),
     path[0] != 0 ? affect_at("stat", dir, path) : affect_fd("stat", dir, -1))
WRAP(int, EAI_AGAIN, getaddrinfo, (const char *name, const char *s, const struct addrinfo *h, struct addrinfo **r), (name, s, h, r),
     name == NULL || idle() ? 0 : affect("look-up", name, -1))

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    va_list more;
    va_start(more, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0;
    va_end(more);
    if (real == NULL) real = (int (*)(const char *, int, ...)) dlsym(RTLD_NEXT, "open64");
    int error = affect_at("open", AT_FDCWD, path);
    if (error != 0) { errno = error; return -1; }
    return real(path, flags, mode);
}
