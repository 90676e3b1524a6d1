package Data::Log::Shared;

use 5.026;
use strict;
use warnings;

our $VERSION = '0.01';

require XSLoader;
XSLoader::load(__PACKAGE__, $VERSION);

# For import() alone; inheriting it would lend subclasses Exporter's other names.
use Exporter 'import';
our @EXPORT_OK = qw(log_append log_read log_next);

# What log_append and log_next are compiled to, told to whoever reads op trees.
sub B::Deparse::pp_log_append {
    my ($deparse, $op) = @_;
    return sprintf 'Data::Log::Shared::log_append(%s, %s)',
        map { $deparse->deparse($_, 6) } $op->first, $op->last;
}

sub B::Deparse::pp_log_next {
    my ($deparse, $op) = @_;
    return sprintf 'Data::Log::Shared::log_next(%s)', $deparse->deparse($op->first, 6);
}

1;

__END__

=head1 NAME

Data::Log::Shared - append-only log in shared memory that survives the death of any writer

=head1 SYNOPSIS

    use strict;
    use warnings;
    use feature 'say';
    use Data::Log::Shared;

    # A file, made if it is not there; undef instead of a path: in memory.
    my $log = Data::Log::Shared->new('events.log', 1_000_000);

    # Whoever has the log may append, here some forked processes.
    for my $worker (1 .. 3) {
        next if fork // die "fork: $!";
        for my $n (1 .. 100) {
            $log->append("worker $worker event $n") // die 'the log is full';
        }
        exit;
    }

    # Follow it: read what is there, then sleep until there is more.
    my ($pos, $seen) = (0, 0);
    while ($seen < 300) {
        my $count = $log->entry_count;
        $pos = $log->each_entry(sub { say $_[0]; $seen++ }, $pos);
        $log->wait_for($count, 5) if $seen < 300;
    }
    1 while wait > 0;

    # Replay it, from the beginning or from any offset kept from before.
    my ($offset, $replayed) = (0, 0);
    while (my ($data, $next) = $log->read_entry($offset)) {
        $replayed++;
        $offset = $next;
    }
    say "replayed $replayed entries";

    $log->sync;              # what was appended so far survives a power cut
    $log->truncate($pos);    # what has been dealt with is hidden

    # A log without a file, its descriptor to be handed to another program.
    my $memfd = Data::Log::Shared->new_memfd('jobs', 100_000);
    my $same  = Data::Log::Shared->new_from_fd($memfd->memfd);
    $memfd->append('a job');
    say 'through the other handle: ', ($same->read_entry(0))[0];

=head1 DESCRIPTION

A log is a region of memory, in a file or not, that any number of processes map. They append entries
to its end, byte strings or character strings of any length from one up, and read them in the one
order in which they stand, as often as they like and from wherever they like. Nothing is consumed by
reading, and nothing is overwritten: a log takes entries until it is full.

Nobody locks anything to append, read or wait. A process may be killed or stopped at any instruction
without harm to the others: they neither lose an entry, nor hang, nor count wrong. See
L</CONSISTENCY> and L</CRASHES>.

It suits audit trails, event sourcing, queues whose history matters, access logs of forking servers,
and tracing.

Words used below: an I<entry> is what one append added. An I<offset> is its place, in bytes from the
beginning of the data, always a multiple of four. The I<tail> is where the next entry will go. An
entry is I<in flight> from when its writer has taken the place for it until it is complete. A
I<handle> is an object of this class; each has a reading position of its own, hidden inside, which
makes counting and waiting cheap.

=head1 METHODS

Sizes, counts and offsets are integers, sizes and offsets in bytes. Every method throws an exception
when it is called on something that is not a live handle, or with an argument that is no number
where one is needed; what else it may throw is said with it, and all messages are explained under
L</DIAGNOSTICS>. Nothing is exported by default.

=head2 Getting a log

=over

=item new($path, $size)

=item new($path, $size, $mode, %options)

Makes a log, or attaches to the one that is there, and returns a handle.

With C<undef> as C<$path> the log is in memory, has no name, and is reached only by this process and
those it forks. Otherwise C<$path> is that of a regular file on a local filesystem. Where there is
none, one is made, complete before it gets its name, so that processes which come at once end up
with the same log. Where there is a log it is attached as it is: its own size, mode and options
count, whoever owns it, and the ones given are only checked. An empty file, or one of zeros that is
as long as the log would be, is made into a log if it belongs to you, and so is what a killed
creator left. Any other file is refused and not touched. A path is used as its bytes; of a string of
characters, those of its UTF-8 encoding.

C<$size> is how many bytes the entries may take, each with its overhead (see L</LIMITS>), from 1 to
2**38; a fraction is cut off. C<$mode> is the exact mode of the file if one is made, whatever the
umask, as a number from 0 to 0777; it is 0600 by default or with C<undef>.

Options:

=over

=item sparse => 0 or 1

With 0, the default for a file, all space is reserved at once, and a full disk is an exception from
C<new> that leaves nothing behind. With 1, the default in memory, space is taken as the log fills; a
full disk is then an exception from L<append|/"append($data)">. See also L</ENVIRONMENT>.

=item checksum => 0 or 1

Whether each entry carries a checksum: by default 1 for a file, 0 in memory. See L</Power loss>.

=back

=item new_memfd($name, $size)

Makes a log in memory that has a descriptor, L</memfd>, which can be passed on to unrelated
processes by inheritance or over a socket. C<$name> is for humans, who find it in F</proc>: up to
249 bytes, or C<undef>. The descriptor is closed on exec, and the kernel lets nobody change its size
any more.

=item new_from_fd($fd)

Attaches to the log that a descriptor is open on, that of a memfd or a file, for reading and
writing. The descriptor is duplicated; the caller's own may be closed. A memfd that its maker could
still shrink is refused.

=item new_readonly($path)

Attaches to the log of a file without ever writing to it, which read permission is enough for. The
methods that would change it (append, append_multi, truncate, reset, sync) throw. Such a reader
cannot close the place of a dead writer, so it stops there until a reader that may write has come
past; and it finds out about new entries by looking again and again, up to 20 ms apart, while it
waits. A log that needs recovery first (see L</Power loss>) is refused.

=item DESTROY

Closes the handle; the log lives on where others have it. Perl calls it, so there is no need to. It
may be called early and more than once. That of a subclass may call C<< $self->SUPER::DESTROY >>.

=back

=head2 Appending

=over

=item append($data)

Adds an entry. Returns its offset, or C<undef> when there is no room for it, in which case a smaller
one may still fit. The first offset is 0, so test with C<defined> or C<//>.

Strings of characters come back as characters, bytes as bytes, and the argument is not modified.
Numbers and references are stored as their strings. Empty data and C<undef> are refused with an
exception, and so are more than 2**28 - 1 bytes. A sparse log on a full disk throws with C<$!> set
to C<ENOSPC>, and nothing is appended.

When it has returned, the entry can be read by everyone.

=item append_multi(@data)

Adds several entries as one: all of them one behind the other, or none, even if the process is
killed or the power fails meanwhile. Returns their offsets, in scalar context their number; the
empty list or 0 when there is no room for all, or nothing to add. Each is checked as by C<append>
before any is added.

=back

=head2 Reading

=over

=item read_entry($offset)

=item read_entry($offset, $patience)

In list context, the entry at C<$offset> and the offset to go on from. The empty list where there is
nothing to read (yet): at the tail, where an entry is in flight, before the truncation, at anything
that is no multiple of four. Offsets are 0, those that C<append> returned, and those to go on from;
at others there may be meaningless bytes or nothing, and no harm is done. It never blocks.

Where a writer died in the middle of an append, the place is closed for good and passed over when it
has not been completed for C<$patience> microseconds, counted from when the first reader of all came
upon it. The default is 20_000, and to any but 0 the time is added that copying the entry takes at
64 MB a second. With 0 the place is closed at once. That is never wrong, only unkind: a writer that
is alive finds its place closed and appends again, further on, and is given longer with each
attempt. So the last pass over a log whose writers are gone should be made with 0.

=item each_entry($callback)

=item each_entry($callback, $from)

=item each_entry($callback, $from, $patience)

Calls C<< $callback->($data, $offset) >> for each entry from C<$from> on; by default, with C<undef>,
or with an offset before the truncation, from the oldest that is not truncated. Returns the offset
to go on from. It follows the log to what is its end by then: entries that are added meanwhile, by
the callback too, are seen. C<$patience> is as for C<read_entry>; the walk ends before an entry in
flight.

The callback may do anything: append, die, keep a reference to C<$_[0]>, call C<each_entry>, drop
the last reference to the log. C<return> ends one call and C<die> the walk; C<last> and C<next>
cannot leave the callback. If the callback calls L</DESTROY>, C<each_entry> throws when it returns.

=item cursor

=item cursor($from)

A reader with a position of its own, that begins at C<$from>, by default or with C<undef> at the
oldest entry that is not truncated. See L</Cursors>.

=item entry_count

How many entries a replay from the beginning meets, those hidden by truncation included. Entries in
flight do not count.

=item wait_for($count)

=item wait_for($count, $seconds)

Waits until C<entry_count> is not C<$count> and returns 1, at once if that is so already, or returns
0 when the time is over. C<$seconds> may be fractional and as large as you like. 0 only looks;
C<undef> or a negative number is for ever.

Take the count first, read then, and wait last, as in the L</SYNOPSIS>; so nothing that comes in
between is missed.

=back

=head2 Cursors

A cursor is an object of its own. It does not need the handle that it came from, works over fork and
in threads as a handle does, and goes to the beginning when the log is reset.

    my $cursor = $log->cursor;
    while (defined(my $data = $cursor->next(5))) { ... }

=over

=item next

=item next($seconds)

The next entry, or C<undef> if there is none yet. With C<$seconds> it waits for one as long, as
C<wait_for> does.

=item next_multi($max)

A list of the next entries, as many as there are, but no more than C<$max>.

=item offset

The offset of the entry returned last; C<undef> if there was none yet, or since C<seek>.

=item position

The offset to go on from, to be kept for C<seek>, C<cursor> or C<read_entry>.

=item seek($position)

Goes on from there. Returns true.

=item lag

How many bytes are between position and tail.

=item missed

How many bytes the cursor has passed over because they were truncated, or closed without an entry.

=back

=head2 Looking at it

=over

=item data_size

The size of the log, as given when it was made.

=item tail_offset

The offset behind the last entry, those in flight included.

=item available

How many bytes are left: C<data_size> less C<tail_offset>.

=item truncation

The offset that C<truncate> has reached, 0 at first.

=item path

The path as it was given to C<new>, or C<undef>.

=item memfd

The descriptor of a handle from C<new_memfd> or C<new_from_fd>, else -1. It belongs to the handle
and goes with it.

=item verify

=item verify($callback)

Walks the whole log, up to the first entry in flight, and returns a reference to a hash:

    entries   entries that are whole
    bytes     bytes of data in them
    sealed    places closed without an entry
    damaged   entries whose checksum is wrong, and those that recovery had to close

In a log without checksums only damage to its structure shows. Nothing is changed.

C<< $callback->($kind, $offset, $size) >> is called for each place that holds no intact entry, in
order. C<$kind> is C<sealed>, C<damaged>, or C<unfinished>: an entry in flight. C<$size> is in
bytes; of a place that does not tell where it ends, the rest of the log.

=item stats

A reference to a hash of integers:

    data_size, available, truncation      as the methods
    tail, count                           tail_offset and entry_count
    mmap_size     bytes that are mapped: data_size and 4096
    appends       count, and the entries that resets have emptied out
    sealed        places that were closed without an entry
    waits         how often wait_for had to wait
    timeouts      how many of these waits ended without an entry
    waiters       how many are waiting just now
    synced        the offset up to which everything is on disk, by sync or recovery
    sync_failed   1 after a sync has failed
    recoveries    how often the log was recovered
    damaged       entries that recoveries had to close
    generation    how often the log was reset
    checksum      1 if entries carry checksums
    sparse        1 if space is not reserved

C<waits>, C<timeouts>, C<recoveries> and C<damaged> are kept in the log itself, for all who use it.

=back

=head2 Changing all of it

=over

=item truncate($offset)

Hides the entries before C<$offset> from C<read_entry> and C<each_entry>, for everybody, and returns
the truncation now in force. It only ever moves forward. An offset inside an entry means the end of
that entry, one past the tail means the tail, a negative one is an exception. It is safe beside
everything else, but gains no space.

What is in flight before it is closed at once; its writer appends again behind. A writer to whom that
has happened before is waited for instead, for as long as a patience of 0 gives it in
L<read_entry|/"read_entry($offset, $patience)">, lest it never get through where somebody truncates
all the time. Signal handlers run meanwhile. It throws, and may be called again, if that takes more
than a minute.

=item reset

Empties the log; the next entry has offset 0 again. Returns true.

It is the one method that is B<not> safe while others use the log: their offsets lose their meaning,
and an append in flight may spoil what comes after. Until it is done the log looks empty to readers
and full to writers. Killed half-way, it is finished by whoever opens or uses the log next. It takes time
according to what was used of the log, not to its size. If the disk refuses to take note it throws,
with the log emptied all the same.

=item sync

Returns true when all that was appended before the call is on disk. It first waits for what is in
flight by then, no longer than a reader with the default patience. It throws when the disk refuses;
see L</Power loss>. It also throws, and may be called again, if what is in flight keeps it for more than
a minute. In memory there is nothing to do.

=item unlink

=item Data::Log::Shared->unlink($path)

Removes the log's file, or any file by its path, and returns true, also if it is gone already.
Handles go on working. A log without a path throws. A relative path means what it meant when the log
was opened.

=back

=head2 Event loops

A handle can have an eventfd, which C<select>, C<poll> and every event loop can watch. It is
signalled by L</notify>, and after L</watch> by entries as they come; C<append> by itself does not
touch it.

=over

=item watch

From now on the handle's eventfd is signalled whenever the count of entries changes, whichever
process appends, also one that knows the log by its path only. Returns the descriptor, that of
L</eventfd>. What came before the call does not count, so read the log after it, and then whenever
the descriptor is readable: L</eventfd_consume> first, the entries second. For a filehandle, C<< open
my $fh, '<&', $log->watch >>.

A thread of this process waits for the entries. It takes no signals, costs writers what a process in
C<wait_for> does, and rests a millisecond after each time it has signalled. It is not inherited over
fork; a child that calls C<watch> has a thread and an eventfd of its own.

=item unwatch

Ends the thread, as the end of the handle does. Returns true.

=item eventfd

The descriptor of the eventfd, made at the first call. It does not block, is closed on exec, and
belongs to the handle. Make it before you fork, and parent and children have the same; a child that
makes one afterwards has one of its own.

=item eventfd_set($fd)

Uses a descriptor of yours, one received from another process for instance, instead. It is never
closed by this module. That it is open is checked; that it is an eventfd is not. Returns true.

=item fileno

The descriptor now in use, or -1.

=item notify

Makes the eventfd readable. True if there is one, else false.

=item eventfd_consume

How often it was notified since the last call, or C<undef> if not at all or if there is no eventfd.
It does not block. Call it before you read the log, not after, or a notification may be lost.

=back

=head2 Function forms

These can be imported. They do what the methods of this class do, in less time, and do not look for
those of a subclass.

=over

=item log_append($log, $data)

C<< $log->append($data) >>

=item log_read($log, $offset, $patience)

C<< $log->read_entry($offset, $patience) >>

=item log_next($cursor, $seconds)

C<< $cursor->next($seconds) >>

=back

=head1 CONSISTENCY

What a reader can rely on:

=over

=item One order

All readers meet the same entries in the same order, that of their offsets. The entries of one
writer are in the order in which it appended them, and an append that began after another had
returned lies behind it.

=item Nothing appears behind you

A reader does not pass an entry in flight. It stops there, as do all others, until the entry is
complete or its place was closed for everyone. So whoever has read up to an offset has read all that
will ever be before it, and may keep that one number as its position, also in another process and,
for a file, over a restart.

=item All or nothing

An entry is read whole, once, or not at all, and so are those of one C<append_multi> together. When
C<append> has returned an offset the entry is there, and stays there until a C<reset>. When it has
returned C<undef> or thrown, there is none.

=item Counts are right

C<entry_count> is not kept anywhere but found by walking the log, as reading does, so it cannot
disagree with what a replay meets.

=back

What a reader cannot rely on: that the difference of two offsets tells the length of an entry, since
closed places lie between some; and that an append in progress will get the place that it has first
taken.

=head1 FORKING

Fork as you like. A handle works in the child as in the parent, each with a position of its own, and
there is nothing to reopen. The end of one does not concern the other.

All descriptors are closed on exec. To hand a memfd to a program, duplicate it with C<POSIX::dup>,
which gives one that stays open, and let the program call C<new_from_fd>; F<eg/memfd_fork.pl> shows
how.

=head1 THREADS

A handle that exists when a thread is created is cloned into it, on the same log and with the same
eventfd; one that a thread returns works as well. Each copy is freed once. C<shared_clone> and other
copies, like those of Storable, are not handles, and their methods throw.

=head1 PERMISSIONS

What a handle may do is settled when it is made, by the rights of its process at that moment. A
process that opens a log and then gives up its rights (C<setuid>, a chroot without the file or
F</proc>) can do all that it could before, C<reset> and C<sync> included. Only C<unlink> asks for
rights again, those to the directory.

C<new_from_fd> opens a file anew and needs the right
to; a memfd it takes as it is.

=head1 SIGNALS

Perl's handlers run while C<wait_for>, C<sync>, C<truncate> and a cursor's C<next> wait, promptly;
they may die, append, or drop the log. A handler does not change how long they wait.

Constructors and C<reset> may have to wait for a lock, up to a minute if the process that holds it
is stopped, and handlers run after that. All else is done without waiting.

This module raises no signal, but see L</A full disk> and L</SECURITY> for what the kernel may do.

=head1 CRASHES

=head2 A killed process

Whatever it was doing, everything it had appended is there, others go on appending at once, and
readers are held up by its last, unfinished entry for their patience at most, once for all of them
together. A killed waiter costs the next append one vain wake-up.

A process that is killed while it makes a file leaves nothing. Where files without a name cannot be
made, as on NFS or without F</proc>, it may leave a file beside the log, F<.log-shared-> and sixteen
hexadecimal digits, which takes the space of a log and is never used again. Remove it when nobody is
making a log in that directory.

=head2 A stopped process

Others go on without it in the same way. When it goes on itself, its append finds that its place was
closed and takes another; it succeeds once, or returns C<undef> if the log has become full
meanwhile. When it has lost 17 places in this way it gives up with C<undef>. No guess about other
processes and their numbers is ever made, so containers do not matter.

=head2 Power loss

This is about files with checksums, and means crashes of the kernel as well. After it,

=over

=item *

the log can be opened;

=item *

every entry that a returned C<sync> covered is there and whole, unless the medium was damaged;

=item *

of the entries after those a first part is there, without a gap;

=item *

no entry with wrong bytes is there, and nothing that had been emptied out by C<reset>.

=back

To this end the first to open the file after a boot, or to open a copy of it, recovers it: checks
each entry, closes damaged ones before the synced offset, ends the log at the first incomplete one
after it, and zeroes the rest. What it had to close is counted in C<stats> and C<verify>. It needs
the log to itself, and is skipped where another process has it open, for then the memory they share
is the truth. So a copy made with C<cp> is sound, too, as a new file, even while others append to
the log; not one that was copied over a file which is there, so remove that first.

What tells a boot is the kernel's boot id, and what tells a file its device, its inode and when it was
made. Where these differ without a power cut, as in a container that shows a boot id of its own (LXC),
or in a copy, the first to open the log recovers it all the same. It then ends at the first place behind the synced offset
that a dead writer had left unfinished and no reader had closed yet. What others had appended behind
that place is gone, though the machine had lost nothing. To keep it, call C<sync> before the last process
closes the log, or makes the copy: that settles such places.

Without checksums recovery goes by the structure alone and cannot tell wrong bytes.

A failed C<sync> cannot be repeated: the kernel tells only once that it has lost something. So from
then on every C<sync> of that log throws, in every process, until it is recovered after a boot.
Entries can still be read; copy them to another log.

Reading does not check checksums, since memory does not forget. To find damage done to the file by
others, use L</verify>.

=head2 A full disk

A file has all its space from the beginning, so appending to it cannot fail for want of any.
Filesystems that write each change to a new place (btrfs, ZFS and their like) cannot promise that,
and there a full disk may kill the process with SIGBUS. Sparse files throw from C<append>, and go on
when there is space again. Logs in memory take memory as they fill, and when it runs out the kernel
does what it does then; C<< sparse => 0 >> takes it all at once.

Where a filesystem cannot be asked to reserve space (ext2, ext3, NFS before 4.2), a sparse log, and a
file that has less space than it should, need Linux 5.14 or later: before that C<append> and C<new>
throw "Operation not supported".

=head1 SECURITY

A file is made with mode 0600, so it is its owner's alone unless C<$mode> says otherwise. Whoever
may write to a log may change all of it, by any means; for those who may only read there is
C<new_readonly>. A symlink is not followed where the path ends, though it is on the way there;
devices, pipes and the like are not opened.

Another process that has the log mapped can change every byte of it at any time. All that is read
from it is checked against what this process knows by itself, so the worst that comes of it is wrong
entries, or a log that looks full, empty or damaged; no crash, no endless loop, no access outside
the log. Characters that are not valid UTF-8 are handed out as bytes.

B<The exception> is a file that is made shorter while it is mapped. Nothing can be done about that:
the kernel sends SIGBUS to who touches what is gone. So share files only with users you trust that
far, and do not open files of theirs, in F</tmp> for instance, where a log of another's making may
lie under the name that you chose. Logs in memory cannot be shrunk; the kernel sees to it, and a
memfd that does not have this seal is refused.

=head1 LIMITS

    an entry takes      8 bytes and its data, rounded up to a multiple of 4
    an entry            1 to 2**28 - 1 bytes (256 MiB less one)
    a log               1 to 2**38 bytes (256 GiB)
    a file              the log's size and 4096 bytes
    an append_multi     1 GiB less 4 bytes, overhead included; more does not fit
    one append          17 places at most, if readers close them all

Space is not used again while a log lives: neither C<truncate> nor a closed place gives any back,
only C<reset> does. Allow some for places that are lost, or start a new log when one is full.

It needs Linux and a 64-bit perl. Without F</proc> there is no boot id, so whoever opens a file that
nobody has open recovers it, C<new_from_fd> takes memfds but throws for files, and a file is made under a
temporary name first. Use local filesystems, for machines that mount the same directory do not share
memory.
The system's own limits apply, that on the size of files (C<ulimit -f>) to logs in memory as well.

=head1 FILE FORMAT

A file or memfd is a header of 4096 bytes and the data. All integers are in the byte order of the
machine. Positions and sizes of slots are counted in I<units> of four bytes from the beginning of
the data, so unit 0 is at byte 4096.

    byte  bits
       0    64   magic: 7f 44 4c 53 68 6d 0d 0a
       8    32   byte order mark 0x01020304
      12    32   word size, 64
      16    32   version of the format, 1
      20    32   size of the header, 4096
      24    64   compatible features: ones unknown do not matter
      32    64   incompatible features: refuse the file if one is unknown; bit 0: checksums
      40    64   bytes of data
      48    64   flags; bit 0: sparse
      56    64   salt, random
     124    32   CRC-32C of bytes 8 to 123
     128    64   tail word
     256    64   wake word: sequence in the lower half, waiters in the upper
     384    64   truncation *, in units
     392    64   generation *
     400    64   synced *, in units
     408    64   errno of the first sync that failed, or 0
     416    64   first unfinished place (upper 36 bits) and when it was first seen; all ones: none
     424    64   units that a reset has still to zero *, and 1 more; 0 or invalid: none
     512   128   boot id, upper half first
     528    64   device number of the file
     536    64   inode number of the file
     544    64   when the file was made, in nanoseconds since 1970; 0: not known
     640    64   waits
     648    64   timeouts
     656    64   entries that resets have emptied out
     664    64   damaged
     672    64   recoveries

Up to byte 127 nothing changes once the magic stands, which is written last.

Fields with a star check themselves: the lower 37 bits are the value, the upper 27 bits the lower
ones of the CRC-32C over four 64-bit integers, namely salt, byte position of the field, context, and
value. The context is 0, for the reset's field the generation's 64 bits as they stand.

The B<tail word> has the unit where the last slot begins in its upper 36 bits and the size of that
slot in units in its lower 28. Their sum is the tail. 0: the log is empty. All ones: a reset is
under way.

A B<slot> is a word, a second word, and the data, padded to whole units. The first word tells its
state, in its upper two bits:

    bits 31-30   state            bits 27-0
    0            empty            0
    1            in flight        size of the slot in units, 3 or more
    2            an entry         length of the data in bytes, 1 or more
    3            closed           size in units, 1 or more, each of the 28 bits inverted

Of an entry, bit 29 says that the data is UTF-8, and bit 28 that the next slot belongs to the same
batch. Of a closed slot, bit 28 says that recovery closed it for damage; bit 29 is such that the
number of ones in the whole word is odd.

The second word of an entry in a log with checksums is the CRC-32C over the salt (64 bits), the
lower 32 bits of the generation's field as they stand, the unit of the slot (64 bits), the first
word, and the data; for the second and all later members of a batch that number XOR 0x6d6f7265
(behind a slot that was closed for damage either is right, as that may have been the first). In a log
without checksums it means nothing. That of a slot in flight is the number of earlier attempts or
already the checksum to be, that of a closed one whatever it was before.

To read a log, go from slot to slot, beginning at unit 0 and ending at the tail. A slot of an entry
has 2 units and those of its data. Pass what is closed, as a whole: inside it may be members of a
batch that never was. Stop at what is in flight; an empty slot is, too, if it is the last, whose
size is in the tail word. Check each size against the tail. Before the truncation nothing is to be
shown. Members of a batch are read one by one; all of them stand once the first does.

Processes that have a log open lock bytes of its file with open file description locks: byte 1,
shared, for as long as they have it open; byte 2 shared while they attach, exclusively to recover;
byte 0 exclusively to make a log of a file or to reset it.

=head1 DIFFERENCES

The documented interface is that of another, older implementation, in C, and programs written for it
run unchanged. They may notice that here

=over

=item *

its files are refused, with a message that names their format, and left as they are;

=item *

counts come from walking the log; the first C<entry_count> of a handle takes time according to the
number of entries, the following ones to what has been added since;

=item *

a place that a dead writer left is closed after 20 ms and passed over, so there may be gaps between
the entries;

=item *

C<each_entry> follows the log to its present end;

=item *

there is more: C<new_readonly>, C<append_multi>, cursors, functions, C<$patience>, C<verify>, the
options of C<new>, and further values in C<stats>.

=back

=head1 DIAGNOSTICS

All exceptions of this module are strings of one form, followed by file and line:

    Data::Log::Shared->METHOD: PATH: REASON
    Data::Log::Shared::Cursor->METHOD: REASON

with the path where there is one. Where the system refused something C<$!> has its reason; otherwise
C<$!> means nothing. Wrong numbers of arguments are reported by perl:
C<Usage: Data::Log::Shared::METHOD(...)>.

=head2 Arguments

=over

=item %s "%s" is not a number

=item %s undef is not a number

The argument named (size, mode, offset, position, count, timeout, patience, file descriptor) is not
one, or is NaN.

=item callback is not a code reference

C<each_entry> or C<verify> wants a code reference, or an object that acts as one. Names of subroutines do not do.

=item data is empty

There are no empty entries. Append something, a single byte for instance.

=item data of %d bytes is too large (at most 268435455)

Split it.

=item mode %s is not a number from 0 to 0777 (511)

Often it is a mode in quotes: write C<0640>, not C<"0640">, which is six hundred and forty.

=item name contains a NUL byte

No path and no memfd's name can have one.

=item not a live Data::Log::Shared object

The method was called on a class, on something that only looks like a handle (a copy made by a
serializer), or after C<DESTROY>.

=item odd number of options

=item unknown option "%s"

Options of C<new> come in pairs, after the mode: C<< new($path, $size, undef, sparse => 1) >>.

=item offset %s is negative

C<truncate> got one.

=item size %s is less than 1

=item size %s is too large (at most 274877906944)

See L</LIMITS>.

=item %s is no file descriptor

It is negative, fractional or too large.

=item can't use file descriptor %d: %s

It is not open, most likely.

=item %s is no position

C<cursor> and C<seek> want what C<position> or an offset may be: no negative number, no fraction.

=item log has no path

C<unlink> of a log in memory, or of one attached by descriptor.

=back

=head2 Files that are not attached

=over

=item empty or half-made, and its owner is another user (uid %d)

Only the owner can make a log of such a file. Let them do it, remove it, or use another path.

=item format version %d, this module reads version 1

Written by a later version of this module. Update it.

=item uses features of a later version of this module (%s)

The same.

=item header has an impossible data size %d

=item header is damaged (bad checksum)

=item header is damaged (generation)

The header was overwritten. Restore the file from a copy, or remove it.

=item is a symlink, which is not followed

Give the path of the log itself.

=item a log of another implementation's format %s, of which log-shared upgrade makes a new one

The file begins with C<LOG1> or C<LOG2>, see L</DIFFERENCES>. C<log-shared upgrade> reads it, see
L<log-shared>.

=item memfd is not sealed against shrinking

Whoever made it must add F_SEAL_SHRINK, as C<new_memfd> does.

=item needs recovery, for which it must be opened for writing first

C<new_readonly> met a file that nobody has opened since the boot, or a copy. Open it once with
C<new>.

=item not a log (bad magic)

=item too small for a log: %d bytes, the header alone has 4096

Some other file. It was not touched.

=item not a log (no magic): empty, or zeros of another size than this call would make

A file of zeros becomes a log only of its very length, and only by C<new>. Remove it, or call that
first.

=item not a regular file

A directory, device, pipe or socket.

=item read-only

You may read the file but not write it, or the filesystem is read-only, or the descriptor is not
open for reading and writing. C<new_readonly> may do. From one of the methods that change the log:
the handle is from C<new_readonly>.

=item size mismatch: header says %d bytes, file has %d

Somebody cut or extended it, or a copy is incomplete.

=item written in another byte order

=item written with another word size (%d bits)

The file comes from another kind of machine. Read it there.

=back

=head2 While working

=over

=item an earlier sync of this log failed, what it covered may be lost: %s

See L</Power loss>.

=item can't %s: %s

The system refused what is named, for the reason at the end: to create, create a memfd, create an
eventfd, duplicate the descriptor, get random bytes, lock, look at the file, look at the path, make
a file of this size, map (not enough memory or address space), open, put the log on disk, read, read
the eventfd, read the header, reopen the log through /proc (is it mounted?), reserve space, seal the
memfd, set the file's size, set the mode, settle on a file (others make and remove it all the time),
signal the eventfd, start a thread, unlink, write the header, or write what was recovered.

=item log is damaged (its tail lies outside)

Another process has overwritten the header, and nothing can be appended. C<reset> makes the log
usable, empty.

=item out of memory

For a cursor.

=item no space: %s

The disk is full or the quota used up. Nothing was made or appended; from C<sync>, see
L</Power loss>.

=item the %s lock is held by another process for too long

For a minute another process has been making or resetting the log (C<change>), recovering it
(C<attach>), or has had it to itself (C<life>). Most likely it is stopped. L<fuser(1)> tells who has the file open.

=item what others are writing is not settled after a minute

C<sync> or C<truncate> stands before an entry that was begun and not finished, and was told to be
patient with it for longer: by a writer that has been overtaken again and again, or by a process that
has overwritten the log. To try again does no harm.

=item internal error, please report it

A mistake in this module.

=back

=head1 ENVIRONMENT

=over

=item DATA_LOG_SHARED_SPARSE

If it is C<1>, files are made as with C<< sparse => 1 >> unless the option says otherwise.

=back

=head1 PERFORMANCE

The fastest way to read is C<each_entry>. A cursor comes next, and last, several times slower than
the first, a loop around C<read_entry>.

Appending a short entry costs little more than the method call, of which L</Function forms> save a
part. C<append_multi> with many short entries saves most of it. Checksums, other processes that
append at the same moment, and the first use of each page of memory add to it. It makes no system
call unless somebody waits, or the pages are used for the first time by this process: then one for
256 KiB at most, which is as much memory as a writer takes ahead of what it needs.

C<sync> costs what the disk takes, so call it once for many entries; others may go on appending
meanwhile.

Keep a handle: the first count of a new one walks the whole log. Waiting with C<wait_for> costs next
to no processor time.

F<bench/table.pl> and F<bench/multi.pl> in the distribution measure these things on your machine.

=head1 SEE ALSO

L<log-shared>, to look at logs from a shell. L<Data::Log::Shared::Cookbook>.
L<Data::Log::Shared::Sink>, for loggers.

L<Data::Queue::Shared>, whose entries are consumed; L<Data::PubSub::Shared>, whose old entries are
overwritten. L<perlipc>, L<perlfork>, L<threads>. L<memfd_create(2)>, L<eventfd(2)>, L<mmap(2)>.

Programs in F<eg/> of the distribution show each use in a page.

=head1 AUTHOR

The Data::Log::Shared developers.

=head1 LICENSE

This is free software; you may use, copy, change and pass it on under the same terms as Perl itself.

=cut
