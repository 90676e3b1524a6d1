use strict;
use warnings;

use Scalar::Util qw(blessed reftype weaken);
use Storable     ();
use Symbol       ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my %arguments = (
    append      => ['x'],
    read_entry  => [0],
    each_entry  => [ sub { } ],
    wait_for    => [ 7, 0 ],
    truncate    => [0],
    eventfd_set => [0],
    map { $_ => [] }
        qw(tail_offset entry_count data_size available reset truncation sync unlink path memfd fileno
        eventfd notify eventfd_consume stats verify),
);

sub new_log { return Data::Log::Shared->new( undef, 1000 ) }

sub no_method_works {
    my ( $what, $invocant, %except ) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @wrong;
    for my $method ( grep { !$except{$_} } sort keys %arguments ) {
        my $function = Data::Log::Shared->can($method) or die "no $method";
        my $lived    = eval { $function->( $invocant, @{ $arguments{$method} } ); 1 };
        push @wrong, "$method: " . ( $lived ? 'lived' : $@ ) if $lived || $@ !~ /Data::Log::Shared object/;
    }
    return is_deeply( \@wrong, [], "$what: every method croaks" );
}

{
    my $number  = 42;
    my $zero    = 0;
    my $text    = 'text';
    my $address = 0 + \my $elsewhere;
    my %forged  = (
        'a forged number'   => \$number,
        'a forged zero'     => \$zero,
        'a forged address'  => \$address,
        'a forged string'   => \$text,
        'a forged undef'    => \my $undef,
        'a forged hash'     => {},
        'a forged array'    => [],
        'a forged function' => sub { 1 },
        'a forged glob'     => Symbol::gensym(),
        'a forged regex'    => qr/x/,
    );
    no_method_works( $_, bless $forged{$_}, 'Data::Log::Shared' ) for sort keys %forged;
}

# As a function, unlink takes a class and a path; the others take a handle.
no_method_works( $_->[0], $_->[1], unlink => 1 )
    for [ 'a foreign object', bless {}, 'Some::Class' ], [ 'the class', 'Data::Log::Shared' ], [ 'undef', undef ],
    [ 'a string', 'text' ], [ 'the empty string', '' ], [ 'a number', 7 ], [ 'a hash', {} ], [ 'an array', [] ],
    [ 'a function', sub { 1 } ], [ 'a glob', *STDOUT ], [ 'a reference', \1 ];

subtest 'copies of a handle' => sub {
    my $log   = new_log();
    my $clone = eval { Storable::dclone($log) };
    no_method_works( 'a clone', $clone ) if blessed $clone;
    my $thawed = eval { Storable::thaw( Storable::freeze($log) ) };
    no_method_works( 'a thawed one', $thawed ) if blessed $thawed;
    if ( reftype $log eq 'SCALAR' ) {
        my $inside = $$log;
        no_method_works( 'a copy of what is inside', bless \$inside, 'Data::Log::Shared' );
    }
    undef $_ for $clone, $thawed;
    is( $log->append('unharmed'), 0, 'the handle itself works' );

    my $second = $log;
    undef $log;
    is( $second->entry_count, 1, 'a second reference is as good as the first' );
};

subtest 'DESTROY' => sub {
    my $path  = scratch('destroyed');
    my $log   = Data::Log::Shared->new( $path, 1000 );
    my $other = Data::Log::Shared->new( $path, 1000 );
    $log->append('before');
    $log->DESTROY;
    no_method_works( 'after DESTROY', $log );
    ok( eval { $log->DESTROY; 1 }, 'a second time' );
    no_method_works( '... still', $log );
    is_deeply( [ replay($other) ], ['before'], 'another handle of the log is not concerned' );
    ok( -e $path, 'nor is the file' );
    undef $log;

    for my $foreign (
        bless( {},              'Some::Class' ),
        bless( \( my $n = 42 ), 'Data::Log::Shared' ),
        bless( [],              'Data::Log::Shared' )
    ) {
        ok( eval { Data::Log::Shared::DESTROY($foreign); 1 }, 'on a ' . ref $foreign ) or diag $@;
    }
    eval { Data::Log::Shared::DESTROY($_) } for undef, 7, 'text', [], 'Data::Log::Shared';
    is( $other->append('after') > 0, 1, 'none of it harms a log' );

    my $before = open_fds();
    my $short  = Data::Log::Shared->new_memfd( 'short', 1000 );
    $short->DESTROY;
    is( open_fds(), $before, 'it closes at once' );
};

{

    package My::Log;
    our @ISA = ('Data::Log::Shared');
    our ( $destroyed, %label ) = 0;

    sub new {
        my ( $class, $label, @rest ) = @_;
        my $self = $class->SUPER::new(@rest);
        $label{$self} = $label;
        return $self;
    }

    sub append {
        my ( $self, $data ) = @_;
        return $self->SUPER::append("$label{$self}: $data");
    }

    sub DESTROY {
        my ($self) = @_;
        $destroyed++;
        delete $label{$self};
        $self->SUPER::DESTROY;
        return;
    }
}

# It was a second handle on the same mapping, and its end that of both.
subtest 'a local variable in place of an alias' => sub {
    our $alias;
    my $log = new_log();
    {
        no warnings 'once';
        *alias = $log;
    }
    {
        local $alias;
        no_method_works( 'it', bless \$alias, 'Data::Log::Shared' );
    }
    is( $log->append('x'),  0, 'the handle is what it was' );
    is( $log->entry_count,  1, '... and the log' );
};

subtest 'a subclass' => sub {
    my $log = My::Log->new( 'mine', undef, 1000 );
    is( ref $log, 'My::Log', 'makes objects of its own' );
    $log->append('text');
    is_deeply( [ replay($log) ], ['mine: text'], 'overrides methods and inherits others' );
    my $memfd = My::Log->new_memfd( 'x', 1000 );
    is( ref $memfd,                                'My::Log', 'has the other constructors, too' );
    is( ref My::Log->new_from_fd( $memfd->memfd ), 'My::Log', '... all of them' );
    undef $log;
    is( $My::Log::destroyed, 2, 'its DESTROY is called' );
    undef $memfd;
    is( $My::Log::destroyed, 3, '... once for each' );
};

subtest 'a handle blessed again' => sub {
    my $before = open_fds();
    my $log    = Data::Log::Shared->new_memfd( 'blessed', 1000 );
    bless $log, 'My::Log';
    is( $log->entry_count, 0, 'into a subclass, works' );
    bless $log, 'Some::Class';
    is( Data::Log::Shared::entry_count($log), 0, 'into something else, is what it was' );
    undef $log;
    is( open_fds(), $before, '... and is closed all the same' );
};

subtest 'a handle that is gone' => sub {
    my $log = new_log();
    weaken( my $weak = $log );
    undef $log;
    is( $weak, undef, 'was held by nobody else' );
    ok( !eval { $weak->append('x'); 1 }, '... and cannot be used' );
};

subtest 'the end of the program' => sub {
    my ( $status, $out, $err ) = perl_with_log(<<'PERL');
        use strict;
        use warnings;
        our $log = Data::Log::Shared->new( undef, 1000 );
        our $late = bless { log => $log }, 'Late';
        our @cycle = ($log);
        push @cycle, \@cycle;
        my $memfd = Data::Log::Shared->new_memfd( 'late', 1000 );
        $memfd->eventfd;
        my $circle = [$memfd];
        push @$circle, $circle;
        sub Late::DESTROY {
            my ($self) = @_;
            eval { $self->{log}->append('late') };
            eval { Data::Log::Shared::append( $self->{log}, 'later' ) };
            eval { Data::Log::Shared::append( $main::log, 'latest' ) };
            print "the last object went\n";
        }
        $log->append('in time');
        END { print $log->entry_count, " entry\n" }
PERL
    is( $status, 0,                                 'is not disturbed by what is left' );
    is( $out,    "1 entry\nthe last object went\n", 'END blocks and destructors run' );
    is( $err,    '',                                'without a word' );

    ( $status, $out, $err ) = perl_with_log(<<'PERL');
        our $log = Data::Log::Shared->new( undef, 1000 );
        $log->append($_) for 1 .. 3;
        $log->each_entry( sub { exit 7 if $_[0] == 2 } );
PERL
    is( $status >> 8, 7,  'exit inside a callback ends the program with its code' );
    is( $err,         '', '... without a word' );
};

done_testing;
