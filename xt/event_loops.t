# Real event loops follow a log that unrelated processes append to.
use strict;
use warnings;

use FindBin qw($Bin);
use Test::More;
use lib "$Bin/../t/lib";
use LogTest;

use Data::Log::Shared;

my %module = ( ev => 'EV', anyevent => 'AnyEvent', mojo => 'Mojo::IOLoop', io_async => 'IO::Async::Loop' );
my $count  = 20;

for my $name ( sort keys %module ) {
    subtest $name => sub {
        eval "require $module{$name}; 1" or plan skip_all => "$module{$name} is not installed";
        my $path = scratch($name);
        my $log  = Data::Log::Shared->new( $path, 100_000 );
        $log->append('entry 1');
        my $pid = open my $loop, '-|', $^X, '-Mblib', "$Bin/../eg/loops/$name.pl", $path, $count
            or die "$name: $!";
        my @writers = map {
            my $n = $_;
            in_child(
                sub {
                    exec $^X, '-Mblib', '-MData::Log::Shared', '-e',
                        'Data::Log::Shared->new(shift, 1)->append(shift)', $path, "entry $n";
                }
            );
        } 2 .. $count;
        ok( reap(@writers), 'unrelated processes append' );
        chomp( my @lines = <$loop> );
        ok( close $loop, 'the loop ends' );
        is_deeply(
            [ sort @lines ],
            [ sort map { "entry $_" } 1 .. $count ],
            'and has seen each entry once'
        );
    };
}

done_testing;
