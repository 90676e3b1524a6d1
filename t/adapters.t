use strict;
use warnings;

use lib 't/lib';
use JSON::PP ();
use LogTest;
use Test::More;

use Data::Log::Shared;
use Data::Log::Shared::Sink;

my $TIME = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/;

sub needs {
    my (@modules) = @_;
    for my $module (@modules) {
        eval "require $module; 1" or plan skip_all => "$module is not installed";
    }
    return;
}

# The same promise for all: a full log does not harm who logs.
sub keeps_quiet_when_full {
    my ( $log, $write, $lost ) = @_;
    $log->append('x') while $log->available >= 12;
    my $path = scratch('stderr');
    open my $kept, '>&', \*STDERR or die $!;
    open STDERR, '>', $path or die $!;
    my $lived = eval { $write->() for 1 .. 3; 1 };
    open STDERR, '>&', $kept or die $!;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok( $lived, 'a full log is no exception' ) or diag $@;
    is( $lost->(), 3, '... what did not fit is counted' );
    like( slurp($path), qr/\A[^\n]*full, entries are being lost\n\z/, '... and said once' );
    $log->reset;
    $write->();
    return;
}

subtest 'Log::Any' => sub {
    needs('Log::Any::Adapter');
    require Log::Any;
    my $log  = Data::Log::Shared->new( undef, 10_000 );
    my $sink = Data::Log::Shared::Sink->shared( my %option = ( log => $log ) );
    Log::Any::Adapter->set( 'Data::Log::Shared', %option );
    my $any = Log::Any->get_logger( category => 'My::Class' );
    $any->info( 'something', { user => 'jo' } );
    $any->debugf( 'number %d', 7 );
    Log::Any->get_logger( category => 'Other' )->error("caf\xe9 \x{263a}");
    my @lines = replay($log);
    like( $lines[0], qr/\A$TIME $$ info My::Class: something \{"user":"jo"\}\z/, 'a line with fields' );
    like( $lines[1], qr/ debug My::Class: number 7\z/,                           '... formatted' );
    like( $lines[2], qr/ error Other: caf\xe9 \x{263a}\z/,                       '... of characters' );
    ok( $any->is_trace, 'all levels are on' );
    keeps_quiet_when_full( $log, sub { $any->info('text') }, sub { $sink->lost } );

    $log->reset;
    Log::Any::Adapter->set( 'Data::Log::Shared', log => $log, log_level => 'warning', format => 'json' );
    ok( !$any->is_info && $any->is_warning, 'unless a level is set' );
    $any->context->{request} = 5;
    $any->info('not this');
    $any->warning( 'this', { a => 1 } );
    my @objects = map { JSON::PP::decode_json($_) } replay($log);
    is( @objects, 1, '... only what is above is written' );
    is_deeply( [ @{ $objects[0] }{qw(level category message a request)} ], [ 'warning', 'My::Class', 'this', 1, 5 ],
        '... as objects, with their context' );
    Log::Any::Adapter->set('Null');
};

subtest 'Log::Dispatch' => sub {
    needs('Log::Dispatch');
    my $log      = Data::Log::Shared->new( undef, 10_000 );
    my $dispatch = Log::Dispatch->new(
        outputs => [ [ 'Data::Log::Shared', name => 'app', min_level => 'info', log => $log, newline => 1 ] ] );
    $dispatch->debug('not this');
    $dispatch->info('something');
    $dispatch->log( level => 'error', message => 'bad', category => 'My::Class' );
    my @lines = replay($log);
    is( @lines, 2, 'levels count' );
    like( $lines[0], qr/\A$TIME $$ info app: something\z/, 'a line' );
    like( $lines[1], qr/ error My::Class: bad\z/,          '... with a category' );
    keeps_quiet_when_full( $log, sub { $dispatch->info('text') }, sub { $dispatch->output('app')->lost } );
    ok( !eval { Log::Dispatch->new( outputs => [ [ 'Data::Log::Shared', min_level => 'info' ] ] ) }, 'not without a log' );
};

subtest 'Log::Log4perl' => sub {
    needs('Log::Log4perl');
    my $path = scratch('log4perl.log');
    Log::Log4perl->init( \<<"CONFIGURATION" );
log4perl.rootLogger                               = INFO, Shared
log4perl.appender.Shared                          = Log::Log4perl::Appender::Data::Log::Shared
log4perl.appender.Shared.path                     = $path
log4perl.appender.Shared.size                     = 10000
log4perl.appender.Shared.mode                     = 0640
log4perl.appender.Shared.layout                   = PatternLayout
log4perl.appender.Shared.layout.ConversionPattern = %m
CONFIGURATION
    my $logger = Log::Log4perl->get_logger('My::Class');
    $logger->debug('not this');
    $logger->warn('something');
    is( ( stat $path )[2] & 07777, 0640, 'the file has its mode' );
    my $log   = Data::Log::Shared->new( $path, 1 );
    my @lines = replay($log);
    is( @lines, 1, 'levels count' );
    like( $lines[0], qr/\A$TIME $$ warn My\.Class: something\z/, 'a line' );
    my $appender = Log::Log4perl->appender_by_name('Shared');
    keeps_quiet_when_full( $log, sub { $logger->info('text') }, sub { $appender->lost } );
};

subtest 'PSGI' => sub {
    require Data::Log::Shared::PSGI;
    my $log  = Data::Log::Shared->new( undef, 10_000 );
    my $psgi = Data::Log::Shared::PSGI->new( log => $log );
    my $app  = $psgi->wrap(
        sub {
            my ($env) = @_;
            $env->{'psgi.errors'}->print( 'some', "thing\n" );
            $env->{'psgix.logger'}->( { level => 'debug', message => 'details' } );
            return [ 200, [ 'Content-Type' => 'text/plain' ], ['hello'] ];
        }
    );
    is_deeply( $app->( {} )->[2], ['hello'], 'the application runs' );
    my @lines = replay($log);
    like( $lines[0], qr/\A$TIME $$ error psgi\.errors: something\z/, 'psgi.errors' );
    like( $lines[1], qr/ debug psgix\.logger: details\z/,            'psgix.logger' );
SKIP: {
        eval { require Plack::Middleware::AccessLog; require Plack::Test; require HTTP::Request::Common; 1 }
            or skip 'Plack is not installed', 2;
        $log->reset;
        my $logged = Plack::Middleware::AccessLog->wrap( $app, format => 'common', logger => $psgi->access );
        my $answer = Plack::Test->create($logged)->request( HTTP::Request::Common::GET('/a/path') );
        is( $answer->content, 'hello', 'with Plack' );
        like( ( grep { / access: / } replay($log) )[0], qr{ $$ info access: .*"GET /a/path HTTP/1\.\d" 200 \S+\z}, '... its access log' );
    }
    keeps_quiet_when_full( $log, sub { $psgi->print("text\n") }, sub { $psgi->lost } );
};

subtest 'Mojo::Log' => sub {
    needs('Mojo::Log');
    require MojoX::Log::Data::Log::Shared;
    my $log  = Data::Log::Shared->new( undef, 10_000 );
    my $mojo = MojoX::Log::Data::Log::Shared->new( log => $log, level => 'info' );
    $mojo->debug('not this');
    $mojo->info( 'two', 'lines' );
    $mojo->error("caf\xe9 \x{263a}");
    $mojo->warn( sub { 'from code' } );
    my @lines = replay($log);
    is( @lines, 3, 'levels count' );
    like( $lines[0], qr/\A$TIME $$ info Mojo: two\nlines\z/, 'an entry of two lines' );
    like( $lines[1], qr/ error Mojo: caf\xe9 \x{263a}\z/,    '... of characters' );
    like( $lines[2], qr/ warn Mojo: from code\z/,            '... from code' );
    is( scalar @{ $mojo->history }, 3, 'there is a history' );

    # Mojolicious gives each request such a log, and $c->log died of it.
    $mojo->category('web')->context( '[request 1]', 'user 7' )->info('with context');
    like( ( replay($log) )[-1], qr/\A$TIME $$ info web: \[request 1\]\nuser 7\nwith context\z/, 'a log with context' );
    is( eval { $mojo->context('[2]')->lost }, 0, '... has the methods of its parent' );
    keeps_quiet_when_full( $log, sub { $mojo->info('text') }, sub { $mojo->lost } );
};

done_testing;
