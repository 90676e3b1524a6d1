package BenchChart;

# Charts as SVG text: lines over an axis of powers of two, and bars on a scale of powers of ten.

use strict;
use warnings;

use Exporter 'import';
use List::Util qw(max min);
use POSIX      qw(ceil floor);

our @EXPORT_OK = qw(lines bars);

my @colours = ( '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00' );

sub _escaped {
    my ($text) = @_;
    my %entity = ( '&' => '&amp;', '<' => '&lt;', '>' => '&gt;', '"' => '&quot;' );
    return $text =~ s/([&<>"])/$entity{$1}/gr;
}

sub _text {
    my ( $x, $y, $text, $anchor ) = @_;
    return sprintf qq{<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>\n}, $x, $y, $anchor // 'start',
      _escaped($text);
}

sub _line {
    return sprintf qq{<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ccc"/>\n}, @_;
}

# Below the title, what and where it was measured; the text is dark on white in any theme.
sub _page {
    my ( $width, $height, $title, $notes, @body ) = @_;
    my $y    = 24;
    my @head = ( sprintf qq{<text x="16" y="%d" font-size="16">%s</text>\n}, $y, _escaped($title) );
    push @head, _text( 16, $y += 18, $_ ) for @$notes;
    return join '',
      qq{<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" width="$width" height="$height"},
      qq{ font-family="sans-serif" font-size="12" fill="#222">\n},
      qq{<rect width="$width" height="$height" fill="#fff"/>\n}, @head, @body, "</svg>\n";
}

# title, notes => [lines], x, y => what the axes are, x_label => sub of x, series => [ [name, [x, y], ...], ... ]
sub lines {
    my (%chart) = @_;
    my ( $width, $height, $left, $right, $bottom ) = ( 720, 420, 70, 150, 60 );
    my $top    = 60 + 18 * @{ $chart{notes} };
    my @points = map { my ( undef, @points ) = @$_; @points } @{ $chart{series} };
    my @x      = do {
        my %seen;
        sort { $a <=> $b } grep { !$seen{$_}++ } map { $_->[0] } @points;
    };
    my $highest = max( map { $_->[1] } @points );
    my $step    = _round_step( $highest / 5 );
    my $steps   = ceil( $highest / $step );
    my $y_max   = $step * $steps;
    my $span    = log( $x[-1] / $x[0] ) || 1;
    my $x_of    = sub { $left + log( $_[0] / $x[0] ) / $span * ( $width - $left - $right ) };
    my $y_of    = sub { $height - $bottom - $_[0] / $y_max * ( $height - $top - $bottom ) };

    my @body = map {
        ( _line( $left, $y_of->($_), $width - $right, $y_of->($_) ), _text( $left - 8, $y_of->($_) + 4, $_, 'end' ) )
      }
      map { $step * $_ } 0 .. $steps;
    push @body,
      map { _text( $x_of->($_), $height - $bottom + 18, $chart{x_label} ? $chart{x_label}->($_) : $_, 'middle' ) } @x;
    push @body, _text( ( $left + $width - $right ) / 2, $height - 16, $chart{x}, 'middle' ),
      _text( 16, $top - 12, $chart{y} );
    my $key = $top;
    for my $i ( 0 .. $#{ $chart{series} } ) {
        my ( $name, @own ) = @{ $chart{series}[$i] };
        my $colour = $colours[ $i % @colours ];
        push @body, sprintf qq{<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>\n}, $colour,
          join ' ', map { sprintf '%.1f,%.1f', $x_of->( $_->[0] ), $y_of->( $_->[1] ) } @own;
        push @body, map {
            sprintf qq{<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>\n}, $x_of->( $_->[0] ), $y_of->( $_->[1] ), $colour
        } @own;
        push @body, sprintf qq{<rect x="%d" y="%d" width="12" height="12" fill="%s"/>\n}, $width - $right + 16,
          $key - 10, $colour;
        push @body, _text( $width - $right + 34, $key, $name );
        $key += 20;
    }
    return _page( $width, $height, $chart{title}, $chart{notes}, @body );
}

sub _round_step {
    my ($step)  = @_;
    my $power   = 10**floor( log($step) / log(10) );
    my ($round) = grep { $_ * $power >= $step } 1, 2, 2.5, 5, 10;
    return $round * $power;
}

# title, notes => [lines], x => what is shown, bars => [ [name, value, label, colour], ... ]; colours are numbers
sub bars {
    my (%chart) = @_;
    my ( $width, $left, $right, $row ) = ( 720, 230, 90, 24 );
    my $top    = 34 + 18 * @{ $chart{notes} };
    my $height = $top + $row * @{ $chart{bars} } + 50;
    my $log10  = sub { log( $_[0] ) / log 10 };
    my @values = map { $_->[1] } @{ $chart{bars} };
    my $low    = int $log10->( min(@values) );
    my $high   = int( $log10->( max(@values) ) ) + 1;
    my $x_of   = sub { $left + ( $log10->( $_[0] ) - $low ) / ( $high - $low ) * ( $width - $left - $right ) };
    my $bottom = $height - 44;

    my @body = map {
        ( _line( $x_of->($_), $top, $x_of->($_), $bottom ), _text( $x_of->($_), $bottom + 16, _short($_), 'middle' ) )
      }
      map { 10**$_ } $low .. $high;
    push @body, _text( ( $left + $width - $right ) / 2, $height - 8, $chart{x}, 'middle' );
    my $y = $top;
    for my $bar ( @{ $chart{bars} } ) {
        my ( $name, $value, $label, $colour ) = @$bar;
        push @body, _text( $left - 8, $y + 16, $name, 'end' );
        push @body, sprintf qq{<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>\n}, $left, $y + 4,
          $x_of->($value) - $left, $row - 8, $colours[$colour];
        push @body, _text( $x_of->($value) + 6, $y + 16, $label );
        $y += $row;
    }
    return _page( $width, $height, $chart{title}, $chart{notes}, @body );
}

sub _short {
    my ($n) = @_;
    return $n >= 1e6 ? $n / 1e6 . ' M' : $n >= 1e3 ? $n / 1e3 . ' K' : $n;
}

1;
