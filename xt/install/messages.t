use 5.026;
use strict;
use warnings;

# What Makefile.PL says where the module cannot be built. It asks nothing, makes no Makefile, and its
# exit status is 0.

use Config;
use FindBin qw($Bin);
use Test::More;
use lib "$Bin/lib";
use InstallTest;

needs('git');
my $folder = checkout( scratch('checkout') );

sub program {
    my ( $bin, $name, $body ) = @_;
    mkdir scratch($bin);
    my $path = scratch("$bin/$name");
    open my $out, '>', $path or die "$path: $!";
    print {$out} "#!/bin/sh\n$body\n";
    close $out or die "$path: $!";
    chmod 0755, $path or die "$path: $!";
    return scratch($bin);
}

# Where cargo, rustc and the compiler are, each in a folder of its own.
my %real = map { my $found = output("command -v $_"); chomp $found; $_ => $found } qw(cargo rustc), split( ' ', $Config{cc} );
needs(qw(cargo rustc));
my $cc    = ( split ' ', $Config{cc} )[0];
my $cargo = program( 'cargo', 'cargo', qq(exec "$real{cargo}" "\$@") );
my $rustc = program( 'rustc', 'rustc', qq(exec "$real{rustc}" "\$@") );
my $gcc   = program( 'cc',    $cc,     qq(exec "$real{$cc}" "\$@") );
my $tools = scratch('tools');
mkdir $tools or die "$tools: $!";
for my $tool (qw(as ld sh)) {
    chomp( my $path = output("command -v $tool") );
    symlink $path, "$tools/$tool" or die "$tool: $!";
}

my $rustup = $ENV{RUSTUP_HOME} // "$ENV{HOME}/.rustup";

sub makefile_pl {
    my ( $path, %more ) = @_;
    my @environment = map { "$_='$more{$_}'" } grep { /^[A-Z]/ } keys %more;
    my $perl = $more{perl} // $^X;
    unlink "$folder/Makefile";
    return output( "cd '$folder' && env -u CARGO -u RUSTC -u CARGO_HOME HOME=/nonexistent RUSTUP_HOME='$rustup'"
            . " PATH='$path:$tools' @environment $perl Makefile.PL" );
}

sub says {
    my ( $name, $said, @patterns ) = @_;
    is( $?, 0, "$name: exit status 0" );
    ok( !-e "$folder/Makefile", "$name: no Makefile" );
    like( $said, $_, "$name: says so" ) for @patterns;
    unlike( $said, qr/ at \S+ line \d+/, "$name: no other complaint" );
    note $said;
    return;
}

# Other systems: this perl with a few words of its configuration changed.
sub perl_that_is {
    my (%config) = @_;
    my $system = delete $config{osname};
    my $set = join ' ', map { qq(\$real{$_} = "$config{$_}";) } sort keys %config;
    mkdir scratch('lib');
    my $module = scratch('lib/Other.pm');
    open my $out, '>', $module or die "$module: $!";
    print {$out} "package Other; use Config; my %real = %Config; $set\n",
        "sub TIEHASH { bless {} } sub FETCH { exists \$real{\$_[1]} ? \$real{\$_[1]} : undef }\n",
        "sub EXISTS { exists \$real{\$_[1]} } sub FIRSTKEY { keys %real; each %real } sub NEXTKEY { each %real }\n",
        "untie %Config; { no warnings; tie %Config::Config, 'Other' }\n", $system ? "\$^O = '$system';\n" : '', "1;\n";
    close $out or die "$module: $!";
    return "$^X -I'" . scratch('lib') . "' -MOther";
}

my $all = join ':', $cargo, $rustc, $gcc, '/usr/bin', '/bin';
my $said = makefile_pl($all);
ok( $? == 0 && -e "$folder/Makefile", 'with all that it needs it makes a Makefile' ) or diag $said;
like( output("cd '$folder' && (seq 9 | ($^X Makefile.PL >&2; cat))"), qr/^1\n2\n.*^9\n/ms, 'it reads nothing from standard input' );

for my $case (
    [ 'another system',      { osname   => 'freebsd' },                        qr/needs Linux/ ],
    [ 'a 32-bit perl',       { ptrsize  => 4 },                                qr/needs a 64-bit perl/ ],
    [ '32-bit integers',     { uvsize   => 4 },                                qr/needs a 64-bit perl/ ],
    [ 'another processor',   { archname => 'sparc64-linux-gnu-thread-multi' }, qr/processor.*sparc64/ ],
    )
{
    my ( $name, $config, $pattern ) = @$case;
    says( $name, makefile_pl( $all, perl => perl_that_is(%$config) ), qr/^OS unsupported/m, $pattern );
}

# Everything a reader needs to go on.
my @help = (
    qr/needs cargo and rustc 1\.63 or later, and a C compiler/, qr/^Looked in \S/m,
    qr/apt-get install .*\bcargo/, qr/dnf install .*\bcargo/, qr/apk add .*\bcargo/, qr/rustup/,
);
says( 'no cargo',       makefile_pl( join ':', $rustc, $gcc ), @help, qr/found no 'cargo'\.$/m );
says( 'no rustc',       makefile_pl( join ':', $cargo, $gcc ), @help, qr/found no 'rustc'\.$/m );
says( 'no C compiler',  makefile_pl( join ':', $cargo, $rustc ), @help, qr/found no '\Q$cc\E'\.$/m );
says( 'nothing at all', makefile_pl($tools), @help, qr/no 'cargo'; no 'rustc'; no '\Q$cc\E'/ );
says( 'RUSTC is wrong', makefile_pl( join( ':', $cargo, $gcc ), RUSTC => '/nowhere/rustc' ), @help, qr{found no '/nowhere/rustc'\.$}m );

my $old = program( 'old-rustc', 'rustc', q(printf 'rustc 1.48.0\nhost: x86_64-unknown-linux-gnu\nrelease: 1.48.0\n') );
says( 'an old rustc', makefile_pl( join ':', $cargo, $old, $gcc ), @help, qr{found rustc 1\.48\.0 as \Q$old\E/rustc} );
$old = program( 'old-cargo', 'cargo', q(printf 'cargo 1.62.1\nrelease: 1.62.1\n') );
says( 'an old cargo', makefile_pl( join ':', $old, $rustc, $gcc ), @help, qr{found cargo 1\.62\.1 as \Q$old\E/cargo} );
my $broken = program( 'broken', 'rustc', 'exit 1' );
says( 'a broken rustc', makefile_pl( join ':', $cargo, $broken, $gcc ), @help, qr/does not tell its version/ );
my $bare = program( 'bare', $cc, q(echo 'try.c:1:10: fatal error: EXTERN.h: No such file or directory'; exit 1) );
says( 'no headers', makefile_pl( join ':', $cargo, $rustc, $bare ), @help, qr/cannot compile.*fatal error: EXTERN\.h/ );
says(
    'no standard library for the target',
    makefile_pl( join( ':', $cargo, $rustc, $gcc ), DATA_LOG_SHARED_TARGET => 'riscv64gc-unknown-linux-gnu' ),
    @help, qr/without the standard library for riscv64gc-unknown-linux-gnu/
);

done_testing;
