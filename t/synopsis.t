use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my ($synopsis) = slurp( $INC{'Data/Log/Shared.pm'} ) =~ /^=head1 SYNOPSIS\n(.*?)^=head1 /ms
    or BAIL_OUT('the documentation has no synopsis');
$synopsis =~ s/^ {4}//mg;

my $folder = scratch('synopsis');
mkdir $folder or die "$folder: $!";
my ( $status, $out, $err ) = perl_with_log( "chdir \$ARGV[0] or die;\n$synopsis", $folder );
is( $status, 0,  'the synopsis runs to its end' );
is( $err,    '', '... and has nothing to complain about' );

my @events = $out =~ /^worker (\d event \d+)$/mg;
for my $worker ( 1 .. 3 ) {
    is_deeply(
        [ grep { /^$worker / } @events ],
        [ map { "$worker event $_" } 1 .. 100 ],
        "it follows worker $worker, in order"
    );
}
like( $out, qr/^replayed 300 entries$/m,            'it replays all of it' );
like( $out, qr/^through the other handle: a job$/m,      'it reads through a descriptor' );
is( $out =~ tr/\n//, 302, 'it says nothing else' );

my $log = Data::Log::Shared->new( "$folder/events.log", 1 );
is( $log->data_size,       1_000_000,         'it leaves the log that it made' );
is( $log->entry_count,     300,               '... with all entries' );
is( $log->stats->{synced}, $log->tail_offset, '... on disk' );
is( $log->truncation,      $log->tail_offset, '... and truncated' );

done_testing;
