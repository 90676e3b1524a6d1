use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $path  = scratch('checked');
my @texts = map { "entry $_ of five" } 1 .. 5;

sub fresh_file {
    my (%options) = @_;
    Data::Log::Shared->unlink($path);
    my $log     = Data::Log::Shared->new( $path, 1000, 0600, %options );
    my @offsets = map { $log->append($_) } @texts;
    return ( $log, @offsets );
}

# Entries are found in the file by what they contain.
sub flip {
    my ( $file, $n, $mask ) = @_;
    my $bytes = slurp($file);
    my $at    = index $bytes, $texts[$n];
    $at > 0 or die "no $texts[$n] in $file";
    patch( $file, $at + 3, substr( $bytes, $at + 3, 1 ) ^ $mask );
    return;
}

subtest 'verify counts' => sub {
    for my $checksum ( 0, 1 ) {
        for my $where ( undef, scratch("counted-$checksum") ) {
            my $log = Data::Log::Shared->new( $where, 1000, 0600, checksum => $checksum );
            is_deeply( $log->verify, { entries => 0, bytes => 0, sealed => 0, damaged => 0 }, 'an empty log' );
            $log->append($_) for @texts;
            my $before = $log->tail_offset;
            is_deeply( $log->verify,
                { entries => 5, bytes => length join( '', @texts ), sealed => 0, damaged => 0 },
                'a used one' );
            is( $log->tail_offset, $before, 'it changes nothing' );
            is_deeply( [ replay($log) ], \@texts, '... at all' );
        }
    }
};

subtest 'which logs have checksums' => sub {
    my %is = (
        'a file'         => [ [ scratch('file') ],                               1 ],
        'memory'         => [ [undef],                                           0 ],
        'a file without' => [ [ scratch('without'), 1000, 0600, checksum => 0 ], 0 ],
        'a file with'    => [ [ scratch('with'), 1000, 0600, checksum => 1 ],    1 ],
        'memory with'    => [ [ undef, 1000, 0600, checksum => 1 ],              1 ],
        'memory without' => [ [ undef, 1000, 0600, checksum => 0 ],              0 ],
    );
    for my $what ( sort keys %is ) {
        my ( $arguments, $expected ) = @{ $is{$what} };
        $arguments->[1] //= 1000;
        my $log = Data::Log::Shared->new(@$arguments);
        is( $log->stats->{checksum}, $expected, $what );
    }
    my $log = Data::Log::Shared->new( scratch('without'), 1000, 0600, checksum => 1 );
    is( $log->stats->{checksum},                                      0, 'an existing log keeps its own way' );
    is( Data::Log::Shared->new_memfd( 'x', 1000 )->stats->{checksum}, 0, 'a memfd' );
};

subtest 'damage is found' => sub {
    for my $n ( 0 .. 4 ) {
        for my $mask ( "\x01", "\x80", "\xff" ) {
            my ($log) = fresh_file();
            flip( $path, $n, $mask );
            my $found = $log->verify;
            is( $found->{damaged}, 1, "in entry $n" );
            my @read = replay($log);
            is_deeply(
                [
                    grep {
                        my $text = $_;
                        grep { $_ eq $text } @texts
                    } @read
                ],
                [ @texts[ grep { $_ != $n } 0 .. 4 ] ],
                '... the others are read as ever'
            );
            undef $log;
            is( Data::Log::Shared->new( $path, 1000 )->verify->{damaged}, 1, '... another handle finds it, too' );
        }
    }
    my ($log) = fresh_file();
    my $sound = slurp($path);
    flip( $path, $_, "\x10" ) for 1, 3;
    is( $log->verify->{damaged}, 2, 'in two of them' );
    ok( defined $log->append('more'), 'the log goes on' );
    is( $log->verify->{damaged}, 2, '... and they stay the only ones' );
    my $used = index( $sound, $texts[4] ) + length $texts[4];
    patch( $path, 4096, substr $sound, 4096, $used - 4096 );
    is( $log->verify->{damaged}, 0, 'mended, there is no damage' );
};

subtest 'verify tells the places that hold no intact entry' => sub {
    my ( $log, @offsets ) = fresh_file();
    my @places;
    my $note = sub { push @places, [@_] };
    $log->verify($note);
    is_deeply( \@places, [], 'none in a sound log' );
    flip( $path, 1, "\1" );
    flip( $path, 3, "\1" );
    my $found = $log->verify($note);
    is_deeply(
        \@places,
        [ map { [ 'damaged', $offsets[$_], $offsets[ $_ + 1 ] - $offsets[$_] ] } 1, 3 ],
        'damaged ones, each with its offset and size'
    );
    is_deeply( $found, $log->verify, 'the counts are the same' );

    # The word of a slot that its writer has not committed: state 1, size in units.
    patch( $path, 4096 + $offsets[2], pack 'L', 1 << 30 | ( $offsets[3] - $offsets[2] ) / 4 );
    my $reader = Data::Log::Shared->new_readonly($path);
    @places = ();
    $reader->verify($note);
    is_deeply(
        $places[-1],
        [ 'unfinished', $offsets[2], $log->tail_offset - $offsets[2] ],
        'where a reader that may not close it has to stop'
    );
    Data::Log::Shared->new( $path, 1000 )->each_entry( sub { }, undef, 0 );
    @places = ();
    $log->verify($note);
    is_deeply(
        [ map { $_->[0] } @places ],
        [qw(damaged sealed damaged)],
        'closed, it is one sealed place among the damaged'
    );

    croaks( sub { $log->verify('note') }, 'verify', 'code reference', 'a callback that is none' );
    is( eval { $log->verify( sub { die "enough\n" } ); 1 }, undef, 'the callback may die' );
    is( $@, "enough\n", '... and its exception comes out' );
    croaks( sub { $log->verify( sub { $log->DESTROY } ) }, 'verify', 'not a live', 'a callback that destroys the handle' );
};

# A copy of a file is another file: its first user looks at every entry.
subtest 'a copy of a log that was synced and then damaged' => sub {
    for my $n ( 0 .. 4 ) {
        my ($log) = fresh_file();
        $log->sync;
        undef $log;
        my $copy = spew( scratch("synced-$n"), slurp($path) );
        flip( $copy, $n, "\x04" );
        my $opened = Data::Log::Shared->new( $copy, 1000 );
        is_deeply( [ replay($opened) ], [ @texts[ grep { $_ != $n } 0 .. 4 ] ], "all but entry $n" );
        is( $opened->entry_count, 4, '... are counted' );
        my $offset = $opened->append('more');
        is( ( $opened->read_entry($offset) )[0], 'more', '... and more can be appended' );
    }
};

subtest 'a copy of a log that was damaged and never synced' => sub {
    for my $n ( 0 .. 4 ) {
        my ($log) = fresh_file();
        undef $log;
        my $copy = spew( scratch("unsynced-$n"), slurp($path) );
        flip( $copy, $n, "\x04" );
        my $opened = Data::Log::Shared->new( $copy, 1000 );
        is_deeply( [ replay($opened) ], [ @texts[ 0 .. $n - 1 ] ], "ends before entry $n" );
        is( $opened->entry_count, $n, '... and is counted so' );
        $opened->append("new $_") for 1 .. 3;
        is_deeply(
            [ replay($opened) ],
            [ @texts[ 0 .. $n - 1 ], map { "new $_" } 1 .. 3 ],
            '... what was cut never comes back'
        );
        is( $opened->verify->{damaged}, 0, '... nothing damaged is left' );
    }
};

done_testing;
