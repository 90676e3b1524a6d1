# An access log that all workers of a server share:
#
#   ACCESS_LOG=/tmp/access.log starman --workers 4 --preload-app eg/access_log.psgi
#   perl eg/access_log.pl /tmp/access.log
#
# With --preload-app the log is opened once, before the workers are forked;
# without it each worker attaches to the same file by itself.

use strict;
use warnings;

use Data::Log::Shared;

my $path = $ENV{ACCESS_LOG} // die "ACCESS_LOG is not set: it names the file of the log\n";
my $log  = Data::Log::Shared->new( $path, $ENV{ACCESS_LOG_SIZE} // 64 * 1024 * 1024 );

my ( $sequence, $dropped ) = ( 0, 0 );

sub record {
    my ( $env, $status ) = @_;

    # The target as it was sent: decoded, it could hold blanks and line ends.
    my ( $target, $query ) = split /[?]/, $env->{REQUEST_URI}, 2;
    my ($id) = ( $query // '' ) =~ /(?:^|&)id=([\w.-]+)/;
    my $line = join ' ', $env->{REQUEST_METHOD}, $target, $status, $$, ++$sequence, $id // '-';

    # The client gets its answer even where the log cannot take the line.
    return if defined eval { $log->append($line) };
    warn "worker $$ drops lines of the access log: ", $@ || "it is full\n" if !$dropped++;
}

# The line is appended before the server gets the response. So there is a line
# for each answer, even if the worker is killed right behind it.
sub logged {
    my ($app) = @_;
    return sub {
        my ($env) = @_;
        my $response = eval { $app->($env) };
        if ( !$response ) {
            warn $@;
            $response = [ 500, [ 'Content-Type' => 'text/plain' ], ["internal error\n"] ];
        }
        if ( ref $response eq 'CODE' ) {
            return sub {
                my ($respond) = @_;
                $response->( sub { record( $env, $_[0][0] ); $respond->(@_) } );
            };
        }
        record( $env, $response->[0] );
        return $response;
    };
}

my $app = sub {
    my $text = "worker $$ answered $sequence requests before, $dropped of them not logged\n";
    return [ 200, [ 'Content-Type' => 'text/plain', 'Content-Length' => length $text ], [$text] ];
};

logged($app);
