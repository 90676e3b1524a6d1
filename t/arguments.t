use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $INF = 9**9**9;
my $NAN = $INF - $INF;

{

    package Counting;
    our $fetched = 0;
    sub TIESCALAR { my ( $class, $value ) = @_; return bless \$value, $class }
    sub FETCH     { $fetched++; my $value = ${ $_[0] }; return ref $value eq 'CODE' ? $value->() : $value }
    sub STORE     { die 'stored into' }

    package Stringy;
    use overload '""' => sub { $fetched++; return $_[0][0]->() }, fallback => 0;
}

{

    package Truthful;
    use overload 'bool' => sub { ${ $_[0] }->() }, fallback => 1;
    sub new { my ( $class, $code ) = @_; return bless \$code, $class }
}

sub tied_to {
    my ($value) = @_;
    tie my $scalar, 'Counting', $value;
    return \$scalar;
}

sub stringy {
    my ($code) = @_;
    return bless [$code], 'Stringy';
}

sub small_log { return Data::Log::Shared->new( undef, 1000 ) }

subtest 'sizes' => sub {
    my $path = scratch('sizes');
    my %bad  = (
        0         => qr/size 0\b.*less than 1/,
        -1        => qr/size -1\b.*less than 1/,
        -1e30     => qr/size -1/,
        0.9       => qr/size 0(?:\.9)?\b.*less than 1/,
        abc       => qr/size "abc" is not a number/,
        '10abc'   => qr/size "10abc" is not a number/,
        ''        => qr/size .*not a number/,
        2**50     => qr/size 1.*too large/,
        2**38 + 1 => qr/size 274877906945\b.*too large/,
        2**63     => qr/size .*too large/,
        2**64     => qr/size .*too large/,
        1e300     => qr/size .*too large/,
        $INF      => qr/size .*inf/i,
        -$INF     => qr/size .*inf/i,
        $NAN      => qr/size .*(?:nan|not a number)/i,
    );
    for my $size ( sort keys %bad ) {
        for my $number ( $size, $size =~ /^-?(?:\d|inf|nan)/i && $size !~ /abc/ ? 0 + $size : () ) {
            croaks( sub { Data::Log::Shared->new( undef, $number ) }, 'new', $bad{$size}, "new: size $size" );
            croaks( sub { Data::Log::Shared->new( $path, $number ) },
                'new', $bad{$size}, "new with a path: size $size" );
            croaks( sub { Data::Log::Shared->new_memfd( 'x', $number ) },
                'new_memfd', $bad{$size}, "new_memfd: size $size" );
        }
    }
    croaks( sub { Data::Log::Shared->new( undef, $_->[0] ) }, 'new', qr/size .*not a number/, "size: $_->[1]" )
        for [ undef, 'undef' ], [ [], 'an array' ], [ \'100', 'a reference' ];
    ok( !-e $path, 'no file was made' );

    my %good = ( '1e6' => 1_000_000, '1000.9' => 1000, '1' => 1, '1.99' => 1, ' 12' => 12, '4294967296' => 2**32 );
    for my $size ( sort keys %good ) {
        is( Data::Log::Shared->new( undef, $size )->data_size,     $good{$size}, qq{a size of "$size"} );
        is( Data::Log::Shared->new( undef, 0 + $size )->data_size, $good{$size}, '... as a number' );
    }
};

subtest 'modes' => sub {
    my $path = scratch('modes');
    # A fraction was cut off, which made a file of mode 0 that its maker could not open again.
    for my $mode ( '0660', 01000, 0100600, -1, -0.5, 0.5, 511.5, 2**32 + 0600, 'abc', '', 'rw', $INF, $NAN, [] ) {
        croaks( sub { Data::Log::Shared->new( $path, 100, $mode ) }, 'new', qr/mode/, "a mode of $mode" );
        ok( !-e $path, '... makes no file' );
    }
};

subtest 'options' => sub {
    my $path = scratch('options');
    for my $where ( $path, undef ) {
        croaks( sub { Data::Log::Shared->new( $where, 100, 0600, sparze => 1 ) },
            'new', qr/sparze/, 'an unknown option' );
        croaks( sub { Data::Log::Shared->new( $where, 100, 0600, sparse => 1, nope => undef ) },
            'new', qr/nope/, 'one after a known one' );
        croaks( sub { Data::Log::Shared->new( $where, 100, 0600, '' => 1 ) }, 'new', qr/option/, 'an empty one' );
        croaks( sub { Data::Log::Shared->new( $where, 100, 0600, 'sparse' ) },
            'new', qr/odd|option/i, 'an odd number' );
        croaks( sub { Data::Log::Shared->new( $where, 100, 0600, sparse => 1, 'checksum' ) },
            'new', qr/odd|option/i, 'an odd number of more' );
    }
    ok( !-e $path, 'no file was made' );

    # The option's name was looked at again after its value had been asked, whose code may change it.
    my $name;
    for my $change ( sub { substr( $name, 0, 6 ) = 'spoilt' }, sub { undef $name } ) {
        $name = join '', 'spa', 'rse';
        my $value = Truthful->new( sub { $change->(); 0 } );
        my $log   = eval { Data::Log::Shared->new( undef, 1000, undef, $name => $value ) };
        is( $@, '', 'a value whose overloading changes the name of its option' );
        is( $log && $log->stats->{sparse}, 0, '... is the value of that option' );
    }
};

subtest 'data that cannot be an entry' => sub {
    my $log = small_log();
    $log->append('good');
    croaks( sub { $log->append('') },    'append', qr/empty/, 'an empty string' );
    croaks( sub { $log->append(undef) }, 'append', qr/empty/, 'undef' );
    my ( $nothing, %hash, @array );
    no warnings 'uninitialized';
    croaks( sub { $log->append($nothing) },              'append', qr/empty/, 'an undefined variable' );
    croaks( sub { $log->append( $hash{key} ) },          'append', qr/empty/, 'a missing hash element' );
    croaks( sub { $log->append( $array[7] ) },           'append', qr/empty/, 'a missing array element' );
    croaks( sub { $log->append( substr 'abc', 1, 0 ) },  'append', qr/empty/, 'an empty substring' );
    croaks( sub { $log->append( ${ tied_to(undef) } ) }, 'append', qr/empty/, 'a tied undef' );
    croaks( sub { $log->append( ${ tied_to('') } ) },    'append', qr/empty/, 'a tied empty string' );
    croaks(
        sub {
            $log->append( stringy( sub { '' } ) );
        },
        'append',
        qr/empty/,
        'an object that is the empty string'
    );
    utf8::upgrade( my $wide = '' );
    croaks( sub { $log->append($wide) }, 'append', qr/empty/, 'no characters' );
    is_deeply( [ replay($log) ], ['good'], 'none of them reached the log' );
};

subtest 'data that runs code' => sub {
    my $log   = small_log();
    my @cases = (
        [ 'a tied scalar',           tied_to('tied'),                               'tied' ],
        [ 'a tied number',           tied_to(42),                                   '42' ],
        [ 'tied characters',         tied_to("\x{2603}"),                           "\x{2603}" ],
        [ 'an object',               \stringy( sub { 'object' } ),                  'object' ],
        [ 'an object of characters', \stringy( sub { "\x{2603}!" } ),               "\x{2603}!" ],
        [ 'an object that appends',  \stringy( sub { $log->append('in'); 'out' } ), 'out' ],
    );
    for my $case (@cases) {
        my ( $what, $value, $expected ) = @$case;
        $Counting::fetched = 0;
        $log->append($$value);
        is( $Counting::fetched,   1,         "$what is asked once" );
        is( ( replay($log) )[-1], $expected, '... and stored' );
    }
    is( utf8::is_utf8( ( replay($log) )[2] ), 1, 'characters stay characters' );
    my @before = replay($log);

    my $dying = stringy( sub { die "no string\n" } );
    ok( !eval { $log->append($dying); 1 }, 'an object that dies' );
    is( $@, "no string\n", '... with its own words' );
    my $tied = tied_to( sub { die { reason => 'object' } } );
    ok( !eval { $log->append($$tied); 1 }, 'a tied scalar that dies' );
    is_deeply( $@,               { reason => 'object' }, '... with its own object' );
    is_deeply( [ replay($log) ], \@before,               'the log is as it was' );
    ok( defined $log->append('on'), 'and goes on' );
};

subtest 'arguments that take the log away' => sub {
    my %ending = (
        'the last reference' => sub { undef ${ $_[0] } },
        'DESTROY'            => sub { ${ $_[0] }->DESTROY },
        'another log'        => sub { ${ $_[0] } = small_log() },
    );
    for my $how ( sort keys %ending ) {
        my %call = (
            append                => sub { my ( $l, $v ) = @_; $$l->append($$v) },
            'append of an object' => sub {
                my ( $l, $v ) = @_;
                $$l->append( stringy( sub { $$v } ) );
            },
            read_entry             => sub { my ( $l, $v ) = @_; $$l->read_entry($$v) },
            'read_entry, patience' => sub { my ( $l, $v ) = @_; $$l->read_entry( 0, $$v ) },
            each_entry             => sub {
                my ( $l, $v ) = @_;
                $$l->each_entry( sub { }, $$v );
            },
            wait_for            => sub { my ( $l, $v ) = @_; $$l->wait_for($$v) },
            'wait_for, seconds' => sub { my ( $l, $v ) = @_; $$l->wait_for( 7, $$v ) },
            truncate            => sub { my ( $l, $v ) = @_; $$l->truncate($$v) },
            eventfd_set         => sub { my ( $l, $v ) = @_; $$l->eventfd_set($$v) },
        );
        for my $method ( sort keys %call ) {
            my $log = small_log();
            $log->append('entry');
            $Counting::fetched = 0;
            my $value = tied_to( sub { $ending{$how}->( \$log ); 0 } );
            my $lived = eval { $call{$method}->( \$log, $value ); 1 };
            my $error = $@;
            ok( $Counting::fetched, "$method: $how goes away" );
            like( $error, qr/^Data::Log::Shared->\w+: .*Data::Log::Shared object/, '... and that is noticed' )
                if $how eq 'DESTROY';
            ok( $lived || $error =~ /^Data::Log::Shared->/, '... without any other harm' ) or diag $error;
        }
    }
};

subtest 'arguments are fetched once' => sub {
    my $log = small_log();
    $log->append('entry');
    my $path = scratch('fetched');
    my %call = (
        'read_entry, offset'   => [ 0, sub { $log->read_entry( ${ $_[0] } ) } ],
        'read_entry, patience' => [ 0, sub { $log->read_entry( 0, ${ $_[0] } ) } ],
        'each_entry, callback' => [
            sub {
                sub { }
            },
            sub { $log->each_entry( ${ $_[0] } ) }
        ],
        'each_entry, start' => [
            0,
            sub {
                $log->each_entry( sub { }, ${ $_[0] } );
            }
        ],
        'each_entry, patience' => [
            0,
            sub {
                $log->each_entry( sub { }, 0, ${ $_[0] } );
            }
        ],
        'wait_for, count'   => [ 0,        sub { $log->wait_for( ${ $_[0] } ) } ],
        'wait_for, seconds' => [ 0,        sub { $log->wait_for( 1, ${ $_[0] } ) } ],
        'truncate'          => [ 0,        sub { $log->truncate( ${ $_[0] } ) } ],
        'new, path'         => [ $path,    sub { Data::Log::Shared->new( ${ $_[0] }, 100 ) } ],
        'new, size'         => [ 100,      sub { Data::Log::Shared->new( undef,      ${ $_[0] } ) } ],
        'new, mode'         => [ 0600,     sub { Data::Log::Shared->new( undef,      100, ${ $_[0] } ) } ],
        'new, option'       => [ 'sparse', sub { Data::Log::Shared->new( undef, 100, 0600, ${ $_[0] }, 1 ) } ],
        'new, option value' => [ 1,     sub { Data::Log::Shared->new( undef, 100, 0600, sparse => ${ $_[0] } ) } ],
        'new_memfd, name'   => [ 'x',   sub { Data::Log::Shared->new_memfd( ${ $_[0] }, 100 ) } ],
        'new_memfd, size'   => [ 100,   sub { Data::Log::Shared->new_memfd( 'x',        ${ $_[0] } ) } ],
        'unlink, path'      => [ $path, sub { Data::Log::Shared->unlink( ${ $_[0] } ) } ],
    );
    for my $what ( sort keys %call ) {
        my ( $value, $code ) = @{ $call{$what} };
        my $tied = tied_to($value);
        $Counting::fetched = 0;
        ok( eval { $code->($tied); 1 }, "$what: a tied one is taken" ) or diag $@;
        is( $Counting::fetched, 1, '... and asked once' );
    }
    my $memfd = Data::Log::Shared->new_memfd( 'x', 100 );
    my $tied  = tied_to( $memfd->memfd );
    $Counting::fetched = 0;
    Data::Log::Shared->new_from_fd($$tied);
    is( $Counting::fetched, 1, 'new_from_fd' );
};

subtest 'a log in a tied variable' => sub {
    my $log  = small_log();
    my $tied = tied_to($log);
    is( $$tied->append('through it'), 0,            'can be used' );
    is( ( $log->read_entry(0) )[0],   'through it', '... as the log it is' );
};

subtest 'numbers that are none' => sub {
    my $log = small_log();
    $log->append('entry');
    no warnings 'uninitialized';
    for my $junk ( 'abc', '', '1x', undef, $NAN, [] ) {
        my $shown = defined $junk ? qq{"$junk"} : 'undef';
        croaks( sub { $log->read_entry($junk) },    'read_entry', qr/number/,      "offset $shown" );
        croaks( sub { $log->truncate($junk) },      'truncate',   qr/number/,      "truncation $shown" );
        croaks( sub { $log->wait_for( $junk, 0 ) }, 'wait_for',   qr/number/,      "count $shown" );
        croaks( sub { $log->wait_for( 1, $junk ) }, 'wait_for',   qr/number|nan/i, "seconds $shown" )
            if defined $junk;
    }
    is_deeply( [ replay($log) ], ['entry'], 'the log is as it was' );
};

# False is the empty string to those who ask for its characters, so a poll with it was no number.
subtest 'truth values are numbers' => sub {
    my $log = small_log();
    $log->append('entry') for 1 .. 2;
    is( $log->wait_for( 2, !!0 ), 0, 'wait_for' );
    is( $log->wait_for( 2, 1 == 0 ), 0, '... with the result of a comparison' );
    is( $log->wait_for( !!0, 0 ), 1, '... as count' );
    is( $log->truncate( 1 == 0 ), 0, 'truncate' );
    is( ( $log->read_entry( !!0, !!0 ) )[0], 'entry', 'read_entry' );
    my $calls = 0;
    $log->each_entry( sub { $calls++ }, !!0, !!0 );
    is( $calls, 2, 'each_entry' );
    is( Data::Log::Shared->new( undef, !!1 )->data_size, 1, 'new' );
};

# Undef was the empty path, and removing what is not there is a success.
subtest 'unlink of no path' => sub {
    my $tied = tied_to(undef);
    croaks( sub { Data::Log::Shared->unlink($_) }, 'unlink', qr/undef/, 'undef is refused' ) for undef, $$tied;
};

subtest 'fds that are none' => sub {
    my $memfd = Data::Log::Shared->new_memfd( 'x', 100 );
    my $log   = small_log();
    open my $closed, '<', '/dev/null' or die $!;
    my $number = fileno $closed;
    close $closed;
    no warnings 'uninitialized';
    for my $fd ( -1, -2, $number, 1_000_000, 2**31, 2**32, 2**32 + $memfd->memfd,
        2**64, 1e300, $INF, $NAN, 'abc', '', undef, [] ) {
        my $shown = $fd // 'undef';
        croaks( sub { Data::Log::Shared->new_from_fd($fd) }, 'new_from_fd', qr//, "new_from_fd: $shown" );
        croaks( sub { $log->eventfd_set($fd) },              'eventfd_set', qr//, "eventfd_set: $shown" );
    }
    is( $log->fileno, -1, 'no eventfd was set' );
    local $! = 0;
    ok( !eval { Data::Log::Shared->new_from_fd($number) }, 'a closed fd' );
    ok( $!{EBADF},                                         '... gives EBADF' );
};

subtest 'wrong numbers of arguments' => sub {
    my $log = small_log();
    my @none =
        qw(tail_offset entry_count data_size available reset truncation sync path memfd fileno eventfd notify
        eventfd_consume stats);
    my %wrong = (
        ( map { $_ => [ [1] ] } @none ),
        append      => [ [], [ 1,       2 ] ],
        read_entry  => [ [], [ 0,       0, 0 ] ],
        each_entry  => [ [], [ sub { }, 0, 0, 0 ] ],
        wait_for    => [ [], [ 0,       0, 0 ] ],
        truncate    => [ [], [ 0,       0 ] ],
        eventfd_set => [ [], [ 0,       0 ] ],
        verify      => [ [ sub { }, 0 ] ],
    );
    for my $method ( sort keys %wrong ) {
        for my $arguments ( @{ $wrong{$method} } ) {
            ok( !eval { $log->$method(@$arguments); 1 }, "$method with " . @$arguments );
            like( $@, qr/usage.*\b$method\b/i, '... says how it is used' );
        }
    }
    for my $call (
        ['new'], [ 'new', undef ],
        ['new_memfd'],
        [ 'new_memfd', 'x' ],
        [ 'new_memfd', 'x', 1, 2 ],
        ['new_from_fd'], [ 'new_from_fd', 1, 2 ]
    ) {
        my ( $method, @arguments ) = @$call;
        ok( !eval { Data::Log::Shared->$method(@arguments); 1 }, "$method with " . @arguments );
        like( $@, qr/usage.*\b$method\b/i, '... says how it is used' );
    }
    is( $log->entry_count, 0, 'none of them did anything' );
};

done_testing;
