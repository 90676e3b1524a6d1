use strict;
use warnings;

# A filesystem that is full, before or half-way: an exception, never a signal.

use Errno   qw(ENOSPC);
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

use Data::Log::Shared;

$> == 0 or plan skip_all => 'only root can mount';

my $SIZE = 4 << 20;
my @mounted;

END {
    local $?;
    system 'umount', $_ for reverse @mounted;
}

sub run { return system("@_ >/dev/null 2>&1") == 0 }

sub mounted {
    my ( $folder, @mount ) = @_;
    mkdir $folder;
    run( 'mount', @mount, $folder ) or return;
    push @mounted, $folder;
    return $folder;
}

sub loop_mounted {
    my ($make) = @_;
    my ($name) = $make =~ /(ext\d)/;
    my $image = scratch("$name.img");
    open my $file, '>', $image or die "$image: $!";
    truncate $file, 16 << 20 or die "truncate: $!";
    close $file;
    run("$make $image") or return;
    return mounted( scratch($name), "-o loop $image" );
}

my %filesystems = (
    tmpfs => sub { mounted( scratch('tmpfs'), '-t tmpfs -o size=8m none' ) },
    ext4 => sub { loop_mounted('mkfs.ext4 -q -m 0 -O ^has_journal') },
    # It cannot be asked to reserve space.
    ext2 => sub { loop_mounted('mkfs.ext2 -q -m 0') },
);

# Takes all space but so many bytes, in files that are not logs.
sub fill {
    my ( $folder, $leave ) = @_;
    my $block = "\1" x 4096;
    open my $file, '>', "$folder/filler" or die "filler: $!";
    $file->autoflush;
    1 while syswrite $file, $block;
    my $size = -s $file;
    $size > $leave or die "not even $leave bytes to leave\n";
    truncate $file, $size - $leave - $size % 4096 if $leave;
    close $file;
    return;
}

sub files {
    my ($folder) = @_;
    opendir my $dir, $folder or die "$folder: $!";
    return join ' ', sort grep { !/^(\.\.?|filler|lost\+found)$/ } readdir $dir;
}

# Runs in a child, so that a signal is a status and not the end of the test.
sub refused {
    my ( $name, $method, $code ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $got = from_child(
        sub {
            $! = 0;
            return 'nothing was thrown' if eval { $code->(); 1 };
            return ( $! == ENOSPC ? '' : "errno $! " ) . $@;
        }
    );
    return like( $got, qr/^Data::Log::Shared->$method: .*No space left on device/, $name );
}

sub full_disk {
    my ($folder) = @_;
    my %left = ( 'no byte' => 0, 'less than a page' => 4096, 'half of it' => $SIZE / 2 );

    subtest 'creating' => sub {
        for my $what ( sort keys %left ) {
            fill( $folder, $left{$what} );
            refused( "with $what left", new => sub { Data::Log::Shared->new( "$folder/new", $SIZE ) } );
            is( files($folder), '', '... leaves nothing' );
            spew( "$folder/empty", '' );
            refused( "in an empty file, with $what left",
                new => sub { Data::Log::Shared->new( "$folder/empty", $SIZE ) } );
            is( -s "$folder/empty", 0, '... leaves it empty' );
            unlink "$folder/empty";
            unlink "$folder/filler";
            my $log = Data::Log::Shared->new( "$folder/new", $SIZE );
            ok( defined $log->append('first'), '... and with space again it works' );
            $log->unlink;
        }
    };

    subtest 'a log that has its space' => sub {
        my $path = "$folder/log";
        my $log  = Data::Log::Shared->new( $path, $SIZE );
        $log->append("entry $_") for 1 .. 10;
        $log->sync;
        fill( $folder, 0 );
        my $all = sub {
            my $handle = Data::Log::Shared->new( $path, 1 );
            my $n      = 0;
            $n++ while defined $handle->append( 'x' x 3000 );
            $handle->sync;
            return $n . ' ' . $handle->entry_count;
        };
        my $n = int( ( $SIZE - 10 * 16 ) / 3008 );
        is( from_child($all), $n . ' ' . ( $n + 10 ),                'is filled to its end by an attacher' );
        is( from_child( sub { $log->reset; $log->entry_count } ), 0, 'can be reset' );
        is( from_child($all), int( $SIZE / 3008 ) . ' ' . int( $SIZE / 3008 ), '... and filled again' );
        undef $log;
        patch( $path, 512, 'another.' );
        is( from_child( sub { Data::Log::Shared->new( $path, 1 )->stats->{recoveries} } ), 1, 'can be recovered' );
        is(
            from_child( sub { Data::Log::Shared->new( $path, 1 )->entry_count } ),
            int( $SIZE / 3008 ),
            '... with all entries'
        );
        is( files($folder), 'log', 'there is nothing else' );
        unlink $path, "$folder/filler";
    };

    # A copy by cp --sparse, say: the header promises space that is not there.
    subtest 'a log that has lost its space' => sub {
        my $path = "$folder/log";
        my $log  = Data::Log::Shared->new( $path, $SIZE );
        $log->append("entry $_") for 1 .. 10;
        $log->sync;
        undef $log;
        my $head = substr slurp($path), 0, 8192;
        unlink $path;
        my $copy = "$folder/copy";
        spew( $copy, $head );
        truncate $copy, 4096 + $SIZE or die "truncate: $!";
        fill( $folder, 0 );
        refused( 'is not attached', new => sub { Data::Log::Shared->new( $copy, 1 ) } );
        is( substr( slurp($copy), 0, 8192 ), $head, '... and left as it was' );
        unlink "$folder/filler";
        is( from_child( sub { Data::Log::Shared->new( $copy, 1 )->entry_count } ), 10,
            '... until there is space' );
        unlink $copy;
    };

    subtest 'a sparse log' => sub {
        my $path = "$folder/sparse";
        for my $left ( 0, 1 << 20 ) {
            my $log = Data::Log::Shared->new( $path, 64 << 20, 0600, sparse => 1 );
            $log->append("entry $_") for 1 .. 10;
            $log->sync;
            fill( $folder, $left );
            my $more = sub {
                my ($handle) = @_;
                my $data = 'x' x 10_000;
                1 while defined $handle->append($data);
            };
            refused( 'meets the full disk in append', append => sub { $more->($log) } );
            refused( '... also at a large entry',     append => sub { $log->append( 'x' x 8e6 ) } );
            refused( '... and with another handle',
                append => sub { $more->( Data::Log::Shared->new( $path, 1 ) ) } );
            refused( '... and a batch', append_multi => sub { $log->append_multi( ( 'y' x 3000 ) x 1000 ) } );
            my $intact = sub {
                my ($handle) = @_;
                my @entries  = replay($handle);
                my @long     = grep { $_ ne 'x' x 10_000 } splice @entries, 10;
                return join ',', @entries, scalar @long;
            };
            my $whole = join ',', ( map { "entry $_" } 1 .. 10 ), 0;
            is( from_child( sub { $intact->($log) } ),        $whole,   'what was there is intact' );
            is( from_child( sub { $log->sync && 'synced' } ), 'synced', '... and can be synced' );
            is( from_child( sub { $intact->( Data::Log::Shared->new( $path, 1 ) ) } ), $whole,
                '... and attached' );
            patch( $path, 512, 'another.' );
            undef $log;
            is( from_child( sub { $intact->( Data::Log::Shared->new( $path, 1 ) ) } ),
                $whole, '... and recovered' );
            is(
                from_child(
                    sub { my $again = Data::Log::Shared->new( $path, 1 ); $again->reset; $again->entry_count }
                ),
                0,
                '... and reset'
            );
            unlink "$folder/filler";
            is( from_child( sub { defined Data::Log::Shared->new( $path, 1 )->append( 'z' x 1e6 ) && 'yes' } ),
                'yes', 'with space again it goes on' );
            is( files($folder), 'sparse', 'there is nothing else' );
            unlink $path;
        }
        # It gave its space back, and handles that had met the space stored to where none was any more.
        for my $damaged ( 0, 1 ) {
            my $log   = Data::Log::Shared->new( $path, 1 << 20, 0600, sparse => 1 );
            my $data  = 'x' x 4088;
            my $other = Data::Log::Shared->new( $path, 1 );
            my $all   = sub {
                my ($handle) = @_;
                my $n = 0;
                $n++ while defined $handle->append($data);
                return $n;
            };
            is( $all->($log), 256, 'a full sparse log' . ( $damaged ? ', its tail overwritten' : '' ) );
            $other->reset;
            is( $all->($other), 256, '... filled by another handle' );
            patch( $path, 128, 'no tail.' ) if $damaged;
            $log->reset;
            fill( $folder, 0 );
            for my $handle ( $log, $other ) {
                is( from_child( sub { $all->($handle) } ), 256, '... keeps its space over a reset' );
                $handle->reset;
            }
            unlink $path, "$folder/filler";
        }
        # A tail that pointed behind the log, and then back, had a handle believe that what it had passed by
        # had space; a reset up to such a tail zeroed what had none.
        my $tail  = sub { patch( $path, 128, pack 'Q', $_[0] << 28 | $_[1] ) };
        my %after = (
            'that is as it was again' => sub { $tail->( 0, 0 ) },
            'that goes with a reset'  => sub { $_[0]->reset },
        );
        for my $what ( sort keys %after ) {
            my $log = Data::Log::Shared->new( $path, 64 << 20, 0600, sparse => 1 );
            $log->append("entry $_") for 1 .. 10;
            my $meet = sub {
                $tail->( 12 << 20, 3 );
                $log->append('far behind') // die 'full';
                fill( $folder, 0 );
                $after{$what}->($log);
                1 while defined $log->append( 'z' x 1000 );
            };
            refused( "meets the full disk behind a damaged tail $what", append => $meet );
            unlink $path, "$folder/filler";
        }
        fill( $folder, 0 );
        refused( 'cannot be created without a block for its header',
            new => sub { Data::Log::Shared->new( $path, $SIZE, 0600, sparse => 1 ) } );
        is( files($folder), '', '... and leaves nothing' );
        unlink "$folder/filler";
    };
    return;
}

# Where a filesystem cannot be asked for space, the C library writes a zero into each block that seems
# empty: over the entries of others.
sub busy_disk {
    my ($folder) = @_;
    my $path     = "$folder/busy";
    my $log      = Data::Log::Shared->new( $path, 12 << 20, 0600, sparse => 1 );
    my $each     = 4000;
    my @pids     = map {
        my $letter = $_;
        in_child(
            sub {
                my $own = Data::Log::Shared->new( $path, 1 );
                $own->append( $letter x ( 100 + rand 1500 ) ) // die 'full' for 1 .. $each;
            }
        )
    } 'a' .. 'c';
    ok( reap(@pids), 'all are written' );
    my $wrong = 0;
    $log->each_entry( sub { $wrong++ if $_[0] !~ /^(.)\1+\z/ } );
    is( $wrong, 0, 'and read as they were written' );
    is_deeply( [ @{ $log->verify }{qw(entries damaged)} ], [ 3 * $each, 0 ], 'none is damaged' );
    unlink $path;
    return;
}

for my $name ( sort keys %filesystems ) {
    my $folder = $filesystems{$name}->();
  SKIP: {
        skip "no $name can be mounted here" if !$folder;
        subtest "writers that reserve space at once, on $name" => sub { busy_disk($folder) } if $name ne 'tmpfs';
        subtest "a full $name"                               => sub { full_disk($folder) };
    }
}

# Memory counts against no filesystem, but a limit on the size of files is met there, too.
subtest 'a limit' => sub {
    my $program = spew( scratch('limited.pl'), <<'END');
use Data::Log::Shared;
my ($where) = @ARGV;
my $new = sub { my ($size) = @_;
      $where eq 'anonymous' ? Data::Log::Shared->new( undef, $size )
    : $where eq 'memfd'     ? Data::Log::Shared->new_memfd( 'x', $size )
    :                         Data::Log::Shared->new( $where, $size );
};
print eval { $new->( 1 << 30 ); 1 } ? 'made' : $@;
print eval { $new->(10_000)->append('first'); 1 } ? 'works' : $@;
END
    my @perl = ( $^X, ( map { "-I$_" } grep { !ref } @INC ), $program );
    for my $where ( 'anonymous', 'memfd', scratch('limited') ) {
        open my $out, '-|', 'sh', '-c', 'ulimit -f 2048; exec "$@"', 'sh', @perl, $where or die "sh: $!";
        my $got = do { local $/; <$out> };
        close $out;
        is( $?, 0, "$where: no signal" );
        like( $got, qr/^Data::Log::Shared->new\w*: .*File too large.*works$/s, '... but an exception' );
    }
    is( -s scratch('limited'), 4096 + 10_000, 'nothing else is left' );
};

done_testing;
