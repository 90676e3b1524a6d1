use strict;
use warnings;

# Reading a hole of a file on a full tmpfs is a signal, as is writing one on any full filesystem.

use FindBin qw($Bin);
use lib "$Bin/../t/lib";
use LogTest;
use Test::More;

use Data::Log::Shared;

in_own_mounts();

my $disk = scratch('disk');
my $path = "$disk/log";
mkdir $disk or die "$disk: $!";

sub empty_disk {
    my ($size) = @_;
    system( 'umount', $disk ) if -e "$disk/mounted";
    system( 'mount', '-t', 'tmpfs', '-o', "size=$size", 'none', $disk ) == 0 or die 'mount failed';
    mkdir "$disk/mounted" or die $!;
    return;
}

sub fill {
    open my $out, '>>', "$disk/fill" or die $!;
    1 while syswrite $out, 'x' x 4096;
    return;
}

sub other_boot { return patch( $path, 512, "\1" x 16 ) }

# What code of another process gives, who may be killed.
sub elsewhere {
    my ($code) = @_;
    return from_child( sub { $code->( Data::Log::Shared->new( $path, 100_000 ) ) } );
}

sub sparse_log {
    my (@entries) = @_;
    empty_disk('2m');
    my $log     = Data::Log::Shared->new( $path, 50_000_000, 0600, sparse => 1 );
    my @offsets = map { $log->append($_) } @entries;
    return @offsets;
}

subtest 'recovery of a sparse log' => sub {
    sparse_log();
    other_boot();
    fill();
    is( elsewhere( sub { $_[0]->stats->{recoveries} } ), 1, 'that is empty' );

    my @entries = map { "entry $_" } 1 .. 100;
    my @offsets = sparse_log(@entries);
    other_boot();
    fill();
    is( elsewhere( sub { join ' ', replay( $_[0] ) } ), "@entries", 'that holds entries' );

    # A damaged word had recovery look for an entry in all that follows.
    patch( $path, 400, "\x77" x 8 );
    patch( $path, 4096 + $offsets[50], pack 'L', 2 << 30 | 40_000_000 );
    other_boot();
    my $left = elsewhere( sub { join ' ', replay( $_[0] ) } );
    is( $left, join( ' ', @entries[ 0 .. 49, 51 .. 99 ] ), 'whose mark and one of whose entries are damaged' );

    @offsets = sparse_log('x');
    patch( $path, 400, "\x77" x 8 );
    patch( $path, 4096, pack 'L', 2 << 30 | 999 );
    other_boot();
    fill();
    is( elsewhere( sub { $_[0]->entry_count } ), 0, 'whose mark and only entry are damaged' );
};

subtest 'reset of a sparse log whose tail is damaged' => sub {
    sparse_log( 'old', 'more' );
    patch( $path, 128, pack 'Q', ~0 - 1 );
    fill();
    is( elsewhere( sub { $_[0]->reset && $_[0]->append('new') } ), 0,     'works on a full disk' );
    is( elsewhere( sub { join ' ', replay( $_[0] ) } ),            'new', '... and leaves nothing of before' );
};

# Healing put zeros where the header of a half-made log had been, or left it grown.
subtest 'a half-made log for which there is no space' => sub {
    my %half = (
        'nothing yet'       => [0],
        'a hole'            => [ 0, 4096 + 100_000 ],
        'a header page'     => [4096],
        'part of its space' => [ 4096 + 10_000 ],
    );
    for my $what ( sort keys %half ) {
        empty_disk('1m');
        Data::Log::Shared->new( $path, 100_000 );
        patch( $path, 0, "\0" x 8 );
        truncate $path, $_ or die $! for @{ $half{$what} };
        fill();
        my $before = slurp($path);
        my $result = from_child( sub { Data::Log::Shared->new( $path, 100_000 ); 'attached' } );
        like( $result, qr/^died: Data::Log::Shared->new: \Q$path\E: .*No space/s, "$what: is an error" );
        ok( slurp($path) eq $before, '... and is left as it was' );
        unlink "$disk/fill" or die $!;
        is( elsewhere( sub { $_[0]->append('first') } ), 0, '... and made into a log when there is space' );
    }
};

system 'umount', $disk;

done_testing;
