/* What the machine allows: the limits that the log's figures stand beside. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20 };

static double cpu_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void *usable(void *memory) {
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return memory;
}

static char *fresh_memory(size_t size) {
    return usable(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

/* Seconds for each page of a shared mapping that nobody has touched. */
static double touch(long pages) {
    char *memory = fresh_memory(pages * PAGE);
    const double start = cpu_time();
    for (long i = 0; i < pages; i++)
        ((volatile char *)memory)[i * PAGE] = 1;
    return (cpu_time() - start) / pages;
}

/* Seconds for each MiB copied into, or out of, a shared mapping whose pages are there. */
static double copy(long mib, int in) {
    char *memory = fresh_memory(mib * MIB), *private = malloc(MIB);
    memset(memory, 1, mib * MIB);
    memset(private, 2, MIB);
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        const double start = cpu_time();
        for (long i = 0; i < mib; i++) {
            memcpy(in ? memory + i * MIB : private, in ? private : memory + i * MIB, MIB);
            __asm__ volatile("" : : "r"(private), "r"(memory) : "memory");
        }
        const double time = cpu_time() - start;
        best = time < best ? time : best;
    }
    return best / mib;
}

/* Seconds to map a file and add up its bytes, eight at a time. */
static double scan(const char *path) {
    const double start = cpu_time();
    const int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(path);
        exit(1);
    }
    const uint64_t *memory = usable(mmap(NULL, st.st_size, PROT_READ, MAP_SHARED, fd, 0));
    uint64_t sum = 0;
    for (off_t i = 0; i < st.st_size / 8; i++)
        sum += memory[i];
    __asm__ volatile("" : : "r"(sum));
    return cpu_time() - start;
}

int main(int argc, char **argv) {
    double seconds;
    if (argc != 3)
        return 2;
    if (!strcmp(argv[1], "touch"))
        seconds = touch(atol(argv[2]));
    else if (!strcmp(argv[1], "copy-in"))
        seconds = copy(atol(argv[2]), 1);
    else if (!strcmp(argv[1], "copy-out"))
        seconds = copy(atol(argv[2]), 0);
    else if (!strcmp(argv[1], "scan"))
        seconds = scan(argv[2]);
    else
        return 2;
    printf("%.12f\n", seconds);
    return 0;
}
