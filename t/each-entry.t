use strict;
use warnings;

use Carp         ();
use List::Util   ();
use Scalar::Util ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

use constant A_CONSTANT => 42;

sub log_of {
    my $log = Data::Log::Shared->new( undef, 10_000 );
    $log->append($_) for @_;
    return $log;
}

sub still_good {
    my ( $log, $entries, $name ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @seen;
    $log->each_entry( sub { push @seen, $_[0] } );
    return is_deeply( [ \@seen, [ replay($log) ] ], [ $entries, $entries ], $name );
}

my @abc = qw(alpha beta gamma);

subtest 'every entry with its offset, then the position after the last' => sub {
    my $log = Data::Log::Shared->new( undef, 10_000 );
    is( $log->each_entry( sub { fail('called') } ), 0, 'an empty log ends where it begins' );
    my @offsets = map { $log->append($_) } @abc;
    my ( @data, @at );
    my @result = $log->each_entry( sub { my ( $data, $offset ) = @_; push @data, $data; push @at, $offset; } );
    is_deeply( \@data,   \@abc,                 'data' );
    is_deeply( \@at,     \@offsets,             'offsets' );
    is_deeply( \@result, [ $log->tail_offset ], 'one result: the position' );
    my $more = $log->append('delta');
    my @later;
    is( $log->each_entry( sub { push @later, @_ }, $result[0] ), $log->tail_offset, 'going on from the position' );
    is_deeply( \@later, [ 'delta', $more ], '... gives only what is new' );
    @later = ();
    $log->each_entry( sub { push @later, $_[0] }, $offsets[1], 0 );
    is_deeply( \@later, [qw(beta gamma delta)], 'a start in the middle, with a patience' );

    # A start that no entry can have was first made an unsigned number and then returned as that.
    for my $nowhere ( $log->tail_offset, 9_000, 2**40, -1, -4, 0.5, 2.5, 1e30, -1e30, 9**9**9 ) {
        my $calls = 0;
        is( $log->each_entry( sub { $calls++ }, $nowhere ), $nowhere, "from $nowhere to where it began" );
        is( $calls, 0, '... nothing' );
    }
};

subtest 'what is not code is refused' => sub {
    my $log = log_of(@abc);
    for my $junk ( undef, 'string', 'main::still_good', 7, [], {}, \'x', *STDOUT, bless( {}, 'Some::Class' ) ) {
        my $shown = $junk // 'undef';
        croaks( sub { $log->each_entry($junk) }, 'each_entry', qr//, "$shown as callback" );
    }
    no warnings 'once';
    ok( !eval { $log->each_entry( \&no_such_function ); 1 }, 'a function that is not there' );
    croaks(
        sub {
            $log->each_entry( sub { }, 'abc' );
        },
        'each_entry',
        qr/abc.*not a number/,
        'a start that is no number'
    );
    still_good( $log, \@abc, 'the log is fine' );
};

subtest 'a callback that dies' => sub {
    my $log    = log_of(@abc);
    my $reason = { code => 7 };
    our $dynamic = 'outer';
    my $calls = 0;
    ok(
        !eval {
            $log->each_entry( sub { local $dynamic = 'inner'; $calls++; die $reason if $_[0] eq 'beta' } );
            1;
        },
        'ends the walk'
    );
    is( $@,       $reason, 'its exception arrives as it is' );
    is( $calls,   2,       'nothing is called after it' );
    is( $dynamic, 'outer', 'local is undone' );

    my @seen;
    $log->each_entry(
        sub {
            eval { die "no $_[0]\n" };
            push @seen, $@;
        }
    );
    is_deeply( \@seen, [ map { "no $_\n" } @abc ], 'one that catches its own goes on' );

    my $inner = eval {
        $log->each_entry(
            sub {
                $log->each_entry( sub { die "deep\n" } );
            }
        );
        1;
    };
    is( $@, "deep\n", 'out of two levels at once' );
    still_good( $log, \@abc, 'the log is fine' );
};

subtest 'returning early, in any way' => sub {
    my $log = log_of(@abc);
    my @seen;
    $log->each_entry(
        sub {
            for my $i ( 1 .. 3 ) {
                for my $j ( 1 .. 3 ) {
                    push @seen, "$_[0]$i$j";
                    return if $i * $j == 2;
                }
            }
        }
    );
    is_deeply( \@seen, [ map { $_ . '11', $_ . '12' } @abc ], 'from nested loops' );

    my @result = $log->each_entry( sub { return ( $_[0] ) x 500 } );
    is_deeply( \@result, [ $log->tail_offset ], 'returned lists go nowhere' );

    my %context;
    my $ask    = sub { $context{ defined wantarray ? wantarray ? 'list' : 'scalar' : 'void' } = 1; return };
    my @list   = $log->each_entry($ask);
    my $scalar = $log->each_entry($ask);
    $log->each_entry($ask);
    is( keys %context,                         1, q{the callback's context does not depend on the caller's} );
    is( scalar( () = each_with_values($log) ), 1, 'a value of a last statement is dropped' );
};

sub each_with_values {
    my ($log) = @_;
    return $log->each_entry( sub { ( 1, 2, 3 ) } );
}

subtest 'variables are fresh for each entry' => sub {
    my $log = log_of(@abc);
    my ( @values, @arrays, @subs );
    $log->each_entry(
        sub {
            my ( $text, @list, %hash );
            $text .= $_[0];
            push @list, $_[0];
            $hash{ $_[0] }++;
            push @values, $text . @list . keys %hash;
            push @arrays, \@list;
            push @subs,   sub { $text };
        }
    );
    is_deeply( \@values,                 [ map { $_ . 11 } @abc ], 'none holds what the one before had' );
    is_deeply( \@arrays,                 [ map { [$_] } @abc ],    'arrays kept by reference' );
    is_deeply( [ map { $_->() } @subs ], \@abc,                    'variables kept by closures' );

    our $alive = 0;
    sub Counted::DESTROY { $alive-- }
    my @most;
    $log->each_entry( sub { my $object = bless [], 'Counted'; push @most, ++$alive } );
    is_deeply( \@most, [ 1, 1, 1 ], 'an object of one call is gone in the next' );
    is( $alive, 0, '... and after the last' );

    my @state;
    $log->each_entry( sub { use feature 'state'; state $n = 10; push @state, $n++ } );
    is_deeply( \@state, [ 10, 11, 12 ], 'state variables stay' );
};

subtest 'arguments may be kept' => sub {
    my $log = log_of(@abc);
    my ( @refs, @offsets, @arrays, @aliases );
    $log->each_entry( sub { push @refs, \$_[0]; push @offsets, \$_[1]; push @arrays, \@_ } );
    is_deeply( [ map { $$_ } @refs ], \@abc, 'references to the data' );
    is( ( grep { $$_ =~ /^\d+$/ } @offsets ),    3, 'references to the offset' );
    is( keys %{ { map { $$_ => 1 } @offsets } }, 3, '... to three different ones' );
    is_deeply( [ map { $_->[0] } @arrays ], \@abc, 'references to @_' );
    my $array_of = sub { \@_ };
    $log->each_entry( sub { push @aliases, $array_of->(@_) } );
    is_deeply( [ map { $_->[0] } @aliases ], \@abc, 'aliases of @_' );
    undef $log;
    is_deeply( [ map { $$_ } @refs ], \@abc, 'they outlive the log' );
};

subtest 'arguments may be abused' => sub {
    my $utf8    = "sn\x{2603}wman";
    my @entries = ( 'bytes', $utf8, 'more bytes', "\xe9", $utf8, 'end' );
    my $log     = log_of(@entries);
    my %abuse   = (
        'shifted'               => sub { shift; shift },
        'popped'                => sub { pop },
        'emptied'               => sub { @_ = () },
        'undefined'             => sub { undef @_ },
        'replaced'              => sub { @_ = ( 1 .. 10 ) },
        'lengthened'            => sub { push @_, 1 .. 100 },
        'replaced by glob'      => sub { no warnings 'redefine'; local *_ = [ 1, 2 ]; return },
        'data appended to'      => sub { $_[0] .= 'more' x 100;  $_[1] .= 'x' },
        'data undefined'        => sub { undef $_[0];            undef $_[1] },
        'data emptied'          => sub { $_[0] = '';  $_[1] = '' },
        'data made a number'    => sub { $_[0] = 7;   $_[1] = 1.5 },
        'data made a ref'       => sub { $_[0] = [1]; $_[1] = {} },
        'data upgraded'         => sub { utf8::upgrade( $_[0] ); utf8::upgrade( $_[1] ) },
        'data encoded'          => sub { utf8::encode( $_[0] ) },
        'data blessed'          => sub { bless \$_[0], 'Some::Class' },
        'data chopped'          => sub { $_[0] =~ s/^.//s;                  pos( $_[0] ) = 0 },
        'data tied'             => sub { tie $_[0], 'Fixed';                tie $_[1], 'Fixed' },
        'data read-only'        => sub { Internals::SvREADONLY( $_[0], 1 ); Internals::SvREADONLY( $_[1], 1 ) },
        'data kept and shifted' => sub { our @kept;                         push @kept, \shift; push @kept, \@_ },
        'data given to grep'    => sub {
            my @n = grep { /x/ } @_;
            for (@_) { $_ = 1 }
        },
        'handed on' => sub { &taker; taker(@_) },
    );
    for my $how ( sort keys %abuse ) {
        my ( @seen, @flags );
        my $pos = $log->each_entry(
            sub {
                push @seen,  $_[0];
                push @flags, utf8::is_utf8( $_[0] ) ? 1 : 0;
                is( scalar @_, 2, 'two arguments' ) if @_ != 2;
                &{ $abuse{$how} };
            }
        );
        is_deeply( [ \@seen, \@flags, $pos ], [ \@entries, [ 0, 1, 0, 0, 1, 0 ], $log->tail_offset ], $how );
    }
    is_deeply( [ replay($log) ], \@entries, 'the log is as it was' );
};

sub taker { shift; return @_ }

{

    package Fixed;
    sub TIESCALAR { my $value = 'tied'; return bless \$value, shift }
    sub FETCH     { return ${ $_[0] } }
    sub STORE     { return ${ $_[0] } = $_[1] }
}

{

    package Destroying;
    sub new     { my ( $class, $log ) = @_; return bless [$log], $class }
    sub DESTROY { ${ $_[0][0] }->DESTROY }
}

# Making @_ anew drops what the last call had left there. That ran destructors between the look at the
# next entry and its copy, so that one which destroyed the log had unmapped memory copied.
subtest 'what is left in @_ may destroy the log' => sub {
    my $log;
    my %left = (
        'one object'         => sub { @_    = Destroying->new( \$log ) },
        'two objects'        => sub { @_    = map { Destroying->new( \$log ) } 1, 2 },
        'an object for data' => sub { $_[0] = Destroying->new( \$log ) },
        'an object for the offset' => sub { $_[1] = Destroying->new( \$log ) },
    );
    for my $how ( sort keys %left ) {
        $log = Data::Log::Shared->new( undef, 1_000_000 );
        $log->append( $_ x 1000 ) for @abc;
        my @seen;
        my $lived = eval {
            $log->each_entry( sub { push @seen, substr $_[0], 0, 5; &{ $left{$how} } } );
            1;
        };
        is_deeply( \@seen, ['alpha'], "$how: nothing is read out of a log that is gone" );
        ok( !$lived, '... which is an exception' );
        like( $@, qr/^Data::Log::Shared->each_entry: not a live/, '... that says so' );
    }
};

# The caller's array was put back where the glob's arrays had been when the walk began. If the callback
# had undefined or replaced the glob, that memory was free by then.
subtest '*_ itself may be abused' => sub {

    # To glibc: let nobody mistake freed memory for what it was.
    local @ENV{qw(MALLOC_PERTURB_ GLIBC_TUNABLES)} = ( 165, 'glibc.malloc.tcache_count=0' );
    my %abuse = (
        'undefined'            => 'undef *_',
        'given another array'  => '*_ = [ 1, 2, 3 ]',
        'made another glob'    => '*_ = *other',
        'localized'            => 'local *_ = [5]',
        'emptied of its array' => 'undef @_; undef *_; @_ = (1) x 50',
    );
    for my $how ( sort keys %abuse ) {
        my ( $status, $out, $err ) = perl_with_log(<<"PERL");
            our \@other = ( 1, 2, 3 );
            my \$log = Data::Log::Shared->new( undef, 1000 );
            \$log->append(\$_) for 1 .. 10;
            my \$calls = 0;
            sub walk { \$log->each_entry( sub { \$calls++; $abuse{$how} } ) }
            for my \$turn ( 1 .. 3 ) { walk( 7, 8, 9 ) }
            sub arguments { return "\@_" }
            print \$calls, ':', arguments( 1, 2 );
PERL
        is( "$status:$out:$err", '0:30:1 2:', "$how: the walk goes on and so does the program" );
    }
};

subtest 'what the caller had is untouched' => sub {
    my $log = log_of(@abc);
    my $sub = sub {
        $log->each_entry( sub { shift; $_ = 'mine'; @_ = ( 7, 8, 9 ) } );
        return "@_";
    };
    local $_ = 'precious';
    {
        local $_ = 'inner';
        is( $sub->( 1, 2, 3 ), '1 2 3', '@_' );
        is( $_,                'mine',  'the callback sees the one $_' );
    }
    is( $_, 'precious', '$_' );
    my @topics;
    for ( 1 .. 3 ) {
        $log->each_entry( sub { push @topics, $_ if $_[0] eq 'beta' } );
    }
    is_deeply( \@topics, [ 1, 2, 3 ], 'the topic of a surrounding loop' );
    my @sorted = sort {
        $log->each_entry( sub { } );
        $a <=> $b
    } 3, 1, 2;
    is_deeply( \@sorted, [ 1, 2, 3 ], 'a surrounding sort' );
    my @mapped = map {
        my $n = $_;
        my @e;
        $log->each_entry( sub { push @e, "$_[0]$n" } );
        @e
    } 1, 2;
    is_deeply( \@mapped, [qw(alpha1 beta1 gamma1 alpha2 beta2 gamma2)], 'a surrounding map' );
};

subtest 'appending from inside' => sub {
    my $log = log_of('1');
    my @seen;
    my $pos = $log->each_entry( sub { push @seen, $_[0]; $log->append( $_[0] + 1 ) if $_[0] < 20 } );
    is_deeply( \@seen, [ 1 .. 20 ], 'the walk goes on to what the callback appends' );
    is( $pos, $log->tail_offset, 'to the end' );
};

subtest 'walks within walks' => sub {
    my $log = log_of(@abc);
    my @pairs;
    $log->each_entry(
        sub {
            my $outer = $_[0];
            $log->each_entry( sub { push @pairs, "$outer-$_[0]" } );
            push @pairs, $_[0];
        }
    );
    is_deeply(
        \@pairs,
        [
            map {
                my $outer = $_;
                ( map { "$outer-$_" } @abc ), $outer
            } @abc
        ],
        'two levels'
    );

    my $deep = log_of( 1 .. 30 );
    my ( @down, $descend );
    $descend = sub {
        my ( $data, $offset ) = @_;
        push @down, $data;
        my ( undef, $next ) = $deep->read_entry($offset);
        $deep->each_entry( $descend, $next ) if $data == @down && $data < 30;
        push @down, $data if $data == 1;
    };
    $deep->each_entry($descend);
    is( $down[29], 30, 'the same callback in thirty levels' );
    is( $down[-1], 30, 'and back again' );
    undef $descend;
    still_good( $deep, [ 1 .. 30 ], 'the log is fine' );
};

subtest 'letting go of the log from inside' => sub {
    my @seen;
    {
        my $log = log_of(@abc);
        $log->each_entry( sub { undef $log; push @seen, $_[0] } );
    }
    is( $seen[0], 'alpha', 'the last reference goes' );
    is_deeply( [ @abc[ 0 .. $#seen ] ], \@seen, '... and what is still read is right' );

    @seen = ();
    my $log = log_of(@abc);
    eval {
        $log->each_entry( sub { $log->DESTROY; push @seen, $_[0] } );
    };
    is( $seen[0], 'alpha', 'the log is destroyed' );
    croaks( sub { $log->entry_count }, 'entry_count', qr/Data::Log::Shared object/, '... for good' );

    my $weak;
    {
        my $held = log_of(@abc);
        Scalar::Util::weaken( $weak = $held );
        my $callback;
        $callback = sub { undef $held; undef $callback; push @seen, $_[0] };
        $held->each_entry($callback);
    }
    is( $weak, undef, 'log and callback go together and nothing is left over' );
};

subtest 'emptying and hiding from inside' => sub {
    my $log   = log_of(@abc);
    my $calls = 0;
    eval {
        $log->each_entry( sub { $log->reset if !$calls++ } );
    };
    is( $calls,              1, 'nothing is read out of a log that was reset' );
    is( $log->entry_count,   0, 'it is empty' );
    is( $log->append('new'), 0, 'and begins at 0' );
    still_good( $log, ['new'], 'it works' );

    $log   = log_of( @abc, 'delta' );
    $calls = 0;
    my $pos = $log->each_entry( sub { $calls++; $log->truncate( $log->tail_offset ) } );
    is( $calls, 1, 'nothing is read that was hidden meanwhile' );
    $log->append('epsilon');
    my @rest;
    $log->each_entry( sub { push @rest, $_[0] }, $pos );
    is_deeply( \@rest, ['epsilon'], 'the position returned is right to go on from' );

    $log = log_of( @abc, 'delta' );
    my @offsets;
    $log->each_entry( sub { push @offsets, $_[1] } );
    my @seen;
    $log->each_entry( sub { push @seen, $_[0]; $log->truncate( $offsets[2] ) } );
    is_deeply( \@seen, [qw(alpha gamma delta)], 'a walk steps over what was hidden before it' );
};

subtest 'every kind of code' => sub {
    my $log  = log_of( 3, 1, 2 );
    my $tail = $log->tail_offset;
    is( $log->each_entry( \&List::Util::max ), $tail, 'an XS function' );
    is( $log->each_entry( \&A_CONSTANT ),      $tail, 'a constant' );
    is( $log->each_entry( sub { } ),           $tail, 'an empty sub' );
    my @seen;
    is( $log->each_entry( bless sub { push @seen, $_[0] }, 'Some::Class' ), $tail, 'a blessed one' );
    is( $log->each_entry( sub : lvalue { push @seen, $_[0]; my $x } ),      $tail, 'an lvalue sub' );
    is( $log->each_entry( sub ($$) { push @seen, $_[0] } ),                 $tail, 'one with a prototype' );
    my $signature = eval q{ use feature 'signatures'; no warnings;
        sub ($data, $offset, @) { push @seen, $data } } or die $@;
    is( $log->each_entry($signature), $tail, 'one with a signature' );
    is_deeply( \@seen, [ ( 3, 1, 2 ) x 4 ], 'all were called' );

    my $narrow = eval q{ use feature 'signatures'; no warnings; sub ($data) { 1 } } or die $@;
    ok( !eval { $log->each_entry($narrow); 1 }, 'a signature for one argument' );
    like( $@, qr/Too many arguments/, '... complains' );
    for my $name (qw(Scalar::Util::blessed utf8::is_utf8 CORE::length CORE::uc)) {
        no strict 'refs';
        my $lived = eval { $log->each_entry( \&{$name} ); 1 };
        ok( $lived || $@, "$name either takes two arguments or complains" );
    }

    our @autoloaded;
    sub Autoloading::AUTOLOAD { push @autoloaded, $_[0] if @_ > 1 }
    my $auto = eval { $log->each_entry( \&Autoloading::anything ); 1 };
    is_deeply( \@autoloaded, $auto ? [ 3, 1, 2 ] : [], 'an autoloaded function is called for all or for none' );

    # The prototype of a closure, which an attribute handler sees, has no variables to run with.
    our $prototype;
    sub MODIFY_CODE_ATTRIBUTES { $prototype = $_[1]; return }
    my $variable = 'captured';
    my $closure  = sub : Any { push @seen, $variable };
    ok( !eval { $log->each_entry($prototype); 1 }, 'the prototype of a closure' );
    like( $@, qr/closure prototype/i, '... is refused as perl does' );
    @seen = ();
    is( $log->each_entry($closure), $tail, 'the closure itself' );
    is_deeply( \@seen, [ ('captured') x 3 ], '... was called' );

    my $trace;
    $log->each_entry( sub { $trace = Carp::longmess('here') } );
    like( $trace, qr/\Q${\__FILE__}\E line \d+/, 'a stack trace can be taken inside' );

    @seen = ();
    eval {
        $log->each_entry( sub { push @seen, $_[0]; goto &taker } );
    };
    is( $seen[0], 3, 'one that leaves by goto was called' );
    eval {
        no strict 'refs';
        *{'main::changing'} = sub { push @seen, 'old' };
        $log->each_entry(
            sub {
                no warnings 'redefine';
                *{'main::changing'} = sub { 1 };
                main::changing();
            }
        );
        $log->each_entry( \&{'main::changing'} );
    };
    sub vanishing { undef &vanishing; return }
    eval { $log->each_entry( \&vanishing ) };
    still_good( $log, [ 3, 1, 2 ], 'the log is fine after all of them' );
};

subtest 'loop controls inside the callback' => sub {
    no warnings 'exiting';
    my $log = log_of(@abc);
    for my $control (qw(last next redo)) {
        my ( $calls, $code ) = 0;
        $code = eval "sub { die qq{again\\n} if \$calls++ > 5; $control }" or die $@;
        my $turns = 0;
        eval {
            while ( $turns++ < 2 ) { $log->each_entry($code) }
            1;
        };
        cmp_ok( $calls, '>=', 1, "$control: called" );
        still_good( $log, \@abc, "$control: the log is fine" );
    }
    my @found;
    for my $wanted ( 'beta', 'gamma' ) {
        $log->each_entry(
            sub {
                for my $try ( 1, 2 ) { next if $try == 1; last if $_[0] ne $wanted; push @found, $_[0] }
            }
        );
    }
    is_deeply( \@found, [ 'beta', 'gamma' ], 'loops of the callback itself work' );
};

done_testing;
