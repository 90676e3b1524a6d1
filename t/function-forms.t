use strict;
use warnings;

use B      ();
use Config ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared qw(log_append log_next log_read);

{

    package Stringy;
    use overload '""' => sub { ${ $_[0] }->() }, fallback => 0;
    sub new { my ( $class, $code ) = @_; return bless \$code, $class }

    package Tied;
    our $fetched = 0;
    sub TIESCALAR { my ( $class, $value ) = @_; return bless \$value, $class }
    sub FETCH     { $fetched++;                 return ${ $_[0] } }
    sub STORE     { die 'stored into' }

    package Changing;
    sub TIESCALAR { my ( $class, @values ) = @_; return bless \@values, $class }
    sub FETCH     { return shift @{ $_[0] } }

    package My::Log;
    our @ISA = ('Data::Log::Shared');
    sub append { return 'overridden' }
}

sub new_log { return Data::Log::Shared->new( undef, 100_000 ) }

sub log_of {
    my $log = new_log();
    $log->append($_) for @_;
    return $log;
}

# The names of the ops that the code was compiled to.
sub ops {
    my ($code) = @_;
    my ( %seen, $walk );
    $walk = sub {
        my ($op) = @_;
        $seen{ $op->name }++;
        return if !( $op->flags & B::OPf_KIDS() );
        for ( my $kid = $op->first; $$kid; $kid = $kid->sibling ) { $walk->($kid) }
    };
    $walk->( B::svref_2object($code)->ROOT );
    return \%seen;
}

subtest 'simple calls are ops of their own' => sub {
    our ( $log, $cursor, $data );
    my $my = $log;
    for my $code (
        sub { log_append( $log, $data ) },
        sub { log_append( $my,  'constant' ) },
        sub { log_append( $log, "text $data" ) },
        sub { log_next($cursor) }
        )
    {
        my $ops = ops($code);
        ok( $ops->{log_append} || $ops->{log_next}, 'the op is there' );
        ok( !$ops->{entersub},                      '... and no call' );
    }
    my ( @list, %hash );
    for my $code (
        sub { log_append(@list) },
        sub { log_append( $log, @list ) },
        sub { log_append( $log, $hash{key} ) },
        sub { log_append( $log, new_log() ) },
        sub { log_append($log) },
        sub { log_append( $log, $data, $data ) },
        sub { &log_append( $log, $data ) },
        sub { log_next( $cursor, 1 ) },
        sub { log_next() }
        )
    {
        my $ops = ops($code);
        ok( $ops->{entersub},                         'any other is a call' );
        ok( !$ops->{log_append} && !$ops->{log_next}, '... and no op' );
    }
};

# Each as a function and as a method, on logs of their own.
subtest 'log_append does what append does' => sub {
    'captured' =~ /(.+)/;
    my ( $one, @array, %hash ) = ('one');
    @array = ( 'in an array', 'second' );
    %hash  = ( key => 'in a hash' );
    our $global = 'global';
    my %calls = (
        'a constant'             => [ sub { log_append( $_[0], 'constant' ) }, sub { $_[0]->append('constant') } ],
        'a number'               => [ sub { log_append( $_[0], 42 ) },         sub { $_[0]->append(42) } ],
        'a variable'             => [ sub { log_append( $_[0], $one ) },       sub { $_[0]->append($one) } ],
        'a package variable'     => [ sub { log_append( $_[0], $global ) },    sub { $_[0]->append($global) } ],
        'an interpolated string' => [ sub { log_append( $_[0], "a $one b" ) }, sub { $_[0]->append("a $one b") } ],
        'a concatenation' => [ sub { log_append( $_[0], $one . 'x' ) }, sub { $_[0]->append( $one . 'x' ) } ],
        'join'    => [ sub { log_append( $_[0], join ',', @array ) }, sub { $_[0]->append( join ',', @array ) } ],
        'sprintf' =>
            [ sub { log_append( $_[0], sprintf '%03d', 7 ) }, sub { $_[0]->append( sprintf '%03d', 7 ) } ],
        'an element'        => [ sub { log_append( $_[0], $array[1] ) },   sub { $_[0]->append( $array[1] ) } ],
        'a value of a hash' => [ sub { log_append( $_[0], $hash{key} ) },  sub { $_[0]->append( $hash{key} ) } ],
        'a missing value'   => [ sub { log_append( $_[0], $hash{none} ) }, sub { $_[0]->append( $hash{none} ) } ],
        'a capture'         => [ sub { log_append( $_[0], $1 ) },          sub { $_[0]->append($1) } ],
        'a substring' => [ sub { log_append( $_[0], substr $one, 1 ) }, sub { $_[0]->append( substr $one, 1 ) } ],
        'characters'  => [ sub { log_append( $_[0], "\x{2603}" ) },     sub { $_[0]->append("\x{2603}") } ],
        'an array of one' =>
            [ sub { log_append( $_[0], @array[ 0 .. 0 ] ) }, sub { $_[0]->append( @array[ 0 .. 0 ] ) } ],
        'all in a list'  => [ sub { log_append(@_) },   sub { $_[0]->append( @_[ 1 .. $#_ ] ) }, 'listed' ],
        'the current @_' => [ sub { &log_append },      sub { $_[0]->append( $_[1] ) },          'handed on' ],
        'goto'           => [ sub { goto &log_append }, sub { $_[0]->append( $_[1] ) },          'handed on' ],
        'by reference'   => [ sub { ( \&log_append )->( $_[0], $one ) }, sub { $_[0]->append($one) } ],
        'an ampersand'   => [ sub { &log_append( $_[0], $one ) },        sub { $_[0]->append($one) } ],
        'no parentheses' => [ sub { log_append $_[0], $one },            sub { $_[0]->append($one) } ],
        'compiled at run time' =>
            [ sub { eval 'log_append( $_[0], $one )' // die $@ }, sub { $_[0]->append($one) } ],
        'empty data'        => [ sub { log_append( $_[0], '' ) },    sub { $_[0]->append('') } ],
        'undef'             => [ sub { log_append( $_[0], undef ) }, sub { $_[0]->append(undef) } ],
        'no data'           => [ sub { log_append( $_[0] ) },        sub { $_[0]->append() } ],
        'too much data'     => [ sub { log_append( $_[0], 1, 2 ) },  sub { $_[0]->append( 1, 2 ) } ],
        'what does not fit' =>
            [ sub { log_append( $_[0], $global x 1e5 ) }, sub { $_[0]->append( $global x 1e5 ) } ],
    );
    no warnings 'uninitialized';
    for my $what ( sort keys %calls ) {
        my ( $function, $method, @more ) = @{ $calls{$what} };
        my @results = map {
            my $log      = log_of('before');
            my @returned = eval { $_->( $log, @more ) };
            my $error    = $@ =~ s/ at .*//sr;
            my @scalar   = eval { scalar $_->( $log, @more ) };
            [   \@returned, $error =~ s/log_//r,
                \@scalar,
                [ replay($log) ],
                [ map { utf8::is_utf8($_) } replay($log) ]
            ];
        } $function, $method;
        is_deeply( $results[0], $results[1], $what );
    }
    is( exists $hash{none}, '', 'a missing value stays missing' );
};

subtest 'values are independent of each other' => sub {
    my $log  = new_log();
    my $data = 'data';
    my @two  = ( log_append( $log, $data ), log_append( $log, $data ) );
    is_deeply( \@two, [ 0, 12 ], 'two calls in one list' );
    is_deeply( [ map { log_append( $log, $data ) } 1 .. 3 ], [ 24, 36, 48 ], 'one in map' );
    my @refs = map { \log_append( $log, $data ) } 1 .. 3;
    is_deeply( [ map { $$_ } @refs ], [ 60, 72, 84 ], 'references' );
    my ( $first, undef, $third ) = ( log_append( $log, $data ), 7, log_append( $log, $data ) );
    is( "$first $third", '96 108', 'list assignment' );
    my $join = sub { join ' ', @_ };
    is( $join->( log_append( $log, $data ), log_append( $log, $data ) ), '120 132', 'arguments' );

    my $descend;
    $descend = sub {
        my ($n) = @_;
        return $n ? ( log_append( $log, $data ), $descend->( $n - 1 ), log_append( $log, $data ) ) : ();
    };
    is_deeply( [ $descend->(3) ], [ 144, 156, 168, 180, 192, 204 ], 'recursion' );
    for my $offset ( log_append( $log, $data ) ) { $offset = 'changed' }
    is( log_append( $log, $data ), 228, 'one that was changed' );
    my %hash = ( offset => log_append( $log, $data ), more => log_append( $log, $data ) );
    is_deeply( \%hash, { offset => 240, more => 252 }, 'in a hash' );
    my $sum = log_append( $log, $data ) + log_append( $log, $data );
    is( $sum,                                           264 + 276, 'in an expression' );
    is( ( log_append( $log, $data ) // die ) && 'true', 'true',    'as condition' );
};

# A call out of an op came back to the statement before, once it had gone the slow way.
subtest 'after any call the program goes on where it was' => sub {
    my $log    = new_log();
    my $number = 42;
    my $object = Stringy->new( sub { log_append( $log, $number ); 'object' } );
    tie my $tied, 'Tied', 'tied';
    my $cursor = $log->cursor;
    tie my $tied_cursor, 'Tied', $cursor;
    tie my $tied_log,    'Tied', $log;
    my @ran;
    push @ran, 'first';
    log_append( $log, $number );
    push @ran, 'after a number';
    log_append( $log, $object );
    push @ran, 'after an object';
    log_append( $log, $tied );
    push @ran, 'after a tied one';
    log_append( $tied_log, $number );
    push @ran, 'after a tied log';
    log_next($tied_cursor);
    push @ran, 'after a tied cursor';
    is_deeply(
        \@ran,
        [ 'first', map { "after $_" } 'a number', 'an object', 'a tied one', 'a tied log', 'a tied cursor' ],
        'statements run once'
    );
    is_deeply( [ replay($log) ], [ 42, 42, 'object', 'tied', 42 ], '... and so do the calls' );

    my ( $turns, $sum ) = ( 0, 0 );
    for my $n ( 1 .. 5 ) { $turns++; $sum += 1 + log_append( $log, $n ) * 0 }
    is( "$turns $sum", '5 5', 'in a loop' );
    $turns = 0;
    $turns++ if defined log_append( $log, $number ) && defined log_append( $log, $object );
    is( $turns, 1, 'in a condition' );
    my @sorted = sort { log_append( $log, $number ); $a <=> $b } 3, 1, 2;
    is_deeply( \@sorted, [ 1, 2, 3 ], 'in a sort block' );
    my @two = ( log_append( $log, $number ), log_append( $log, $number ) );
    is( $two[1] - $two[0], 12, 'two in a list' );

    my $deadly = Stringy->new( sub { die "no string\n" } );
    @ran = ();
    for my $turn ( 1 .. 2 ) {
        push @ran, 'before';
        eval { push @ran, 'inside'; log_append( $log, $deadly ); push @ran, 'not reached' };
        push @ran, $@;
    }
    is_deeply( \@ran, [ ( 'before', 'inside', "no string\n" ) x 2 ], 'an exception leaves by its eval' );
};

subtest 'operands that run code' => sub {
    my $log = new_log();
    tie my $tied, 'Tied', 'tied';
    $Tied::fetched = 0;
    log_append( $log, $tied );
    is( $Tied::fetched, 1, 'a tied one is asked once' );
    tie my $tied_log, 'Tied', $log;
    is( log_append( $tied_log, 'through it' ), 12, 'a tied log' );
    my $asked = 0;
    log_append( $log, Stringy->new( sub { $asked++; "object \x{2603}" } ) );
    my $object = Stringy->new( sub { $asked++; 'other' } );
    log_append( $log, $object );
    is( $asked, 2, 'an object is asked once' );
    is_deeply( [ replay($log) ], [ 'tied', 'through it', "object \x{2603}", 'other' ], 'all are stored' );

    # A function was given what a tied variable held before, and nothing at first.
    my @logs = map { log_of("log $_") } 1 .. 2;
    my %call = (
        'log_append'         => [ sub { log_append( $_[0], 'x' ) },  sub { $_[0] } ],
        'log_append, a call' => [ sub { &log_append( $_[0], 'x' ) }, sub { $_[0] } ],
        'log_read'           => [ sub { log_read( $_[0], 0 ) },      sub { $_[0] } ],
        'log_next'           => [ sub { log_next( $_[0] ) },         sub { $_[0]->cursor } ],
        'log_next, a call'   => [ sub { &log_next( $_[0] ) },        sub { $_[0]->cursor } ],
        'the method'         => [ sub { $_[0]->append('x') },        sub { $_[0] } ],
    );
    for my $what ( sort keys %call ) {
        my ( $function, $operand ) = @{ $call{$what} };
        my @turns    = map { $operand->($_) } @logs;
        my @expected = map { [ $function->( $operand->($_) ) ] } map { log_of( replay($_) ) } @logs;
        tie my $changing, 'Changing', @turns;
        is_deeply( [ map { [ $function->($changing) ] } 1, 2 ],
            \@expected, "$what: a tied one, asked once each time" );
        is( @{ tied $changing }, 0, '... exactly' );
    }
    tie my $changing, 'Changing', @logs;
    log_append( $changing, 'by op' ) for @logs;
    is_deeply( [ map { ( replay($_) )[-1] } @logs ], [ 'by op', 'by op' ], 'an op asks each time, too' );

    my $short  = new_log();
    my $ending = Stringy->new( sub { $short->DESTROY; 'x' } );
    ok( !eval { log_append( $short, $ending ); 1 }, 'one that destroys the log' );
    like( $@, qr/^Data::Log::Shared->append: not a live/, '... is told so' );
    $short  = new_log();
    $ending = Stringy->new( sub { undef $short; 'x' } );
    is( eval { log_append( $short, $ending ) }, 0, 'one that drops its last reference' );
};

subtest 'what is no live handle' => sub {
    my $dead   = log_of('x');
    my $cursor = $dead->cursor;
    $dead->DESTROY;
    my $dead_cursor = log_of('x')->cursor;
    $dead_cursor->DESTROY;
    my $log = log_of('x');
    for my $junk ( $dead, undef, 'text', 7, [], bless( {}, 'Data::Log::Shared' ), $log->cursor,
        'Data::Log::Shared' )
    {
        my $shown = $junk // 'undef';
        my $line  = __LINE__ + 1;
        ok( !eval { log_append( $junk, 'x' ); 1 }, "log_append: $shown" );
        like(
            $@,
            qr/^Data::Log::Shared->append: not a live Data::Log::Shared object at \Q${\__FILE__}\E line $line\.$/,
            '... is refused'
        );
    }
    for my $junk ( $dead_cursor, undef, 'text', 7, {}, $log, bless [], 'Data::Log::Shared::Cursor' ) {
        my $shown = $junk // 'undef';
        ok( !eval { log_next($junk); 1 }, "log_next: $shown" );
        like( $@, qr/^Data::Log::Shared::Cursor->next: not a live Data::Log::Shared object/, '... is refused' );
    }
    is( log_next($cursor), 'x', 'a cursor outlives the handle' );
};

subtest 'a subclass' => sub {
    my $log = My::Log->new( undef, 1000 );
    is( $log->append('x'), 'overridden', 'may override the method' );
    is( log_append( $log, 'x' ), 0,  '... which the function does not look for' );
    is( log_append( $log, 7 ),   12, '... however it is called' );
};

subtest 'log_next does what next does' => sub {
    my @entries = ( 'short', 'x' x 10_000, "\x{2603}", 'short', 'y' x 1250, 'z' x 1251, 'end' );
    my $log     = log_of(@entries);
    my $cursor  = $log->cursor;
    my @seen;
    while ( defined( my $data = log_next($cursor) ) ) { push @seen, $data }
    is_deeply( \@seen,                                      \@entries,               'every entry' );
    is_deeply( [ map { utf8::is_utf8($_) ? 1 : 0 } @seen ], [ 0, 0, 1, 0, 0, 0, 0 ], '... as it was' );
    is_deeply( [ log_next($cursor) ],                       [undef],                 'then undef' );
    $cursor->seek(0);
    my @kept = map { \log_next($cursor) } @entries;
    is_deeply( [ map { $$_ } @kept ], \@entries, 'references' );
    $cursor->seek(0);
    is_deeply( [ log_next($cursor), log_next($cursor) ], [ @entries[ 0, 1 ] ], 'two in a list' );
    $$_ .= '!' for @kept;
    is_deeply( [ replay($log) ], \@entries, 'the log is not changed through them' );
    $cursor->seek( $log->tail_offset );
    is( log_next( $cursor, 0 ), undef, 'with a time' );
    my $child = in_child(
        sub {
            wait_until( sub { $log->stats->{waiters} } );
            log_append( $log, 'at last' );
        }
    );
    is( log_next( $cursor, 3600 ), 'at last', '... it waits' );
    ok( reap($child),            '... for another process' );
    ok( !eval { log_next(); 1 }, 'no cursor' );
    like( $@, qr/usage/i, '... says how it is used' );
};

subtest 'log_read does what read_entry does' => sub {
    my $log = log_of( 'first', 'second' );
    is_deeply( [ log_read( $log, 0 ) ], [ 'first', 16 ], 'an entry' );
    is_deeply( [ log_read( $log, 16, 0 ) ], [ 'second', 32 ], 'with a patience' );
    is_deeply( [ log_read( $log, 32 ) ], [], 'nothing at the end' );
    ok( !eval { log_read( 7, 0 ); 1 }, 'of no log' );
    like( $@, qr/^Data::Log::Shared->read_entry: not a live/, '... is refused' );
};

subtest 'who reads op trees' => sub {
    require B::Deparse;
    our $log    = new_log();
    our $cursor = $log->cursor;
    our $data   = 'deparsed';
    my $text = B::Deparse->new->coderef2text(
        sub { log_append( $log, $data ); log_append( $log, "$data!" ); log_next($cursor) } );
    like( $text, qr/\blog_append\(\$log, \$data\)/, 'sees the calls' );
    my $again = eval "no strict; sub $text" or diag $@;
    is( $again->(), 'deparsed', 'which can be compiled again' );
    is_deeply( [ replay($log) ], [ 'deparsed', 'deparsed!' ], '... and do the same' );
};

subtest 'under a debugger' => sub {
    local $ENV{PERL5OPT} = '-d';
    local $ENV{PERL5DB}  = 'BEGIN { package DB; our ( $sub, %seen ); sub DB {} sub sub { $seen{$sub}++; &$sub } }';
    my ( $status, $out, $err ) = perl_with_log(<<'PERL');
        use Data::Log::Shared qw(log_append log_next);
        my $log    = Data::Log::Shared->new( undef, 1000 );
        my $cursor = $log->cursor;
        my $data   = 'data';
        log_append( $log, $data ) for 1 .. 3;
        print log_next($cursor), ' ';
        print join ' ', map { $DB::seen{"Data::Log::Shared::$_"} } qw(log_append log_next);
PERL
    is( "$status:$out:$err", '0:data 3 1:', 'the calls are seen' );
};

SKIP: {
    skip 'this perl has no threads', 1 if !$Config::Config{useithreads};
    require threads;
    my $log  = new_log();
    my $data = 'data';
    my @two  = threads->create( { context => 'list' },
        sub { ( log_append( $log, $data ), log_append( $log, $data ) ) } )->join;
    is_deeply( \@two, [ 0, 12 ], 'in a thread' );
}

done_testing;
