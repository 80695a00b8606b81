/* Counts the calls that change files below watched folders, and lets the Nth of them fail or kill the process.

   Loaded with LD_PRELOAD, so that what C libraries write counts too. Nothing happens until torture_watch names folders.
   Calls that libc makes inside itself (fwrite's own write) are not seen, which is why fopen and fwrite are wrapped.
   What is written through mmap is not seen either. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, WRITE, RENAME, FSYNC, MKDIR, UNLINK, KINDS };
#define FDS 4096
#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static char watched[PATH_MAX];  /* one folder; empty: nothing is watched */
static size_t watched_length;
static long counts[KINDS];
static int chosen;              /* bits of the kinds that may fail */
static long left = -1;          /* calls of the chosen kinds until one fails */
static int with_errno, is_lasting, kills;
static char failed[PATH_MAX + 32];
static unsigned char is_ours[FDS];
static const char *names[KINDS] = {"open", "write", "rename", "fsync", "mkdir", "unlink"};

void torture_watch(const char *folder) {
    snprintf(watched, sizeof watched, "%s", folder);
    watched_length = strlen(watched);
    memset(counts, 0, sizeof counts);
    memset(is_ours, 0, sizeof is_ours);
    failed[0] = 0;
    left = -1;
}

void torture_arm(int bits, long nth, int error, int lasting, int killing) {
    chosen = bits; left = nth; with_errno = error; is_lasting = lasting; kills = killing;
}

long torture_count(int kind) { return counts[kind]; }
const char *torture_failed(void) { return failed; }

static int below(int folder, const char *path) {
    char full[2 * PATH_MAX];
    if (!watched_length || !path) return 0;
    if (path[0] == '/') snprintf(full, sizeof full, "%s", path);
    else {
        char place[64], base[PATH_MAX];
        if (folder == AT_FDCWD) snprintf(place, sizeof place, "/proc/self/cwd");
        else snprintf(place, sizeof place, "/proc/self/fd/%d", folder);
        ssize_t size = readlink(place, base, sizeof base - 1);
        if (size < 0) return 0;
        base[size] = 0;
        snprintf(full, sizeof full, "%s/%s", base, path);
    }
    return strncmp(full, watched, watched_length) == 0;
}

/* Count a call; return 1 with errno set if it has to fail. */
static int fails(int kind, const char *what) {
    counts[kind]++;
    if (left < 0 || !(chosen & (1 << kind))) return 0;
    if (left > 0 && --left > 0) return 0;
    if (!failed[0]) snprintf(failed, sizeof failed, "%s %s", names[kind], what ? what : "");
    if (kills) { syscall(SYS_kill, getpid(), SIGKILL); for (;;) pause(); }
    left = is_lasting ? 0 : -1;
    errno = with_errno;
    return 1;
}

static int fails_at(int kind, int folder, const char *path) { return below(folder, path) && fails(kind, path); }
static int fails_on(int kind, int fd) {
    char place[64], path[PATH_MAX] = "";
    if (fd < 0 || fd >= FDS || !is_ours[fd]) return 0;
    if (left > 0 || left == 0) {
        snprintf(place, sizeof place, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(place, path, sizeof path - 1);
        path[size < 0 ? 0 : size] = 0;
    }
    return fails(kind, path);
}
static int track(int fd, int ours) { if (fd >= 0 && fd < FDS) is_ours[fd] = ours; return fd; }
static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
#define OPENER(name) int name(const char *path, int flags, ...) { \
    REAL(name); MODE \
    int ours = writes(flags) && below(AT_FDCWD, path); \
    if (ours && fails(OPEN, path)) return -1; \
    return track(real(path, flags, mode), ours); }
#define OPENER_AT(name) int name(int folder, const char *path, int flags, ...) { \
    REAL(name); MODE \
    int ours = writes(flags) && below(folder, path); \
    if (ours && fails(OPEN, path)) return -1; \
    return track(real(folder, path, flags, mode), ours); }
OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)

int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

#define STREAM(name) FILE *name(const char *path, const char *mode) { \
    REAL(name); \
    int ours = strpbrk(mode, "wa+") && below(AT_FDCWD, path); \
    if (ours && fails(OPEN, path)) return NULL; \
    FILE *file = real(path, mode); \
    if (file) track(fileno(file), ours); \
    return file; }
STREAM(fopen)
STREAM(fopen64)

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(fwrite);
    return watched_length && fails_on(WRITE, fileno(file)) ? 0 : real(data, size, count, file);
}

int close(int fd) { REAL(close); track(fd, 0); return real(fd); }
ssize_t write(int fd, const void *data, size_t size) {
    REAL(write); return fails_on(WRITE, fd) ? -1 : real(fd, data, size); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev); return fails_on(WRITE, fd) ? -1 : real(fd, parts, count); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite); return fails_on(WRITE, fd) ? -1 : real(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64); return fails_on(WRITE, fd) ? -1 : real(fd, data, size, at); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); return fails_on(WRITE, fd) ? -1 : real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return fails_on(WRITE, fd) ? -1 : real(fd, size); }
ssize_t sendfile(int out, int in, off_t *at, size_t count) {
    REAL(sendfile); return fails_on(WRITE, out) ? -1 : real(out, in, at, count); }
ssize_t sendfile64(int out, int in, off64_t *at, size_t count) {
    REAL(sendfile64); return fails_on(WRITE, out) ? -1 : real(out, in, at, count); }
ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t count, unsigned flags) {
    REAL(copy_file_range); return fails_on(WRITE, out) ? -1 : real(in, from, out, to, count, flags); }
static int syncs(int fd) {  /* also of files that are open for reading, and of folders */
    char place[64], path[PATH_MAX];
    snprintf(place, sizeof place, "/proc/self/fd/%d", fd);
    ssize_t size = watched_length ? readlink(place, path, sizeof path - 1) : -1;
    if (size < 0) return 0;
    path[size] = 0;
    return fails_at(FSYNC, AT_FDCWD, path);
}
int fsync(int fd) { REAL(fsync); return syncs(fd) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return syncs(fd) ? -1 : real(fd); }

int rename(const char *old, const char *new) {
    REAL(rename); return fails_at(RENAME, AT_FDCWD, new) ? -1 : real(old, new); }
int renameat(int from, const char *old, int to, const char *new) {
    REAL(renameat); return fails_at(RENAME, to, new) ? -1 : real(from, old, to, new); }
int link(const char *old, const char *new) { REAL(link); return fails_at(RENAME, AT_FDCWD, new) ? -1 : real(old, new); }
int symlink(const char *to, const char *new) {
    REAL(symlink); return fails_at(RENAME, AT_FDCWD, new) ? -1 : real(to, new); }
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir); return fails_at(MKDIR, AT_FDCWD, path) ? -1 : real(path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(mkdirat); return fails_at(MKDIR, folder, path) ? -1 : real(folder, path, mode); }
int unlink(const char *path) { REAL(unlink); return fails_at(UNLINK, AT_FDCWD, path) ? -1 : real(path); }
int rmdir(const char *path) { REAL(rmdir); return fails_at(UNLINK, AT_FDCWD, path) ? -1 : real(path); }
int unlinkat(int folder, const char *path, int flags) {
    REAL(unlinkat); return fails_at(UNLINK, folder, path) ? -1 : real(folder, path, flags); }
