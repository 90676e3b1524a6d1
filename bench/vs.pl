#!/usr/bin/env perl

# The same work done in the ways that people use today: some processes write lines at the same time,
# and afterwards every line must be there, whole, and in the order of its writer. Nobody forces
# anything to disk. Time is from the first start until the last line has arrived where it will be read.

use strict;
use warnings;

use Data::Log::Shared;
use Fcntl        qw(:flock);
use File::Temp   ();
use FindBin      qw($Bin);
use Getopt::Long qw(GetOptions);
use POSIX        ();
use lib "$Bin/lib";
use BenchChart     qw(bars);
use BenchProcesses qw(together wall cpu);
use BenchRedis;
use BenchReport qw(command machine per_second write_file);

my $length = 120;
my %opt    = ( processes => 4, lines => 50_000, rounds => 5, patience => 5 );
my @given  = @ARGV;
my $usage  = <<"END";
usage: $0 [--processes N] [--lines N] [--rounds N] [--patience SECONDS] [--only REGEX] [--directory DIR] [--svg FILE [--note TEXT]]
  --processes  that write at once (default $opt{processes})
  --lines      that each writes, of $length bytes (default $opt{lines})
  --rounds     of which the best counts (default $opt{rounds})
  --patience   what takes longer than that runs once (default $opt{patience})
  --only       ways whose name matches
  --directory  where files go (default: the system's for temporary files)
  --svg        draws a chart of it
  --note       what its reader should know besides machine and command
END
GetOptions( \%opt, 'processes=i', 'lines=i', 'rounds=i', 'patience=f', 'only=s', 'directory=s', 'svg=s', 'note=s',
    'help' )
  && !@ARGV
  or die $usage;
if ( $opt{help} ) { print $usage; exit 0 }
my ( $processes, $lines, $rounds ) = @opt{qw(processes lines rounds)};
$processes > 0 && $processes < 100 && $lines > 0 && $rounds > 0 or die $usage;

my $total = $processes * $lines;
my $batch = 100;

sub line {
    my ( $process, $n ) = @_;
    return sprintf "%02d %08d %s\n", $process, $n, 'x' x ( $length - 13 );
}

# Calls `$write` with each line of a process, made before the clock starts.
sub each_line {
    my ( $process, $write ) = @_;
    my @lines = map { line( $process, $_ ) } 1 .. $lines;
    return sub { $write->($_) for @lines };
}

sub each_batch {
    my ( $process, $write ) = @_;
    my @lines = map { line( $process, $_ ) } 1 .. $lines;
    return sub { $write->( splice @lines, 0, $batch ) while @lines };
}

# Processor time of another process so far, with all its threads.
sub cpu_of_process {
    my ($pid) = @_;
    my $nanoseconds = 0;
    for my $path ( glob "/proc/$pid/task/*/schedstat" ) {
        open my $fh, '<', $path or next;
        $nanoseconds += ( split ' ', readline $fh )[0];
    }
    return $nanoseconds / 1e9;
}

sub lines_of_file {
    my ($path) = @_;
    return sub {
        my ($account) = @_;
        open my $fh, '<', $path or die "$path: $!\n";
        $account->($_) while <$fh>;
    };
}

sub opened {
    my ( $mode, $path ) = @_;
    open my $fh, $mode, $path or die "$path: $!\n";
    return $fh;
}

sub written {
    my ( $fh, $line ) = @_;
    my $n = syswrite $fh, $line;
    defined $n && $n == length $line or die "write: $!\n";
}

sub ours {
    my ( $how, @where ) = @_;
    return sub {
        my ($directory) = @_;
        my $size = $total * ( $length + 8 + 3 ) + ( 1 << 20 );
        my ( $path, @options ) = map { ref $_ ? $_->($directory) : $_ } @where;
        my $log = Data::Log::Shared->new( $path, $size, @options );
        return {
            writer => sub {
                my ($process) = @_;
                return $how eq 'append'
                  ? each_line( $process, sub { defined $log->append( $_[0] ) or die "the log is full\n" } )
                  : each_batch( $process, sub { $log->append_multi(@_) or die "the log is full\n" } );
            },
            read => sub { $log->each_entry( $_[0] ) },
        };
    };
}

sub redis {
    my ($pipelined) = @_;
    return sub {
        my ($directory) = @_;
        my ( $server, $path ) = BenchRedis->start_server($directory);
        my $add = sub { [ 'XADD', 'log', '*', 'line', $_[0] ] };
        return {
            writer => sub {
                my ($process) = @_;
                my $redis = BenchRedis->connect($path);
                return $pipelined
                  ? each_batch(
                    $process,
                    sub {
                        $redis->commands( map { $add->($_) } @_ );
                    }
                  )
                  : each_line( $process, sub { $redis->commands( $add->( $_[0] ) ) } );
            },
            helper => $server,
            read   => sub {
                my ($account) = @_;
                my $redis     = BenchRedis->connect($path);
                my $from      = '-';
                while ( my @entries = @{ ( $redis->commands( [ 'XRANGE', 'log', $from, '+', 'COUNT', 1000 ] ) )[0] } ) {
                    $account->( $_->[1][1] ) for @entries;
                    $from = "($entries[-1][0]";
                }
            },
            end => sub {
                kill TERM => $server;
                waitpid $server, 0;
            },
        };
    };
}

# Each way: its name, what it lacks on this machine, and `begin`, which gives `writer` (for a process:
# what it does), `read` (calls its argument with each line), and perhaps `helper` (a process that takes
# part), `finish` (waits for that one) and `end`.
my @ways = (
    { name => 'Data::Log::Shared, memory',   own => 1, begin => ours( 'append',       undef ) },
    { name => "the same, batches of $batch", own => 1, begin => ours( 'append_multi', undef ) },
    { name => 'Data::Log::Shared, file',     own => 1, begin => ours( 'append',       sub { "$_[0]/log" } ) },
    {
        name  => 'syswrite, O_APPEND',
        begin => sub {
            my $path = "$_[0]/lines";
            return {
                writer => sub {
                    my $fh = opened( '>>', $path );
                    each_line( $_[0], sub { written( $fh, $_[0] ) } );
                },
                read => lines_of_file($path),
            };
        }
    },
    {
        name  => 'flock + syswrite',
        begin => sub {
            my $path = "$_[0]/lines";
            return {
                writer => sub {
                    my $fh = opened( '>>', $path );
                    each_line(
                        $_[0],
                        sub {
                            flock $fh, LOCK_EX or die "flock: $!\n";
                            written( $fh, $_[0] );
                            flock $fh, LOCK_UN or die "flock: $!\n";
                        }
                    );
                },
                read => lines_of_file($path),
            };
        }
    },
    {
        name  => 'open, write, close per line',
        begin => sub {
            my $path = "$_[0]/lines";
            return {
                writer => sub {
                    each_line(
                        $_[0],
                        sub {
                            my $fh = opened( '>>', $path );
                            print {$fh} $_[0];
                            close $fh or die "write: $!\n";
                        }
                    );
                },
                read => lines_of_file($path),
            };
        }
    },
    {
        name  => 'pipe to a logger process',
        begin => sub {
            my $path = "$_[0]/lines";
            pipe my $read,  my $write or die "pipe: $!\n";
            pipe my $known, my $tell  or die "pipe: $!\n";
            my $logger = fork // die "fork: $!\n";
            if ( !$logger ) {
                close $_ for $write, $known;
                my $fh = opened( '>>', $path );
                while ( my $n = sysread $read, my $bytes, 1 << 16 ) { written( $fh, $bytes ) }
                syswrite $tell, cpu_of_process($$);
                POSIX::_exit(0);
            }
            close $_ for $read, $tell;
            return {
                writer => sub {
                    each_line( $_[0], sub { written( $write, $_[0] ) } );
                },
                finish => sub {
                    close $write;
                    sysread $known, my $cpu, 100 or die "the logger died\n";
                    waitpid $logger, 0;
                    return $cpu;
                },
                read => lines_of_file($path),
            };
        }
    },
    {
        name  => 'SQLite, WAL',
        lacks => sub {
            eval { require DBD::SQLite } ? undef : 'DBD::SQLite';
        },
        begin => sub {
            my $path = "$_[0]/lines.sqlite";
            my $open = sub {
                my $db = DBI->connect( "dbi:SQLite:dbname=$path", '', '', { RaiseError => 1, PrintError => 0 } );
                $db->sqlite_busy_timeout(60_000);
                $db->do("PRAGMA $_") for 'journal_mode = WAL', 'synchronous = OFF';
                return $db;
            };
            my $db = $open->();
            $db->do('CREATE TABLE log (id INTEGER PRIMARY KEY, line TEXT)');
            $db->disconnect;
            return {
                writer => sub {
                    my $db     = $open->();
                    my $insert = $db->prepare('INSERT INTO log (line) VALUES (?)');
                    return each_line( $_[0], sub { $insert->execute( $_[0] ) } );
                },
                read => sub {
                    my ($account) = @_;
                    my $select = $open->()->prepare('SELECT line FROM log ORDER BY id');
                    $select->execute;
                    while ( my ($line) = $select->fetchrow_array ) { $account->($line) }
                },
            };
        }
    },
    {
        name  => 'LMDB',
        lacks => sub {
            eval { require LMDB_File } ? undef : 'LMDB_File';
        },
        begin => sub {
            my $path = "$_[0]/lmdb";
            mkdir $path or die "$path: $!\n";
            my $open = sub {
                LMDB::Env->new(
                    $path,
                    {
                        mapsize => 4 * $total * $length + ( 1 << 26 ),
                        flags   => LMDB_File::MDB_NOSYNC() | LMDB_File::MDB_WRITEMAP(),
                    }
                );
            };
            return {
                writer => sub {
                    my $env = $open->();
                    return each_line(
                        $_[0],
                        sub {
                            my ($line) = @_;
                            my $txn    = $env->BeginTxn;
                            my $db     = $txn->OpenDB;
                            my $cursor = $db->Cursor;
                            my ( $key, $last ) = pack 'N', 0;
                            eval { $cursor->get( $key, $last, LMDB_File::MDB_LAST() ) };
                            $db->put( pack( 'N', 1 + unpack 'N', $key ), $line, LMDB_File::MDB_APPEND() );
                            undef $cursor;
                            $txn->commit;
                        }
                    );
                },
                read => sub {
                    my ($account) = @_;
                    my $env       = $open->();
                    my $txn       = $env->BeginTxn( LMDB_File::MDB_RDONLY() );
                    my $cursor    = $txn->OpenDB->Cursor;
                    my ( $key, $line );
                    $account->($line) while eval { $cursor->get( $key, $line, LMDB_File::MDB_NEXT() ); 1 };
                },
            };
        }
    },
    (
        map {
            {
                %$_, lacks => sub { system('redis-server --version >/dev/null 2>&1') == 0 ? undef : 'redis-server' }
            }
        } { name => 'Redis Streams', begin => redis(0) },
        { name => "the same, pipelines of $batch", begin => redis(1) }
    ),
);
@ways = grep { $_->{name} =~ /$opt{only}/ } @ways if defined $opt{only};

sub account {
    my ($read) = @_;
    my @last = (0) x $processes;
    $read->(
        sub {
            my ( $process, $n ) = $_[0] =~ /\A([0-9]{2}) ([0-9]{8}) x+\n\z/;
            length $_[0] == $length && defined $n && $n == ++$last[$process]
              or die "a wrong line: $_[0]\n";
        }
    );
    $_ == $lines or die "$_ lines of a process instead of $lines\n" for @last;
}

# Seconds, and the processor time of all that took part.
sub once {
    my ($way)     = @_;
    my $directory = File::Temp->newdir( $opt{directory} ? ( DIR => $opt{directory} ) : ( TMPDIR => 1 ) );
    my $begun     = $way->{begin}->("$directory");
    my $before    = $begun->{helper} ? cpu_of_process( $begun->{helper} ) : 0;
    my @times     = together( $processes, $begun->{writer} );
    my $cpu       = cpu(@times);
    if ( $begun->{finish} ) {
        $cpu += $begun->{finish}->();
        push @times, { start => $times[0]{start}, end => BenchReport::wall_time() };
    }
    $cpu += cpu_of_process( $begun->{helper} ) - $before if $begun->{helper};
    account( $begun->{read} );
    $begun->{end}->() if $begun->{end};
    return ( wall(@times), $cpu );
}

$| = 1;
my $machine = machine();
my $work    = "$processes processes write $lines lines of $length bytes each";
my $command = command( 'bench/vs.pl', @given );
print "$work\n$machine\n\n";
for my $way (@ways) {
    my $lacking = $way->{lacks} && $way->{lacks}->();
    $way->{skipped} = "skipped: no $lacking" if $lacking;
}
for my $round ( 1 .. $rounds ) {
    for my $way ( grep { !$_->{skipped} } @ways ) {
        next                                                       if ( $way->{longest} // 0 ) > $opt{patience};
        print STDERR "\rround $round of $rounds: $way->{name}\e[K" if -t STDERR;
        my ( $wall, $cpu ) = once($way);
        $way->{wall}    = $wall if !$way->{wall}    || $wall < $way->{wall};
        $way->{cpu}     = $cpu  if !$way->{cpu}     || $cpu < $way->{cpu};
        $way->{longest} = $wall if !$way->{longest} || $wall > $way->{longest};
    }
}
print STDERR "\r\e[K" if -t STDERR;

printf "%-32s %14s %24s\n", '', 'lines', 'processor time of a line';
for my $way (@ways) {
    if ( $way->{skipped} ) {
        printf "%-32s %s\n", $way->{name}, $way->{skipped};
        next;
    }
    printf "%-32s %14s %21.2f us\n", $way->{name}, per_second( $total / $way->{wall} ), 1e6 * $way->{cpu} / $total;
}
print "\nEvery line was there afterwards, each process's in order. Best of $rounds rounds.\n";

if ( $opt{svg} ) {
    write_file(
        $opt{svg},
        bars(
            title => $work,
            notes => [ $machine, $command, $opt{note} // () ],
            x     => 'lines per second',
            bars  => [
                map  { [ $_->{name}, $total / $_->{wall}, per_second( $total / $_->{wall} ), $_->{own} ? 0 : 1 ] }
                grep { !$_->{skipped} } @ways
            ],
        )
    );
}
