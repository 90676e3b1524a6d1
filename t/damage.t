use strict;
use warnings;

use lib 't/lib';
use LogTest;
use Test::More;

use Data::Log::Shared;

my $SIZE = 2000;
my $path = scratch('damaged');

sub pristine {
    my (%options) = @_;
    Data::Log::Shared->unlink($path);
    my $log = Data::Log::Shared->new( $path, $SIZE, 0600, %options );
    $log->append( "entry $_ " . 'x' x $_ ) for 1 .. 20;
    $log->truncate( ( $log->read_entry(0) )[1] );
    $log->sync;
    undef $log;
    return slurp($path);
}

# Whatever the bytes are, using the log neither crashes nor hangs; that it
# comes to an end is what is tested.
sub use_it {
    my ($log) = @_;
    for my $patience ( 20_000, 0 ) {
        eval {
            $log->each_entry( sub { length $_[0] <= $SIZE or die 'longer than the log' }, 0, $patience );
        };
        return $@ if $@ =~ /longer/;
        my ( $steps, $pos ) = ( 0, 0 );
        while ( my ( $data, $next ) = eval { $log->read_entry( $pos, $patience ) } ) {
            return "read_entry($pos) leads to $next" if $next <= $pos || $next > $SIZE + 4;
            $pos = $next;
        }
    }
    for my $call (
        sub { $log->verify },
        sub { $log->entry_count },
        sub { $log->wait_for( $log->entry_count, 0 ) },
        sub { $log->append('more') },
        sub { $log->truncate( $log->tail_offset ) },
        sub { $log->stats },
        sub { $log->sync },
    ) {
        eval { $call->() };
        return $@ if $@ && $@ !~ /^Data::Log::Shared->\w+: /;
    }
    return '';
}

subtest 'each byte of the header' => sub {
    my $bytes = pristine();
    my ( %verdict, @wrong );
    for my $at ( 0 .. 511 ) {
        my $damaged = $bytes;
        substr( $damaged, $at, 1 ) ^= "\xff";
        spew( $path, $damaged );
        my $log = eval { Data::Log::Shared->new( $path, $SIZE ) };
        if ($log) {
            $verdict{attached}++;
            my $problem = use_it($log);
            push @wrong, "byte $at: $problem" if $problem;
        }
        else {
            $verdict{refused}++;
            push @wrong, "byte $at: $@"                   if $@ !~ /^Data::Log::Shared->new: \Q$path\E: \w/;
            push @wrong, "byte $at: no word of the magic" if $at < 4 && $@ !~ /magic|byte order/;
            push @wrong, "byte $at: the file was altered" if slurp($path) ne $damaged;
        }
        push @wrong, "byte $at: attached with another magic" if $log && $at < 4;
    }
    is_deeply( \@wrong, [], 'damaged, either attaches or is refused for a reason and left alone' );
    cmp_ok( $verdict{refused}, '>=', 16, 'much of it is checked' ) or diag explain \%verdict;
};

subtest 'each bit of the first words' => sub {
    my $bytes = pristine();
    my @wrong;
    for my $bit ( 0 .. 64 * 8 - 1 ) {
        my $damaged = $bytes;
        vec( $damaged, $bit, 1 ) ^= 1;
        spew( $path, $damaged );
        my $log     = eval { Data::Log::Shared->new( $path, $SIZE ) };
        my $problem = $log ? use_it($log) : slurp($path) eq $damaged ? '' : 'altered';
        push @wrong, "bit $bit: $problem" if $problem;
        push @wrong, "bit $bit: attached" if $log && $log->data_size != $SIZE;
    }
    is_deeply( \@wrong, [], 'never makes a log of another size, nor a crash' );
};

subtest 'bytes of the data' => sub {
    srand 42;
    for my $checksum ( 0, 1 ) {
        my $bytes = pristine( checksum => $checksum );
        my @wrong;
        for my $turn ( 1 .. 100 ) {

            # Under another name it is another file, which has to be recovered.
            my $file    = $turn % 2 ? $path : scratch('copy');
            my $damaged = $bytes;
            for ( 1 .. 1 + int rand 4 ) {
                my $at = 4096 + 4 * int rand( $SIZE / 4 );
                substr $damaged, $at, 4, pack 'L',
                    ( 0, 1, 4, 0xffffffff, int rand 2**32, 1 << int rand 32 )[ int rand 6 ];
            }
            spew( $file, $damaged );
            my $log     = eval { Data::Log::Shared->new( $file, $SIZE ) } or next;
            my $problem = use_it($log);
            push @wrong, "turn $turn: $problem" if $problem;
        }
        is_deeply( \@wrong, [], $checksum ? 'in a log with checksums' : 'in a log without' );
    }
};

subtest 'bytes that change under a live handle' => sub {
    srand 43;
    my @wrong;
    for my $turn ( 1 .. 30 ) {
        pristine();
        my $log = Data::Log::Shared->new( $path, $SIZE );
        $log->entry_count;
        for ( 1 .. 20 ) {
            my $at = 4 * int rand( ( 4096 + $SIZE ) / 4 );
            $at = 4096 - 4 * int rand 1024 if $turn % 2;
            patch( $path, $at > 4096 + $SIZE - 4 ? 0 : $at, pack 'L', int rand 2**32 );
        }
        my $problem = use_it($log);
        push @wrong, "turn $turn: $problem" if $problem;
    }
    is_deeply( \@wrong, [], 'neither crash nor hang it' );

    pristine();
    my $log = Data::Log::Shared->new( $path, $SIZE );
    patch( $path, 0, "\xff" x ( 4096 + $SIZE ) );
    is( use_it($log), '', 'nor do all ones' );
    patch( $path, 0, "\0" x ( 4096 + $SIZE ) );
    is( use_it($log), '', 'nor all zeros' );
};

done_testing;
