use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

{

    package Stringy;
    use overload '""' => sub { ${ $_[0] }->() }, fallback => 0;
    sub new { my ( $class, $code ) = @_; return bless \$code, $class }

    package Tied;
    sub TIESCALAR { my ( $class, $code ) = @_; return bless \$code, $class }
    sub FETCH     { return ${ $_[0] }->() }
    sub STORE     { die 'stored into' }
}

sub stringy { my ($code) = @_; return Stringy->new($code) }
sub new_log { return Data::Log::Shared->new( undef, 100_000, undef, @_ ) }

subtest 'offsets or their number' => sub {
    for my $checksum ( 0, 1 ) {
        my $log     = new_log( checksum => $checksum );
        my @data    = ( 'one', 'x' x 1000, "\0", 'four', "\x{2603}", "caf\xe9", 7, 1.5 );
        my @offsets = $log->append_multi(@data);
        is_deeply( [ map { ( $log->read_entry($_) )[0] } @offsets ], \@data, 'each offset reads its entry' );
        is_deeply( [ replay($log) ],                                 \@data, 'they stand one behind the other' );
        is_deeply(
            [ map { utf8::is_utf8($_) ? 1 : 0 } replay($log) ],
            [ 0, 0, 0, 0, 1, 0, 0, 0 ],
            '... as they were'
        );
        is( scalar $log->append_multi( 'a' .. 'e' ), 5, 'in scalar context their number' );
        is_deeply( [ $log->append_multi('single') ], [ $log->tail_offset - 16 ], 'a single one' );
        is( $log->entry_count,       14, 'all are counted' );
        is( $log->verify->{entries}, 14, '... and whole' );
        is( $log->stats->{appends},  14, '... each an append' );
        is_deeply( [ $log->append_multi ], [], 'nothing to add: the empty list' );
        is( scalar $log->append_multi(), 0,  '... or 0' );
        is( $log->entry_count,           14, '... and nothing is added' );
        $log->append_multi( 'in', 'void' );
        is( $log->entry_count, 16, 'in void context as well' );
    }
    my $log = new_log();
    is( scalar( my @all = $log->append_multi( ('x') x 5000 ) ), 5000, 'a great many' );
    is_deeply( [ replay($log) ], [ ('x') x 5000 ], '... are all there' );
};

subtest 'all or nothing where there is little room' => sub {
    my $log = Data::Log::Shared->new( undef, 100 );
    $log->append( 'x' x 12 );
    is_deeply( [ $log->append_multi( ( 'y' x 12 ) x 5 ) ], [], 'five do not fit: the empty list' );
    is( scalar $log->append_multi( ( 'y' x 12 ) x 5 ), 0, '... or 0' );
    is_deeply( [ replay($log) ], [ 'x' x 12 ], '... and none is there' );
    is( $log->tail_offset, 20, '... nor has any taken room' );
    is_deeply( [ $log->append_multi( ( 'y' x 12 ) x 4 ) ], [ 20, 40, 60, 80 ], 'four do' );
    is( $log->available, 0, '... exactly' );
};

subtest 'every element is checked before any is added' => sub {
    my $log = new_log();
    no warnings 'uninitialized';
    for my $bad ( '', undef, stringy( sub { '' } ), stringy( sub { undef } ) ) {
        for my $batch ( [ $bad, 'a', 'b' ], [ 'a', $bad, 'b' ], [ 'a', 'b', $bad ], [$bad] ) {
            croaks( sub { $log->append_multi(@$batch) }, 'append_multi', qr/empty/, 'an empty element' );
        }
    }
    my $dying = stringy( sub { die "no string\n" } );
    ok( !eval { $log->append_multi( 'a', $dying, 'b' ); 1 }, 'an element that dies' );
    is( $@,                 "no string\n", '... with its own words' );
    is( $log->tail_offset,  0,             'nothing was added' );
    is( $log->append('on'), 0,             'the log goes on' );
};

# The strings were taken as they stood on the stack, where the code of one argument could change or free
# what came before it.
subtest 'arguments that change the others' => sub {
    my ( $before, $behind, @array );
    my %change = (
        'shortens'     => sub { $_ = 'x' for $before, $behind },
        'overwrites'   => sub { substr( $_, 0, 6 ) = 'spoilt' for $before, $behind },
        'undefines'    => sub { undef $_ for $before, $behind },
        'makes number' => sub { $_ = 12_345 for $before, $behind },
        'makes object' => sub { $_ = []     for $before, $behind },
        'lengthens'    => sub { $_ x= 50 for $before, $behind },
    );
    for my $how ( sort keys %change ) {
        for my $kind ( 'an object', 'a tied scalar' ) {
            my $log  = new_log();
            my $code = sub { $change{$how}->(); 'middle' };
            $_ = join '', 'abc' x 1000, $how for $before, $behind;
            my $expected = [ $before, 'middle', $behind ];
            tie my $tied, 'Tied', $code;
            my @offsets
                = $kind eq 'an object'
                ? $log->append_multi( $before, stringy($code), $behind )
                : $log->append_multi( $before, $tied,          $behind );
            is( scalar @offsets, 3, "$kind $how what is beside it" );
            is_deeply( [ replay($log) ], $expected, '... and each is stored as it was' );
        }
    }

    # Elements of an array are on the stack without a reference of their own.
    for my $kind ( 'an object', 'a tied element' ) {
        my $log  = new_log();
        my $code = sub {
            @array = ();
            my @other = map { "other $_" x 100 } 1 .. 50;
            'middle';
        };
        @array = ( 'first' x 100, 'placeholder', 'last' x 100, stringy( sub { 'stringy' } ) );
        if ( $kind eq 'an object' ) { $array[1] = stringy($code) }
        else                        { tie $array[1], 'Tied', $code }
        is( scalar $log->append_multi(@array), 4, "$kind empties the array" );
        is_deeply( [ replay($log) ], [ 'first' x 100, 'middle', 'last' x 100, 'stringy' ], '... to no avail' );
    }
    my $text = 'text' x 100;
    my $log  = new_log();
    $log->append_multi( $text, $text, stringy( sub { 'x' } ) );
    is( $text, 'text' x 100, q{the caller's own are not modified} );
};

subtest 'arguments that take the log away' => sub {
    my $log = new_log();
    croaks(
        sub {
            $log->append_multi( 'a', stringy( sub { $log->DESTROY; 'b' } ), 'c' );
        },
        'append_multi',
        qr/Data::Log::Shared object/,
        'DESTROY'
    );
    $log = new_log();
    is( scalar $log->append_multi( 'a', stringy( sub { undef $log; 'b' } ) ), 2, 'the last reference' );
    $log = new_log();
    is( scalar $log->append_multi( 'a', stringy( sub { $log->append('first'); 'b' } ) ), 2, 'an append' );
    is_deeply( [ replay($log) ], [qw(first a b)], '... is before all' );
};

subtest 'others see a batch whole, also of a killed writer' => sub {
    my ( $members, $rounds ) = ( 5, 12 );
    my $log     = Data::Log::Shared->new( undef, 50_000_000 );
    my $content = sub { my ( $writer, $n, $i ) = @_; return join ':', $writer, $n, $i, 'x' x ( 2000 * $i ) };
    my $write   = sub {
        my ( $writer, $limit ) = @_;
        for my $n ( 1 .. $limit ) {
            my @batch = map { $content->( $writer, $n, $_ ) } 1 .. $members;
            $log->append_multi(@batch) or die 'full';
        }
    };
    my @wrong;
    my $check = sub { my $count = $log->entry_count; push @wrong, $count if $count % $members };
    for my $round ( 1 .. $rounds ) {
        my $before = $log->entry_count;
        my @pids = map {
            my $writer = "$round-$_";
            in_child( sub { $write->( $writer, 50 ) } )
        } 1, 2;
        wait_until( sub { $check->(); $log->entry_count >= $before + $round * $members } );
        kill KILL => $pids[0];
        waitpid $pids[0], 0;
        $check->();
        ok( reap( $pids[1] ), "round $round: another writer is not disturbed" );
    }
    $log->append('the end');
    my ( @seen, $pos );
    $pos = 0;
    wait_until(
        sub {
            while ( my ( $data, $next ) = $log->read_entry( $pos, 0 ) ) { push @seen, $data; $pos = $next }
            return @seen && $seen[-1] eq 'the end';
        }
    );
    pop @seen;
    is_deeply( \@wrong, [], 'every count was one of whole batches' );
    is( @seen % $members, 0, '... and so is the last' );
    my @broken;
    while ( my @batch = splice @seen, 0, $members ) {
        my ( $writer, $n ) = split /:/, $batch[0];
        push @broken, "$writer:$n" if grep { $batch[ $_ - 1 ] ne $content->( $writer, $n, $_ ) } 1 .. $members;
    }
    is_deeply( \@broken, [], 'each stands together, in its order' );
};

subtest 'a batch in a file' => sub {
    my $path = scratch('batch');
    my $copy = scratch('copy');
    my $make = sub {
        Data::Log::Shared->unlink($_) for $path, $copy;
        my $log = Data::Log::Shared->new( $path, 10_000 );
        $log->append('before');
        return ( $log, $log->append_multi( 'one', 'two', 'three' ) );
    };
    my ( $log, @offsets ) = $make->();
    $log->sync;
    undef $log;
    spew( $copy, slurp($path) );
    is_deeply(
        [ replay( Data::Log::Shared->new( $copy, 1 ) ) ],
        [qw(before one two three)],
        'survives a recovery'
    );

    for my $n ( 0 .. 2 ) {
        ( $log, @offsets ) = $make->();
        $log->append('behind');
        undef $log;
        spew( $copy, slurp($path) );
        patch( $copy, 4096 + $offsets[$n] + 8, '!' );
        my $recovered = Data::Log::Shared->new( $copy, 1 );
        is_deeply( [ replay($recovered) ], ['before'], "... or none of it does, where only member $n was lost" );
        is( $recovered->append('new'), $offsets[0], '... and its room is used again' );
    }
};

done_testing;
