use strict;
use warnings;

use File::Find ();
use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my ( $WRITERS, $WANTED ) = ( 4, 100_000 );

# Real text: a word list or a system's log where there is one, else (and for
# the rest) the files of this perl's library.
sub real_lines {
    my @files = grep { -f && -r } '/usr/share/dict/words', '/var/log/dpkg.log';
    File::Find::find(
        { wanted => sub { push @files, $File::Find::name if /\.p[lm]\z/ && @files < 3000 }, no_chdir => 1 },
        grep { !ref && m{^/} && -d } @INC );
    my @lines;
    for my $file (@files) {
        open my $in, '<:raw', $file or next;
        while ( my $line = <$in> ) {
            chomp $line;
            push @lines, $line;
        }
        last if @lines >= $WANTED;
    }
    push @lines, map { "line $_ " . 'of text ' x ( $_ % 7 ) } @lines .. $WANTED - 1;
    return @lines[ 0 .. $WANTED - 1 ];
}

my @lines = real_lines();
is( scalar @lines, $WANTED, 'there is enough to write' );

my $size = 0;
$size += 8 + 2 + length($_) + 3 for @lines;
my $log = Data::Log::Shared->new( undef, $size + 1000 );

pipe my $from_tail, my $to_parent or die $!;
my $tail = in_child(
    sub {
        my ( $pos, $seen, %next, @wrong ) = ( 0, 0 );
        while ( $seen < $WANTED ) {
            my $count = $log->entry_count;
            $pos = $log->each_entry(
                sub {
                    my $writer = substr $_[0], 0, 1;
                    my $n      = $WRITERS * $next{$writer}++ + $writer;
                    push @wrong, "$n: $_[0]" if substr( $_[0], 2 ) ne $lines[$n];
                    $seen++;
                },
                $pos
            );
            $log->wait_for( $count, 0.1 ) if $seen < $WANTED;
        }
        print {$to_parent} "$seen seen, ", scalar @wrong, " wrong: @wrong[0 .. ($#wrong < 3 ? $#wrong : 3)]";
        close $to_parent;
    }
);
close $to_parent;

my @writers = map {
    my $writer = $_;
    in_child(
        sub {
            for ( my $n = $writer ; $n < @lines ; $n += $WRITERS ) {
                $log->append("$writer $lines[$n]") // die 'the log is full';
            }
        }
    )
} 0 .. $WRITERS - 1;
ok( reap(@writers), 'all writers end well' );

my $tailed = do { local $/; <$from_tail> };
ok( reap($tail), '... and so does who reads along' );
is( $tailed, "$WANTED seen, 0 wrong: ", '... having seen every line once, each in the order of its writer' );

my @by_writer;
$log->each_entry( sub { push @{ $by_writer[ substr $_[0], 0, 1 ] }, substr $_[0], 2 } );
for my $writer ( 0 .. $WRITERS - 1 ) {
    my @expected = @lines[ grep { $_ % $WRITERS == $writer } 0 .. $#lines ];
    my $got      = $by_writer[$writer];
    is( scalar @$got, scalar @expected, "a replay has as many lines as writer $writer wrote" );
    my ($differs) = grep { $got->[$_] ne $expected[$_] } 0 .. $#expected;
    is( $differs, undef, '... the same, in the same order' );
}
is( $log->entry_count,       $WANTED, 'the count is that of the lines' );
is( $log->verify->{entries}, $WANTED, '... so says verify' );

done_testing;
