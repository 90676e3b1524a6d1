use strict;
use warnings;

use IO::Socket::UNIX ();
use POSIX            ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $SIZE = 1000;

sub listing {
    opendir my $dir, scratch() or die $!;
    return join "\n", sort readdir $dir;
}

sub refused {
    my ( $path, $pattern, $name, $size ) = @_;
    $size //= $SIZE;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return subtest $name => sub {
        my $before  = -f $path ? slurp($path) : undef;
        my @state   = ( lstat $path )[ 0 .. 5, 7, 9 ];
        my $listing = listing();
        croaks(
            sub { Data::Log::Shared->new( $path, $size ) },
            'new', qr/\Q$path\E: .*(?:$pattern)/s,
            'is refused'
        );
        ok( !defined $before || slurp($path) eq $before, '... and left as it was, byte for byte' );
        is_deeply( [ ( lstat $path )[ 0 .. 5, 7, 9 ] ], \@state, '... in every respect' );
        is( listing(), $listing, '... with nothing beside it' );
    };
}

sub healed {
    my ( $path, $name ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return subtest $name => sub {
        my $log = eval { Data::Log::Shared->new( $path, $SIZE ) };
        ok( $log, 'becomes a log' ) or return diag($@);
        is( $log->data_size,       $SIZE,        'of the size asked for' );
        is( -s $path,              4096 + $SIZE, 'with the right length' );
        is( $log->entry_count,     0,            'empty' );
        is( $log->append('first'), 0,            'and usable' );
        undef $log;
        is_deeply( [ replay( Data::Log::Shared->new( $path, $SIZE ) ) ], ['first'], 'by others too' );
    };
}

sub sample {
    my ($name) = @_;
    my $path   = scratch($name);
    my $log    = Data::Log::Shared->new( $path, $SIZE );
    $log->append("entry $_") for 1 .. 5;
    return $path;
}

my $bytes = slurp( sample('sample') );

subtest 'what is no regular file' => sub {
    mkdir scratch('directory')                                                    or die $!;
    POSIX::mkfifo( scratch('fifo'), 0600 )                                        or die $!;
    my $socket = IO::Socket::UNIX->new( Local => scratch('socket'), Listen => 1 ) or die $!;
    refused( scratch($_), qr/regular file/, "a $_" ) for qw(directory fifo socket);
    refused( '/dev/null', qr/regular file/, 'a device' );
    refused( '/dev/zero', qr/regular file/, 'another device' );
};

subtest 'symlinks' => sub {
    my $log = sample('target');
    symlink $log, scratch('link') or die $!;
    my $before = slurp($log);
    refused( scratch('link'), qr/symlink/, 'a symlink to a log' );
    is( slurp($log), $before, 'the log behind it is untouched' );
    symlink scratch('nowhere'), scratch('dangling') or die $!;
    refused( scratch('dangling'), qr/symlink/, 'a symlink to nothing' );
    ok( !-e scratch('nowhere'), '... which stays nothing' );
    symlink 'loop', scratch('loop') or die $!;
    refused( scratch('loop'), qr/symlink/, 'a symlink to itself' );
};

{
    my $path = scratch('before');
    croaks( sub { Data::Log::Shared->new( "$path\0after", $SIZE ) },
        'new', qr/NUL/, 'a path with a NUL byte is refused' );
    ok( !-e $path, '... and nothing is made of what comes before it' );
}

subtest 'other files' => sub {
    refused( spew( scratch('note'), "a note\n" ),              qr/too small/, 'a short text' );
    refused( spew( scratch('text'), "line of text\n" x 1000 ), qr/magic/,     'a long text' );
    refused( spew( scratch('same'), 'x' x ( 4096 + $SIZE ) ),  qr/magic/,     'a file of the right length' );
    refused( spew( scratch('page'), "\xff" x 4096 ),           qr/magic/,     'a page of ones' );
    for my $version ( 1, 2 ) {
        my $mark = pack 'L', 0x4C4F4730 + $version;
        for my $length ( 200, 4096, 4096 + $SIZE, 20_000 ) {
            refused( spew( scratch("LOG$version-$length"), $mark . "\1" x ( $length - 4 ) ),
                qr/LOG$version/, "a LOG$version file of $length bytes" );
        }
        refused( spew( scratch("LOG$version-zero"), $mark . "\0" x ( 4096 + $SIZE - 4 ) ),
            qr/LOG$version/, "a LOG$version file that is zero else" );
    }
    my $swapped = reverse( substr $bytes, 0, 8 ) . substr $bytes, 8;
    refused(
        spew( scratch('swapped'), $swapped ),
        qr/byte order|magic/,
        'a log with its first word in the other byte order'
    );
};

subtest 'logs of another length than they say' => sub {
    refused( spew( scratch("cut-$_"), substr $bytes, 0, $_ ), qr/too small/, "cut to $_ bytes" )
        for 1, 100, 1000, 4095;
    refused( spew( scratch("cut-$_"), substr $bytes, 0, $_ ), qr/size|too small/, "cut to $_ bytes" )
        for 4096, 4097, 4096 + $SIZE - 1;
    refused( spew( scratch("padded-$_"), $bytes . "\0" x $_ ), qr/size/, "with $_ bytes more" ) for 1, 4096;
};

subtest 'what a killed creator may leave' => sub {
    healed( spew( scratch('empty'), '' ),                      'an empty file' );
    healed( spew( scratch('zeros'), "\0" x ( 4096 + $SIZE ) ), 'zeros of the right length' );
    {
        my $path = scratch('half-made');
        Data::Log::Shared->new( $path, $SIZE );
        patch( $path, 0, "\0" x 8 );
        healed( $path, 'a log without its magic' );
    }
    refused( spew( scratch("zeros-$_"), "\0" x $_ ), qr/magic|size|too small/, "zeros of length $_" )
        for 1, 100, 4096, 4096 + $SIZE - 1, 4096 + $SIZE + 1, 20_000;
    refused( spew( scratch('used'), "\0" x 8 . substr $bytes, 8 ),
        qr/magic/, 'a log with entries that lost its magic' );
    for my $at ( 4096, 4096 + $SIZE - 1 ) {
        my $path = spew( scratch("one-byte-$at"), "\0" x ( 4096 + $SIZE ) );
        patch( $path, $at, 'x' );
        refused( $path, qr/magic/, "zeros with one byte of data at $at" );
    }
};

SKIP: {
    skip 'only root can give files away', 1 if $> != 0;
    subtest 'files of another owner' => sub {
        for my $made ( [ empty => '' ], [ zeros => "\0" x ( 4096 + $SIZE ) ], [ 'half-made' => undef ] ) {
            my ( $what, $content ) = @$made;
            my $path = scratch("foreign-$what");
            if ( defined $content ) { spew( $path, $content ) }
            else                    { Data::Log::Shared->new( $path, $SIZE ); patch( $path, 0, "\0" x 8 ) }
            chown 65534, 65534, $path or die $!;
            refused( $path, qr/owner/, "$what: not made into a log" );
        }
        my $path = sample('foreign-log');
        chown 65534, 65534, $path or die $!;
        is( Data::Log::Shared->new( $path, $SIZE )->entry_count, 5, 'a whole log is attached, whoever owns it' );
    };
}

subtest 'files that may not be written' => sub {
    chmod 0755, scratch() or die $!;
    my $path = sample('read-only');
    chmod 0444, $path or die $!;
    my $before = slurp($path);
    my $error  = as_nobody(
        sub {
            open my $in, '<', $path or return 'unreachable';
            eval { Data::Log::Shared->new( $path, $SIZE ); 1 } and return 'attached';
            return ( $!{EACCES} ? 'EACCES ' : 'other ' ) . $@;
        }
    );
SKIP: {
        skip 'the temporary directory is closed to ordinary users', 2 if $error eq 'unreachable';
        like(
            $error,
            qr/^EACCES Data::Log::Shared->new: \Q$path\E: .*(?:read-only|Permission denied)/s,
            'a read-only log is refused'
        );
        is( slurp($path), $before, '... and left as it was' );
    }
};

# Growing a file beyond the limit is a signal by default, and so is writing there what was recovered.
subtest 'a file that the system does not let grow' => sub {
    my %made = (
        'no file'       => sub { },
        'an empty file' => sub { spew( $_[0], '' ) },
        'half-made'     => sub {
            Data::Log::Shared->new( $_[0], 1_000_000 );
            patch( $_[0], 0, "\0" x 8 );
            truncate $_[0], 4096 or die $!;
        },
        'to be recovered' => sub {
            my $log     = Data::Log::Shared->new( $_[0], 1_000_000 );
            my @offsets = map { $log->append( 'x' x 1000 ) } 1 .. 500;
            undef $log;
            patch( $_[0], 4096 + $offsets[20], "\0" x 1000 );
            patch( $_[0], 512,                 "\1" x 16 );
        },
    );
    for my $what ( sort keys %made ) {
        my $path = scratch("no-room-$what");
        $made{$what}->($path);
        my $before = -e $path ? slurp($path) : undef;
        my ( $status, $out, $err ) = perl_with_log( <<'PERL', $path );
            exec 'sh', '-c', 'ulimit -f 64; exec "$@"', 'sh', $^X, ( map { "-I$_" } @INC ), '-MData::Log::Shared',
                $0, $ARGV[0], 'limited'
                if @ARGV == 1;
            eval { Data::Log::Shared->new( $ARGV[0], 1_000_000 ); 1 } and exit;
            print $!{EFBIG} ? 'EFBIG' : "errno $!", ' ', $@;
PERL
        is( $status, 0, "$what: does not kill" );
        like( $out, qr/^EFBIG Data::Log::Shared->new: \Q$path\E: /, '... but is an error' );
        is( -e $path ? slurp($path) : undef, $before, '... and changes nothing' );
        my @beside = grep {/log-shared/} split /\n/, listing();
        is( "@beside", '', '... nor leaves anything under another name' );
    }
    my $log = Data::Log::Shared->new( scratch('no-room-to be recovered'), 1 );
    is( $log->entry_count, 20, 'without the limit the log is recovered' );
    ok( Data::Log::Shared->new( scratch("no-room-$_"), 1_000_000 ), "... and made of $_" )
        for 'an empty file', 'half-made';
};

done_testing;
