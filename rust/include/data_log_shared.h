/* Made by cbindgen from rust/src/ffi.rs, which documents the conventions; do not edit. */

#ifndef DATA_LOG_SHARED_H
#define DATA_LOG_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// `patience_us` of the reading functions: 20 ms.
#define DLS_DEFAULT_PATIENCE UINT64_MAX

// `from` of `dls_cursor`: the oldest readable entry. `dls_cursor_offset`: nothing was returned yet.
#define DLS_NOWHERE UINT64_MAX

// `deadline` of a wait that never times out.
#define DLS_NO_DEADLINE UINT64_MAX

// How a call ended.
typedef enum dls_status {
  DLS_STATUS_OK,
  // Nothing: no entry, no room, timed out, not set.
  DLS_STATUS_NONE,
  // See to your signals and call again.
  DLS_STATUS_AGAIN,
  DLS_STATUS_ERROR,
} dls_status;

// What a place that holds no intact entry is.
typedef enum dls_place_kind {
  DLS_PLACE_KIND_SEALED,
  DLS_PLACE_KIND_DAMAGED,
  // Its writer is at work, or dead and not found out yet.
  DLS_PLACE_KIND_UNFINISHED,
} dls_place_kind;

typedef struct dls_cursor_t dls_cursor_t;

// Why a call failed.
typedef struct dls_error dls_error;

typedef struct dls_log dls_log;

// What a new log shall be. A fraction of `size` or `mode` is cut off. `sparse` and `checksum`: 0, 1,
// or -1 for the default.
typedef struct dls_making {
  double size;
  double mode;
  int8_t sparse;
  int8_t checksum;
} dls_making;

// An entry to be appended.
typedef struct dls_data {
  const uint8_t *data;
  uintptr_t len;
  bool utf8;
} dls_data;

// An entry to be copied out, which the mapping holds as long as the handle lives.
typedef struct dls_payload {
  const uint8_t *data;
  uintptr_t len;
  bool utf8;
  uint64_t offset;
  uint64_t next;
} dls_payload;

// What a walk over the whole log has found.
typedef struct dls_verified {
  uint64_t entries;
  // Payload bytes of the entries.
  uint64_t bytes;
  // Slots closed without an entry.
  uint64_t sealed;
  // Entries whose checksum does not agree, and slots that recovery had to close.
  uint64_t damaged;
} dls_verified;

// A place that holds no intact entry, in bytes. One that does not tell where it ends reaches to
// the tail.
typedef struct dls_place {
  enum dls_place_kind kind;
  uint64_t offset;
  uint64_t size;
} dls_place;

typedef struct dls_stats_t {
  uint64_t data_size;
  uint64_t tail;
  uint64_t count;
  uint64_t available;
  uint64_t waiters;
  uint64_t appends;
  uint64_t waits;
  uint64_t timeouts;
  uint64_t mmap_size;
  uint64_t truncation;
  uint64_t generation;
  uint64_t synced;
  uint64_t sealed;
  uint64_t damaged;
  uint64_t recoveries;
  bool sync_failed;
  bool checksum;
  bool sparse;
} dls_stats_t;







// Creates the log at a path, or attaches to the one that is there.
//
// # Safety
// See the conventions.
enum dls_status dls_open(const uint8_t *path_data,
                         uintptr_t path_len,
                         const struct dls_making *options,
                         struct dls_log **log,
                         struct dls_error **error);

// Attaches to the log at a path for reading only.
//
// # Safety
// See the conventions.
enum dls_status dls_open_readonly(const uint8_t *path_data,
                                  uintptr_t path_len,
                                  struct dls_log **log,
                                  struct dls_error **error);

// Makes a log in memory. With a `name`, the fd of `dls_memfd` may be passed on; NULL: without.
//
// # Safety
// See the conventions.
enum dls_status dls_in_memory(const uint8_t *name,
                              uintptr_t name_len,
                              const struct dls_making *options,
                              struct dls_log **log,
                              struct dls_error **error);

// Attaches to the log that `fd` is open on; `fd` stays the caller's.
//
// # Safety
// See the conventions.
enum dls_status dls_from_fd(int fd, struct dls_log **log, struct dls_error **error);

// Another handle of the same log, for another thread. NULL if memory ran out.
struct dls_log *dls_clone(const struct dls_log *log);

// Frees a handle; NULL is fine.
//
// # Safety
// `log` came from this library and is not used any more.
void dls_free(struct dls_log *log);

// The text of an error, valid until it is freed.
const uint8_t *dls_error_message(const struct dls_error *error);

uintptr_t dls_error_length(const struct dls_error *error);

// `errno` where a system call failed, else 0.
int dls_error_errno(const struct dls_error *error);

// Frees an error; NULL is fine.
//
// # Safety
// `error` came from this library and is not used any more.
void dls_error_free(struct dls_error *error);

// Appends an entry. `DLS_STATUS_NONE` if it does not fit.
//
// # Safety
// See the conventions.
enum dls_status dls_append(const struct dls_log *log,
                           const uint8_t *data,
                           uintptr_t len,
                           bool utf8,
                           uint64_t *offset,
                           struct dls_error **error);

// Appends `count` entries as one reservation, all or none. `DLS_STATUS_NONE` if they do not fit, or
// there are none. `offsets` has room for `count`, or is NULL.
//
// # Safety
// See the conventions.
enum dls_status dls_append_multi(const struct dls_log *log,
                                 const struct dls_data *data,
                                 uintptr_t count,
                                 uint64_t *offsets,
                                 struct dls_error **error);

// Finds the first entry at or behind an offset. `DLS_STATUS_NONE` if there is nothing to read there yet.
//
// # Safety
// See the conventions.
enum dls_status dls_read(const struct dls_log *log,
                         uint64_t offset,
                         uint64_t patience_us,
                         struct dls_payload *payload);

// As `dls_read`, but an offset that is hidden by truncation means the oldest readable entry.
//
// # Safety
// See the conventions.
enum dls_status dls_next(const struct dls_log *log,
                         uint64_t offset,
                         uint64_t patience_us,
                         struct dls_payload *payload);

// Entries that a replay from the beginning reaches.
uint64_t dls_entry_count(const struct dls_log *log);

// Offset behind the last reservation.
uint64_t dls_tail_offset(const struct dls_log *log);

uint64_t dls_data_size(const struct dls_log *log);

uint64_t dls_available(const struct dls_log *log);

// Offset of the oldest entry that may be read.
uint64_t dls_truncation(const struct dls_log *log);

// Hides what lies before an offset; `*truncation` is what is in force then. `DLS_STATUS_AGAIN` after
// waiting for a writer there.
//
// # Safety
// See the conventions.
enum dls_status dls_truncate(const struct dls_log *log,
                             uint64_t offset,
                             uint64_t *truncation,
                             struct dls_error **error);

// The deadline that lies `seconds` ahead; negative and infinite ones never come.
uint64_t dls_deadline(double seconds);

// Waits for the count to differ from `expected`: `DLS_STATUS_OK`, `DLS_STATUS_NONE` when the deadline is over,
// `DLS_STATUS_AGAIN` after a fraction of a second. `first` marks the first call of a wait.
enum dls_status dls_wait(const struct dls_log *log,
                         uint64_t expected,
                         uint64_t deadline,
                         bool first);

// Empties the log.
//
// # Safety
// See the conventions.
enum dls_status dls_reset(const struct dls_log *log, struct dls_error **error);

// Puts everything before offset `end` on disk: `DLS_STATUS_AGAIN` while a writer there may still commit.
// A log in memory has nothing to put anywhere.
//
// # Safety
// See the conventions.
enum dls_status dls_sync(const struct dls_log *log,
                         uint64_t end,
                         struct dls_error **error);

// Verifies from `*from`, 0 at first, on to the next place that holds no intact entry, and adds what
// was met to `*found`. `DLS_STATUS_NONE` at the end of the log. Both must be writable and
// initialized.
//
// # Safety
// See the conventions.
enum dls_status dls_verify_on(const struct dls_log *log,
                              uint64_t *from,
                              struct dls_verified *found,
                              struct dls_place *place);

struct dls_stats_t dls_stats(const struct dls_log *log);

// Removes the log's file. `DLS_STATUS_OK` also if it is gone already.
//
// # Safety
// See the conventions.
enum dls_status dls_unlink(const struct dls_log *log, struct dls_error **error);

// Removes the file at a path. `DLS_STATUS_OK` also if it is gone already.
//
// # Safety
// See the conventions.
enum dls_status dls_unlink_path(const uint8_t *path_data,
                                uintptr_t path_len,
                                struct dls_error **error);

// The path as it was given, valid as long as the handle; NULL if the log has none.
//
// # Safety
// See the conventions.
const uint8_t *dls_path(const struct dls_log *log, uintptr_t *len);

// The fd that may be passed on, or -1.
int dls_memfd(const struct dls_log *log);

// The eventfd, or -1.
int dls_fileno(const struct dls_log *log);

// The eventfd, made if there is none.
//
// # Safety
// See the conventions.
enum dls_status dls_eventfd(const struct dls_log *log, int *fd, struct dls_error **error);

// Uses the caller's eventfd.
//
// # Safety
// See the conventions.
enum dls_status dls_eventfd_set(const struct dls_log *log, int fd, struct dls_error **error);

// Signals the eventfd from now on when entries come, from whichever process.
//
// # Safety
// See the conventions.
enum dls_status dls_watch(const struct dls_log *log, int *fd, struct dls_error **error);

// Ends what `dls_watch` began.
void dls_unwatch(const struct dls_log *log);

// Signals the eventfd. `DLS_STATUS_NONE` if there is none.
//
// # Safety
// See the conventions.
enum dls_status dls_notify(const struct dls_log *log, struct dls_error **error);

// Takes the eventfd's count. `DLS_STATUS_NONE` if nothing was pending, or there is no eventfd.
//
// # Safety
// See the conventions.
enum dls_status dls_eventfd_consume(const struct dls_log *log,
                                    uint64_t *count,
                                    struct dls_error **error);

// A cursor on the log; NULL if memory ran out.
struct dls_cursor_t *dls_cursor(const struct dls_log *log, uint64_t from);

// Another cursor at the same place, for another thread. NULL if memory ran out.
struct dls_cursor_t *dls_cursor_clone(const struct dls_cursor_t *cursor);

// Frees a cursor; NULL is fine.
//
// # Safety
// `cursor` came from this library and is not used any more.
void dls_cursor_free(struct dls_cursor_t *cursor);

// The next entry. `DLS_STATUS_NONE` if there is nothing to read yet.
//
// # Safety
// See the conventions.
enum dls_status dls_cursor_next(const struct dls_cursor_t *cursor, struct dls_payload *payload);

// Waits for a next entry, as `dls_wait`.
enum dls_status dls_cursor_wait(const struct dls_cursor_t *cursor, uint64_t deadline, bool first);

// Offset of the entry returned last, or `DLS_NOWHERE`.
uint64_t dls_cursor_offset(const struct dls_cursor_t *cursor);

// Where the next entry is looked for.
uint64_t dls_cursor_position(const struct dls_cursor_t *cursor);

// Goes to a position, which should be one that `dls_cursor_position` gave.
void dls_cursor_seek(const struct dls_cursor_t *cursor, uint64_t position);

// Bytes from the position to the tail.
uint64_t dls_cursor_lag(const struct dls_cursor_t *cursor);

// Bytes skipped because they were truncated or sealed.
uint64_t dls_cursor_missed(const struct dls_cursor_t *cursor);

#endif  /* DATA_LOG_SHARED_H */
